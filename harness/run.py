"""Running a plan: which engines, which order, when to stop."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace

from estimator.price_list import Price
from harness.backends import Call, NotThere, Opened
from harness.backends.llamacpp import depths
from harness.demands import require_alive, require_context, subject_of
from harness.disturbances import Live
from harness.errors import EngineFailure, HarnessError, NotBuilt, NotEnoughRoom
from harness.goal import Goal, cell_of
from harness.journal import Scribe
from harness.metrics import computes_on_cpu
from harness.opening import BACKENDS, Lane, plan_of, prepare
from harness.plan import PAID_REPEATS, Plan
from harness.prompts import Prompts
from harness.purse import OverBudget, Purse
from harness.record import Cell, Phase, Record, Request, RunEnd
from harness.secrets import scrubbed
from harness.sensors.process import ProcessSampler, sampling
from harness.target import Door
from harness.visits import REFUSED, Instruments, Visitor
from harness.watch import Watcher
from harness.wire.tap import Clock, RequestFailed

# A lane that fails so before its first request is named, and the others go on.
_LEFT_OUT = (NotThere, NotEnoughRoom, NotBuilt, EngineFailure, RequestFailed)


@dataclass(frozen=True, slots=True)
class Means:
    """What a run works with besides its plan: where to write, whom to tell, clocks, money, what to keep secret.

    `room` raises NotEnoughRoom for a lane that disk or memory cannot hold.
    """

    journal: Scribe
    watcher: Watcher
    clock: Clock
    purse: Purse
    prices: dict[tuple[str, str, str], Price]
    secrets: tuple[str, ...] = ()
    cpu_s: Callable[[], float] = time.process_time
    room: Callable[[Lane], Awaitable[None]] | None = None


@dataclass
class _Track:
    """A lane under way."""

    lane: Lane
    goal: Goal
    visitor: Visitor


@dataclass(frozen=True, slots=True)
class Runner:
    """A plan, the groups of lanes to measure, and the journal as it stood before (`past`)."""

    plan: Plan
    groups: Sequence[tuple[Lane, ...]]
    door: Door
    past: Record
    means: Means

    async def run(self) -> None:
        """Measures what `past` lacks and ends the journal with the reason.

        Raises HarnessError after writing the end; a cancellation (Ctrl-C) is written as `interrupted`.
        """
        journal, missing = self.means.journal, list[HarnessError]()
        try:
            goals = [goal for index in range(len(self.groups)) for goal in await self._measure(index, missing)]
            if missing and not goals:
                raise missing[0]
        except asyncio.CancelledError:
            journal.append(RunEnd("interrupted"))
            raise
        except OverBudget as error:
            journal.append(RunEnd("money", str(error)))
            return
        except HarnessError as error:
            journal.append(RunEnd("failed", str(self._clean(error))))
            raise
        failed = [cell for goal in goals for cell in goal.given_up()]
        said = ([f"gave up on {len(failed)} cells"] if failed else []) + [f"not measured: {why}" for why in missing]
        open_cells = any(goal.missing() for goal in goals)
        journal.append(RunEnd("failed" if failed else "budget" if open_cells else "done", "; ".join(said)))

    async def _measure(self, index: int, missing: list[HarnessError]) -> list[Goal]:
        """Measures what is missing of one group; what it has then. What could not be opened goes to `missing`."""
        goals = [self._goal(lane) for lane in self.groups[index]]
        due = [
            (lane, goal)
            for lane, goal in zip(self.groups[index], goals, strict=True)
            if any(goal.affordable(cell, primed=True) for cell in goal.missing())
        ]
        tracks: list[_Track] = []
        samplers: dict[int | None, tuple[ProcessSampler, Live]] = {}
        # Ollama first: the others may ask it for the model that it is given.
        due.sort(key=lambda entry: entry[0].backend != "ollama")
        async with AsyncExitStack() as stack:
            for lane, goal in due:
                try:
                    tracks.append(await self._opened(stack, lane, goal, samplers))
                except _LEFT_OUT as error:
                    missing.append(self._clean(error))
                    goals.remove(goal)
                    self.means.watcher.note(f"not measured: {error}")
            if tracks:
                await self._rounds(tracks, index)
        return goals

    def _clean(self, error: HarnessError) -> HarnessError:
        """The error with nothing secret in its text, which may be a server's."""
        error.args = (scrubbed(str(error), self.means.secrets, ()),)
        return error

    def _goal(self, lane: Lane) -> Goal:
        """The goal of a lane. Cached contexts need a server whose slots can be addressed: ours."""
        plan = plan_of(lane, self.plan)
        shapes = plan.shapes
        if BACKENDS[lane.backend].serves_itself:
            shapes = tuple(shape for shape in shapes if not shape.depth_tokens)
            if len(shapes) < len(plan.shapes):
                self.means.watcher.note(
                    f"left out for {lane.backend}: depths, which only llama.cpp's own slots can keep"
                )
        if not shapes:
            raise HarnessError(f"nothing to measure with {lane.backend}: a --depth above 0 needs llamacpp")
        cells = tuple(cell_of(lane.backend, lane.target.name, lane.target.quant, shape) for shape in shapes)
        # The budget is shared evenly; one of parts between the back ends that measure the part.
        count = sum(1 for group in self.groups for other in group if other.part is lane.part)
        if lane.key in self.means.prices and plan.repeats is None and not any(shape.is_load for shape in shapes):
            plan = replace(plan, repeats=PAID_REPEATS)
        return Goal.of(plan, cells, plan.budget_s / count, self.past)

    async def _opened(
        self, stack: AsyncExitStack, lane: Lane, goal: Goal, samplers: dict[int | None, tuple[ProcessSampler, Live]]
    ) -> _Track:
        """Opens the back end of a lane until the stack is left. Raises NotThere, HarnessError.

        A server has one sampler, however many lanes speak to it; its samples belong to the lane that is visited.
        """
        means = self.means
        # A killed sitting leaves no end line, so sittings are counted by their subjects.
        number = [other.key for group in self.groups for other in group].index(lane.key)
        sitting = sum(1 for s in self.past.subjects if s.subject_id.startswith(f"{number}."))
        log = means.journal.folder / f"engine-{number}-{sitting}.log"
        if means.room is not None:
            await means.room(lane)
        lane = await self._prepared(lane)
        means.watcher.loading(f"{lane.target.name} ({lane.backend})")
        started_ns = means.clock()
        plan = plan_of(lane, self.plan)
        call = Call(lane.target, plan, self.door, log, means.clock, means.watcher)
        engine = await stack.enter_async_context(BACKENDS[lane.backend].opener(call))
        facts = await engine.backend.describe()
        # Before its sampler begins, which takes a while, with a power sensor six seconds of idling.
        ready_ns = means.clock()
        if engine.pid not in samplers:
            begun = await stack.enter_async_context(sampling(engine.pid, plan.sample_per_s))
            samplers[engine.pid] = begun, Live(self.past.header.host.logical_cores, computes_on_cpu(facts.system_info))
        sampler, live = samplers[engine.pid]
        require_context(facts, plan)
        price = means.prices.get(lane.key)
        visitor = Visitor(
            engine,
            facts,
            f"{number}.{sitting}",
            # Prompts of their own for each run: a server may still have those of the last one in its cache.
            Prompts(await engine.backend.vocabulary(), f"{self.plan.seed}:{self.past.header.run_id}"),
            tuple(depths(plan.shapes)),
            Instruments(
                means.journal, sampler, means.watcher, means.clock, means.cpu_s, means.purse, price, means.secrets
            ),
            took=lambda request: self._took(goal, engine, request, live),
            nonce=len(self.past.requests) * 2 + 1 + number * 1_000_003,
            lost=goal.lose,
            sampled=live.take,
        )  # fmt: skip
        track = _Track(lane, goal, visitor)
        if facts.cold:
            await self._visit(track, goal.cells[0], "load")
            # What the server says of a loaded model it says only now.
            facts, ready_ns = await engine.backend.describe(), means.clock()
        means.journal.append(subject_of(visitor.subject_id, lane, facts, (started_ns, ready_ns)))
        return track

    def _took(self, goal: Goal, engine: Opened, request: Request, live: Live) -> None:
        goal.take(request)
        if request.phase == "counted" and request.error is None:
            live.watch(request, goal.disturb)
        if request.error is not None and request.status != REFUSED:
            self.means.watcher.failed(request)
            require_alive(engine)

    async def _prepared(self, lane: Lane) -> Lane:
        """The lane with its model file, built in a thread so that Ctrl-C is heard."""
        told = self.means.watcher.building(lane.target.name, lane.target.weight_bytes)
        stop = threading.Event()

        def progress(size: int) -> None:
            if stop.is_set():
                raise InterruptedError
            told(size)

        work = asyncio.create_task(asyncio.to_thread(prepare, lane, self.door, progress))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({work})
            work.exception()
            raise

    async def _rounds(self, tracks: list[_Track], index: int) -> None:
        """Rounds over the missing cells of all lanes in seeded random order, anchors first, until no budget is left."""
        for track in tracks:
            await self._visit(track, track.goal.cells[0], "warmup")
            self._name_left_out(track.goal)
        with _settled_heap():
            await self._sent(tracks, index)

    async def _sent(self, tracks: list[_Track], index: int) -> None:
        rng = random.Random(f"{self.plan.seed}:order:{len(self.past.requests)}")
        while due := await self._due(tracks):
            anchors = [(track, cell) for track, cell in due if cell == track.goal.cells[0]]
            others = [entry for entry in due if entry not in anchors]
            rng.shuffle(anchors)
            rng.shuffle(others)
            for track, cell in (*anchors, *others):
                if track.goal.affordable(cell, track.visitor.primed(cell)):
                    await self._visit(track, cell, "counted")
                    share = sum(other.goal.share() for other in tracks) / len(tracks)
                    left = [other.goal.left_s() for other in tracks]
                    known = [seconds for seconds in left if seconds is not None]
                    self.means.watcher.spent(
                        (index + share) / len(self.groups), sum(known) if len(known) == len(left) else None
                    )

    async def _due(self, tracks: list[_Track]) -> list[tuple[_Track, Cell]]:
        """What is to be visited next. Where nothing is, the readings from after the last requests are waited for."""
        due = [(track, cell) for track in tracks for cell in _affordable(track)]
        if not due and any(track.visitor.facts.pid is not None for track in tracks) and self.plan.sample_per_s:
            await asyncio.sleep(2 / self.plan.sample_per_s)
            for track in tracks:
                track.visitor.collect()
            due = [(track, cell) for track in tracks for cell in _affordable(track)]
        return due

    def _name_left_out(self, goal: Goal) -> None:
        for cell in (cell for cell in goal.cells if goal.too_dear(cell)):
            self.means.watcher.note(
                f"left out: {cell.shape} would take {goal.visit_s(cell, primed=False):.0f} s "
                f"of the {goal.budget_s:.0f} s budget a visit"
            )

    async def _visit(self, track: _Track, cell: Cell, phase: Phase) -> None:
        clock, goal = self.means.clock, track.goal
        begun_ns = clock()
        stretch = goal.stretch(cell)
        why = await track.visitor.visit(cell, goal.next_repeat(cell, phase), phase, stretch)
        if why is not None:
            goal.stop(cell, why)
            self.means.watcher.note(f"stopped {cell.label}: {why}")
        goal.spent_s += (clock() - begun_ns) * 1e-9


@contextmanager
def _settled_heap() -> Iterator[None]:
    """What lives as long as the run (libraries, engines) is not looked through for garbage during the block.

    A collection stops every stream while it lasts. What this gains was not measured apart from other changes.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _affordable(track: _Track) -> list[Cell]:
    goal, visitor = track.goal, track.visitor
    return [cell for cell in goal.missing() if goal.affordable(cell, visitor.primed(cell))]
