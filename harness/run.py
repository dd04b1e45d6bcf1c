"""Running a plan: which engine, which order, when to stop."""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.backends import Facts
from harness.backends.launch import last_words
from harness.errors import EngineFailure, HarnessError
from harness.goal import Goal
from harness.journal import Journal
from harness.opening import Door, Opened, Target, depths, opened, prepare
from harness.plan import Plan
from harness.prompts import Prompts
from harness.record import Cell, Phase, Record, RunEnd, Subject
from harness.sensors.process import sampling
from harness.visits import Instruments, Visitor
from harness.watch import Watcher
from harness.wire import Clock


@dataclass(frozen=True, slots=True)
class Runner:
    """A plan, the things to measure, and where the results go. `past` is the journal as it stood before."""

    plan: Plan
    targets: tuple[Target, ...]
    door: Door
    journal: Journal
    past: Record
    watcher: Watcher
    clock: Clock

    async def run(self) -> None:
        """Measures what `past` lacks and ends the journal with the reason.

        Raises HarnessError after writing the end; a cancellation (Ctrl-C) is written as `interrupted`.
        """
        try:
            goals = [await self._measure(index) for index in range(len(self.targets))]
        except asyncio.CancelledError:
            self.journal.append(RunEnd("interrupted"))
            raise
        except HarnessError as error:
            self.journal.append(RunEnd("failed", str(error)))
            raise
        if failed := [cell for goal in goals for cell in goal.given_up()]:
            self.journal.append(RunEnd("failed", f"gave up on {len(failed)} cells"))
        else:
            self.journal.append(RunEnd("budget" if any(goal.missing() for goal in goals) else "done"))

    async def _measure(self, index: int) -> Goal:
        """Measures what is missing of one target; what it has then."""
        target = self.targets[index]
        budget_s = self.plan.budget_s / len(self.targets)
        goal = Goal.of(self.plan, target.name, target.quant, budget_s, self.past.requests)
        if not any(goal.affordable(cell, primed=True) for cell in goal.missing()):
            return goal
        # A killed sitting leaves no end line, so sittings are counted by their subjects.
        sitting = sum(1 for s in self.past.subjects if s.subject_id.startswith(f"{index}."))
        log = self.journal.path.parent / f"engine-{index}-{sitting}.log"
        target = await self._prepared(target)
        self.watcher.loading(target.name)
        started_ns = self.clock()
        async with (
            opened(target, self.plan, self.door, log, self.clock) as engine,
            sampling(engine.pid, self.plan.sample_per_s) as sampler,
        ):
            facts = await engine.backend.describe()
            subject = _subject(f"{index}.{sitting}", self.plan, target, facts, (started_ns, self.clock()))
            self.journal.append(subject)
            _require_context(facts, self.plan)
            visitor = Visitor(
                engine,
                subject.subject_id,
                Prompts(await engine.backend.vocabulary(), self.plan.seed),
                facts.slots,
                tuple(depths(self.plan.shapes)),
                Instruments(self.journal, sampler, self.watcher, self.clock),
                nonce=len(self.past.requests) * 2 + 1,
            )
            await self._rounds(visitor, goal, index)
        return goal

    async def _prepared(self, target: Target) -> Target:
        """The target with its model file, built in a thread so that Ctrl-C is heard."""
        told = self.watcher.building(target.name, target.weight_bytes)
        stop = threading.Event()

        def progress(size: int) -> None:
            if stop.is_set():
                raise InterruptedError
            told(size)

        work = asyncio.create_task(asyncio.to_thread(prepare, target, self.plan, self.door, progress))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({work})
            work.exception()
            raise

    async def _rounds(self, visitor: Visitor, goal: Goal, index: int) -> None:
        """Rounds over the missing cells in seeded random order, the anchor first, until nothing fits the budget."""
        await self._visit(visitor, goal, goal.cells[0], "warmup")
        for cell in (cell for cell in goal.cells if goal.too_dear(cell)):
            needed_s = goal.speed.visit_s(cell, primed=False)
            self.watcher.note(
                f"left out: {cell.shape} would take {needed_s:.0f} s of the {goal.budget_s:.0f} s budget a visit"
            )
        rng = random.Random(f"{self.plan.seed}:order:{len(self.past.requests)}")
        while missing := [cell for cell in goal.missing() if goal.affordable(cell, visitor.primed(cell))]:
            anchor, others = goal.cells[:1], [cell for cell in missing if cell != goal.cells[0]]
            rng.shuffle(others)
            for cell in (*anchor, *others) if anchor[0] in missing else others:
                if goal.affordable(cell, visitor.primed(cell)):
                    await self._visit(visitor, goal, cell, "counted")
                    share = (index + goal.share()) / len(self.targets)
                    self.watcher.spent(share, goal.left_s())

    async def _visit(self, visitor: Visitor, goal: Goal, cell: Cell, phase: Phase) -> None:
        begun_ns = self.clock()
        repeat = len(goal.counted.get(cell, ())) // cell.concurrency
        for request in await visitor.visit(cell, repeat, phase):
            goal.take(request)
            if request.error is not None:
                self.watcher.note(f"a request of {cell.label} failed: {request.error}")
                _require_alive(visitor.engine)
        goal.spent_s += (self.clock() - begun_ns) * 1e-9


def _subject(subject_id: str, plan: Plan, target: Target, facts: Facts, instants_ns: tuple[int, int]) -> Subject:
    return Subject(
        subject_id=subject_id,
        backend=plan.backend,
        model_name=target.name,
        quant=target.quant,
        engine=facts.engine,
        engine_version=facts.engine_version,
        system_info=facts.system_info,
        options=facts.options,
        model=facts.model,
        memory=facts.memory,
        started_ns=instants_ns[0],
        ready_ns=instants_ns[1],
    )


def _require_context(facts: Facts, plan: Plan) -> None:
    longest = max(shape.longest_tokens for shape in plan.shapes)
    if 0 < facts.context_tokens < longest:
        raise HarnessError(
            f"the engine holds {facts.context_tokens} tokens a slot, the plan needs {longest}: "
            "shorten --prompt-tokens, --output-tokens or --depth"
        )


def _require_alive(engine: Opened) -> None:
    """A dead engine ends the run at once; its own last words say why."""
    if engine.pid is None or (psutil.pid_exists(engine.pid) and psutil.Process(engine.pid).status() != "zombie"):
        return
    words = last_words(engine.log) if engine.log else "it left no log"
    raise EngineFailure(f"the engine died: {words}")


def results_folder(root: Path, started: str, plan: Plan, targets: tuple[Target, ...]) -> Path:
    """A new run's folder name: time, back end, first model."""
    name = f"{targets[0].name}-{targets[0].quant}".replace(":", "-").replace("/", "-").lower()
    more = f"-and-{len(targets) - 1}-more" if len(targets) > 1 else ""
    return root / f"{started}-{plan.backend}-{name}{more}"
