"""What is still missing of a plan for one model: which cells, and whether the budget allows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.disturbances import Noise, is_disturbed
from harness.load import Stretch
from harness.loads import stretches
from harness.metrics import is_settled, known, tpot_s, ttft_s
from harness.plan import Plan, Shape
from harness.record import Cell, Phase, Record, Request
from harness.visits import REFUSED

GIVE_UP_AFTER = 3
# How much of the budget is shared out to stretches of load, whose last requests end after them.
_SHARED_OUT = 0.95


@dataclass
class Counted:
    """What was counted of one cell: only what decides when it is enough, so that long runs stay small.

    `sent` counts the requests of an open load, whatever became of them.
    """

    count: int = 0
    sent: int = 0
    ttft_s: list[float] = field(default_factory=list)
    tpot_s: list[float] = field(default_factory=list)

    def take(self, request: Request) -> None:
        """Counts a request that succeeded."""
        self.count += 1
        self.ttft_s += known([ttft_s(request)])
        self.tpot_s += known([tpot_s(request)])


@dataclass
class Speed:
    """The latest prefill and decode speeds seen, to guess what a visit will take; None before any."""

    prefill_s_per_token: float | None = None
    decode_s_per_token: float | None = None

    def learn(self, request: Request) -> None:
        """Takes a finished request into account."""
        fresh = request.cell.prompt_tokens if request.phase != "prime" else request.cell.depth_tokens
        first, gap = ttft_s(request), tpot_s(request)
        if first is not None and fresh >= 16:
            self.prefill_s_per_token = first / fresh
        if gap is not None:
            self.decode_s_per_token = gap

    def visit_s(self, cell: Cell, primed: bool) -> float:
        """Expected seconds of one visit; 0 where no speed is known yet."""
        fresh = (cell.prompt_tokens + (0 if primed else cell.depth_tokens)) * cell.concurrency
        return fresh * (self.prefill_s_per_token or 0) + cell.output_tokens * (self.decode_s_per_token or 0)


@dataclass
class Goal:
    """The cells of one model, what was counted of each, and the budget."""

    plan: Plan
    cells: tuple[Cell, ...]
    budget_s: float
    spent_s: float = 0.0
    speed: Speed = field(default_factory=Speed)
    counted: dict[Cell, Counted] = field(default_factory=dict)
    failures: dict[Cell, int] = field(default_factory=dict)
    stopped: dict[Cell, str] = field(default_factory=dict)
    visits: dict[Cell, int] = field(default_factory=dict)
    disturbed: dict[Cell, int] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, cells: tuple[Cell, ...], budget_s: float, past: Record | None = None) -> Goal:
        """The goal for the cells of one model, with earlier sittings (`past`) taken into account.

        A stretch of an open load that was cut short, since the last sitting did not end by itself, is sent again.
        """
        goal = cls(plan, cells, budget_s)
        if past is None:
            return goal
        wanted, noise = set(cells), Noise(past)
        loads: dict[Cell, list[Request]] = {}
        for request in (request for request in past.requests if request.cell in wanted):
            goal.take(request)
            counted = request.phase == "counted"
            if request.cell.is_load and counted:
                loads.setdefault(request.cell, []).append(request)
            else:
                goal.spent_s += (request.ended_ns - request.scheduled_ns) * 1e-9
            if counted and request.error is None and any(noise.findings((request,))):
                goal.disturb(request)
        for part in (part for requests in loads.values() for part in stretches(requests)):
            goal.spent_s += (max(r.ended_ns for r in part) - min(r.scheduled_ns for r in part)) * 1e-9
        if not past.ends or past.ends[-1].reason not in ("done", "budget"):
            for cell, done in goal.counted.items():
                done.sent = 0 if cell.rate_per_s is not None and plan.repeats is None else done.sent
        # Failures of an earlier sitting do not count against this one.
        goal.failures.clear()
        return goal

    def take(self, request: Request) -> None:
        """Counts a finished request. A refusal by the rate limit is no failure of the cell."""
        done = self.counted.setdefault(request.cell, Counted())
        if request.phase == "counted" and request.cell.rate_per_s is not None:
            # An open load has sent what it sent.
            done.sent += 1
        if request.error is not None:
            if request.status != REFUSED and request.cell.rate_per_s is None:
                self.failures[request.cell] = self.failures.get(request.cell, 0) + 1
            return
        if not request.cell.is_load:
            self.speed.learn(request)
        if request.phase == "counted":
            done.take(request)
            self.failures.pop(request.cell, None)

    def lose(self, cell: Cell) -> None:
        """Counts a request that never got through as a failure of the cell."""
        if cell.rate_per_s is None:
            self.failures[cell] = self.failures.get(cell, 0) + 1

    def disturb(self, request: Request) -> None:
        """Counts a request that something on the machine disturbed: its cell is measured on while the budget lasts."""
        self.disturbed[request.cell] = self.disturbed.get(request.cell, 0) + 1

    def next_repeat(self, cell: Cell, phase: Phase) -> int:
        """The number of the visit that begins: what was counted before it; of a load how many stretches."""
        if not cell.is_load:
            return self.counted.get(cell, Counted()).count
        number = self.visits.get(cell, 0)
        if phase == "counted":
            self.visits[cell] = number + 1
        return number

    def stop(self, cell: Cell, why: str) -> None:
        """Takes the cell for done: its load was stopped."""
        self.stopped[cell] = why

    def stretch(self, cell: Cell) -> Stretch:
        """How long the next visit to a loaded cell lasts."""
        if self.plan.repeats is None:
            return Stretch(None, min(self.plan.stretch_s, max(1.0, self._fair_s())))
        done = self.counted.get(cell, Counted())
        return Stretch(self.plan.repeats - max(done.count, done.sent), self.plan.stretch_s)

    def _fair_s(self) -> float:
        """An even share of what is left for each cell that still waits for its first visit."""
        visited = sum(1 for done in self.counted.values() if done.count or done.sent)
        return _SHARED_OUT * (self.budget_s - self.spent_s) / max(1, len(self.cells) - visited)

    def given_up(self) -> list[Cell]:
        """Cells whose last requests all failed."""
        lost = [cell for cell, done in self.counted.items() if done.sent and not done.count]
        return [cell for cell in self.cells if self.failures.get(cell, 0) >= GIVE_UP_AFTER or cell in lost]

    def missing(self) -> list[Cell]:
        """Cells that are wanted and not given up, in plan order."""
        return [
            cell
            for cell in self.cells
            if not self._enough(cell) and not self.too_dear(cell) and self.failures.get(cell, 0) < GIVE_UP_AFTER
        ]

    def too_dear(self, cell: Cell) -> bool:
        """Whether one visit would take more of the budget than the plan allows; never a fixed number of repeats."""
        allowed_s = self.plan.visit_share * self.budget_s
        visited = self.counted.get(cell, Counted()).count
        return self.plan.repeats is None and not visited and self.visit_s(cell, primed=False) > allowed_s

    def affordable(self, cell: Cell, primed: bool) -> bool:
        """Whether a visit fits the rest of the budget. A fixed number of repeats has no budget."""
        return self.plan.repeats is not None or self.spent_s + self.visit_s(cell, primed) <= self.budget_s

    def visit_s(self, cell: Cell, primed: bool) -> float:
        """Expected seconds of the next visit; a loaded cell takes its stretch."""
        return self.stretch(cell).seconds if cell.is_load else self.speed.visit_s(cell, primed)

    def share(self) -> float:
        """How much of the work is done, 0 to 1."""
        if self.plan.repeats is not None:
            done = sum(min(self.counted.get(cell, Counted()).count, self.plan.repeats) for cell in self.cells)
            return done / (self.plan.repeats * len(self.cells))
        settled = 1 - len(self.missing()) / len(self.cells)
        return min(1.0, max(settled, self.spent_s / self.budget_s))

    def left_s(self) -> float | None:
        """Seconds still to go at most; None where the count of repeats and no speed decides."""
        if self.plan.repeats is None:
            return max(0.0, self.budget_s - self.spent_s)
        if self.speed.decode_s_per_token is None:
            return None
        wanted = self.plan.repeats
        return sum(
            self.speed.visit_s(cell, primed=True) * max(0, wanted - self.counted.get(cell, Counted()).count)
            for cell in self.cells
        )

    def _enough(self, cell: Cell) -> bool:
        done = self.counted.get(cell, Counted())
        if cell in self.stopped:
            return True
        if self.plan.repeats is not None:
            return max(done.count, done.sent) >= self.plan.repeats
        if is_disturbed(self.disturbed.get(cell, 0), done.count):
            return False
        if cell.rate_per_s is not None:
            # One stretch of an open load is one answer.
            return done.sent > 0
        return all(
            is_settled(values, self.plan.target) for values in (done.ttft_s, done.tpot_s) if values or not done.count
        )


def cell_of(backend: str, model: str, quant: str, shape: Shape) -> Cell:
    """The cell of `shape` for one model behind one back end."""
    return Cell(
        backend, model, quant, shape.prompt_tokens, shape.output_tokens, shape.depth_tokens, shape.concurrency,
        shape.arrival, shape.rate_per_s,
    )  # fmt: skip
