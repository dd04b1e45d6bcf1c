"""A run with injected readings: what a quiet machine counts beside requests to three cells, and how to change it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from harness.record import Cell, Record, Request, Sample, Samples
from harness.samples import System
from harness.summary import rows
from harness.verdict import Verdict
from tests.harness.making import CELL, header, request, subject

PID = 7
CELLS = tuple(replace(CELL, prompt_tokens=tokens) for tokens in (16, 32, 64))
ROUNDS, SECONDS = 12, 1.0
# Each request waits so long for the next.
PAUSE_S = 0.3

Reading = Callable[[float], Sample]


def sent(seed: int = 0, seconds: float = SECONDS, pause_s: float = PAUSE_S) -> list[Request]:
    """Rounds over three cells, a request of a second each, with 2 % of scatter."""
    rng, found, at_s = random.Random(seed), [], 1.0
    for _ in range(ROUNDS):
        for cell in CELLS:
            scale = rng.gauss(1.0, 0.02) * seconds
            made = request([200 * scale + 100 * token * scale for token in range(9)], cell=cell)
            found.append(moved(made, at_s))
            at_s += seconds + pause_s
    return found


def moved(made: Request, at_s: float) -> Request:
    """The request so much later."""
    by = round(at_s * 1e9)
    chunks = tuple(
        chunk._replace(wire_ns=chunk.wire_ns + by, delivered_ns=(chunk.delivered_ns or 0) + by) for chunk in made.chunks
    )
    return replace(
        made,
        sent_ns=made.sent_ns + by,
        scheduled_ns=made.scheduled_ns + by,
        ended_ns=made.ended_ns + by,
        chunks=chunks,
    )


def quiet(at_s: float, seed: int = 0) -> Sample:
    """A server that uses one of two cores, a harness that uses a tenth, and a twentieth of a core for others."""
    ticks = random.Random(f"{seed}:{at_s}").choice((-0.01, 0.0, 0.01))
    system = System(
        busy_s=round(at_s * 1.15 + ticks, 2),
        steal_s=round(at_s * 0.001, 2),
        harness_cpu_s=round(at_s * 0.1, 2),
        memory_stall_s=0.0,
        swapped_bytes=4096,
        cpu_hz=3e9,
        throttles=4,
    )
    return Sample(
        round(at_s * 1e9), 2**30, 2**29, 2**29, 2**30, round(at_s, 2), threads=4, major_faults=100, system=system
    )


def record_of(requests: list[Request], reading: Reading = quiet, system_info: str = "") -> Record:
    """A run with readings at 10 Hz from its beginning to its end."""
    end_s = requests[-1].ended_ns * 1e-9 + 0.2
    samples = tuple(reading(tick / 10) for tick in range(int(end_s * 10)))
    told = replace(subject(), system_info=system_info)
    return Record(header(), (told,), tuple(requests), (Samples("0.0", samples, 0.01, None, PID),))


def verdicts(record: Record) -> dict[Cell, Verdict]:
    return {row.cell: row.verdict for row in rows(record)}


def during(requests: list[Request], cell: Cell, first: int = 0) -> Callable[[float], float]:
    """Seconds before `at_s` in which requests of `cell`, from its request `first` on, ran."""
    spans = [(r.sent_ns * 1e-9, r.ended_ns * 1e-9) for r in requests if r.cell == cell][first:]
    return lambda at_s: sum(max(0.0, min(at_s, end) - begin) for begin, end in spans)


def with_system(sample: Sample, **more: float | int | None) -> Sample:
    assert sample.system is not None
    return sample._replace(system=sample.system._replace(**more))  # type: ignore[arg-type]


def only_the_second_is_noisy(record: Record, words: str) -> None:
    found = verdicts(record)
    assert [found[cell].word for cell in CELLS] == ["VALID", "NOISY", "VALID"]
    assert words in found[CELLS[1]].reasons[0]
    assert len(found[CELLS[1]].reasons) == 1
