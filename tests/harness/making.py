"""Records for tests: small, explicit, in nanoseconds that read as milliseconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from estimator.price_list import Price
from harness.journal import Journal, Scribe, read_record
from harness.opening import lanes
from harness.plan import Plan
from harness.purse import Purse
from harness.record import (
    Cell,
    Chunk,
    Host,
    Phase,
    Probes,
    Record,
    Request,
    RunHeader,
    ServerTimings,
    Subject,
    Usage,
)
from harness.run import Means, Runner
from harness.target import Door
from harness.watch import Watcher

MS = 1_000_000
CELL = Cell("simulated", "mistral:7b", "Q4_K_M", prompt_tokens=64, output_tokens=9)


def request(
    arrivals_ms: Sequence[float],
    tokens: Sequence[int | None] | None = None,
    *,
    cell: Cell = CELL,
    phase: Phase = "counted",
    late_ms: float = 0.0,
    error: str | None = None,
) -> Request:
    """A request sent at 0 whose chunks arrive at `arrivals_ms`, one token each unless `tokens` says otherwise."""
    counts = list(tokens or [1] * len(arrivals_ms))
    chunks = tuple(
        Chunk(round(at * MS), round((at + late_ms) * MS), count) for at, count in zip(arrivals_ms, counts, strict=True)
    )
    total = None if None in counts else sum(count or 0 for count in counts)
    end = round((arrivals_ms[-1] if arrivals_ms else 0) * MS)
    return Request(
        "0.0", cell, 0, phase, 0, 0, end, chunks, Usage(cell.prompt_tokens, total, 0), ServerTimings(), error
    )


def header(**settings: object) -> RunHeader:
    """A run header of a small machine."""
    return RunHeader(
        run_id="20261123-120000-simulated",
        started_at="2026-11-23T12:00:00+00:00",
        harness_version="0.1.0",
        host=Host("Test CPU", 2, 2, 8 * 2**30, "Linux", "3.11"),
        probes=Probes(100e9, 1e12, None, 0.0, 0.0),
        settings=dict(settings),
    )


def subject(facts: dict[str, object] | None = None) -> Subject:
    """A simulated engine that says nothing of its memory."""
    return Subject("0.0", "simulated", "mistral:7b", "Q4_K_M", "simulated", "1", "", {}, facts or {}, {}, 0, 1)


async def run_plan(
    folder: Path,
    plan: Plan,
    door: Door = Door(),  # noqa: B008
    watcher: Watcher | None = None,
    money: tuple[Purse, dict[tuple[str, str, str], Price]] | None = None,
    secrets: tuple[str, ...] = (),
) -> Record:
    """Runs a plan, or what the run in `folder` lacks; the record afterwards, also of a run that raises."""
    purse, prices = money or (Purse(None), {})
    with Journal(folder) as journal:
        if not journal.path.stat().st_size:
            journal.append(header())
        past = read_record(folder)
        with Scribe(journal) as scribe:
            means = Means(scribe, watcher or Watcher(), time.perf_counter_ns, purse, prices, secrets)
            await Runner(plan, lanes(plan, door), door, past, means).run()
    return read_record(folder)


def ran(folder: Path, plan: Plan, door: Door = Door(), watcher: Watcher | None = None) -> Record:  # noqa: B008
    """`run_plan` where no event loop runs yet."""
    return asyncio.run(run_plan(folder, plan, door, watcher))


def counted(record: Record) -> dict[tuple[str, Cell], list[Request]]:
    """The counted requests without error, by subject and cell, in order of first appearance."""
    groups: dict[tuple[str, Cell], list[Request]] = {}
    for found in record.requests:
        if found.phase == "counted":
            group = groups.setdefault((found.subject_id, found.cell), [])
            if found.error is None:
                group.append(found)
    return groups
