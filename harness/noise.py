"""Noise: what disturbed a machine while a request ran, from readings sampled beside it.

A disturbance belongs to the requests during which it happened and to no other. Each check is a pure function of the
stretch of readings of one request; what was not read is unknown and accuses nobody.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from harness.record import Sample

Kind = Literal[
    "other processes", "steal", "memory pressure", "swap", "page cache", "CPU clock", "CPU heat", "GPU throttling"
]

# Limits. Times have a floor, since systems count CPU time in hundredths of a second.
OTHERS_CORES, OTHERS_SHARE, OTHERS_FLOOR_S = 0.15, 0.05, 0.06
STEAL_SHARE, STEAL_FLOOR_S = 0.02, 0.03
PRESSURE_SHARE, PRESSURE_FLOOR_S = 0.02, 0.005
SWAP_BYTES = 4 * 2**20
MAJOR_FAULTS = 50
CLOCK_SHARE = 0.85
# Heat is counted once a second.
HEAT_TIMES = 0.5
# Reasons of a GPU that mean trouble; its power limit, a user's clocks and idling do not.
GPU_TROUBLE = ("hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "hardware power brake")


@dataclass(frozen=True, slots=True)
class Finding:
    """One disturbance of one request: how much (in the unit of its kind), and words where a number does not do."""

    kind: Kind
    figure: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One kind of disturbance of a cell: during how many of its requests that were watched, and the worst."""

    kind: Kind
    requests: int
    watched: int
    worst: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A cell's watched requests, how many of them anything disturbed, and by kind what did."""

    requests: int = 0
    watched: int = 0
    kinds: tuple[Disturbance, ...] = ()


@dataclass(frozen=True, slots=True)
class Stretch:
    """The readings of one request: those inside, those around it, and how long it was in seconds.

    `usual_hz` is what the CPU's clock was through the run, None unless the engine computes on the CPU; `gpus` are the
    devices that the engine uses.
    """

    samples: Sequence[Sample]
    begin_ns: int
    end_ns: int
    cores: int
    usual_hz: float | None = None
    gpus: frozenset[int] = frozenset()

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end_ns - self.begin_ns) * 1e-9

    @property
    def inside(self) -> list[Sample]:
        """The readings while the request ran."""
        return [sample for sample in self.samples if self.begin_ns <= sample.at_ns <= self.end_ns]

    def rise(self, value: Callable[[Sample], float | None]) -> float | None:
        """How much a counter rose, interpolated between readings; None where it was not read."""
        low, high = self._at(self.begin_ns, value), self._at(self.end_ns, value)
        return None if low is None or high is None else high - low

    def _at(self, at_ns: int, value: Callable[[Sample], float | None]) -> float | None:
        after = bisect_left(self.samples, at_ns, key=lambda sample: sample.at_ns)
        after = max(1, min(after, len(self.samples) - 1))
        before, later = self.samples[after - 1], self.samples[after]
        low, high = value(before), value(later)
        if low is None or high is None or later.at_ns == before.at_ns:
            return None
        return low + (high - low) * (at_ns - before.at_ns) / (later.at_ns - before.at_ns)


def _others(stretch: Stretch) -> Finding | None:
    """Cores that processes other than the server, the harness and its sampler used."""
    busy = stretch.rise(lambda s: s.system and s.system.busy_s)
    ours = stretch.rise(lambda s: s.system and s.system.harness_cpu_s)
    server = stretch.rise(lambda s: s.cpu_s)
    if busy is None or ours is None or server is None:
        return None
    others_s = busy - ours - server
    limit = max(OTHERS_CORES, OTHERS_SHARE * stretch.cores)
    if others_s <= limit * stretch.seconds + OTHERS_FLOOR_S:
        return None
    return Finding("other processes", others_s / stretch.seconds)


def _steal(stretch: Stretch) -> Finding | None:
    """Share of the CPUs' time that the hypervisor gave to other guests."""
    steal = stretch.rise(lambda s: s.system and s.system.steal_s)
    wall = stretch.cores * stretch.seconds
    return None if steal is None or steal <= STEAL_SHARE * wall + STEAL_FLOOR_S else Finding("steal", steal / wall)


def _pressure(stretch: Stretch) -> Finding | None:
    """Share of the time in which some task waited for memory (PSI)."""
    stalled = stretch.rise(lambda s: s.system and s.system.memory_stall_s)
    if stalled is None or stalled <= PRESSURE_SHARE * stretch.seconds + PRESSURE_FLOOR_S:
        return None
    return Finding("memory pressure", stalled / stretch.seconds)


def _swap(stretch: Stretch) -> Finding | None:
    """Bytes swapped in and out by the machine."""
    swapped = stretch.rise(lambda s: s.system and s.system.swapped_bytes)
    return Finding("swap", swapped) if swapped is not None and swapped > SWAP_BYTES else None


def _page_cache(stretch: Stretch) -> Finding | None:
    """Page faults of the server that had to wait for the disk: its model file had been dropped from memory."""
    faults = stretch.rise(lambda s: s.major_faults)
    return Finding("page cache", faults) if faults is not None and faults > MAJOR_FAULTS else None


def _clock(stretch: Stretch) -> Finding | None:
    """The share that is left of the CPU's usual clock."""
    told = [s.system.cpu_hz for s in stretch.inside if s.system is not None and s.system.cpu_hz is not None]
    if not told or stretch.usual_hz is None or median(told) >= CLOCK_SHARE * stretch.usual_hz:
        return None
    return Finding("CPU clock", median(told) / stretch.usual_hz)


def _heat(stretch: Stretch) -> Finding | None:
    """How often the CPU was slowed down for its heat in the seconds of a request, whose ends it may share with others.

    A count that rose in each of them is this request's; else its share of the time must hold half an event.
    """
    told = [(s.at_ns, s.system.throttles) for s in stretch.samples if s.system and s.system.throttles is not None]
    shares, rises = [], []
    for (begin_ns, before), (end_ns, after) in pairwise(told):
        within_ns = min(end_ns, stretch.end_ns) - max(begin_ns, stretch.begin_ns)
        if within_ns > 0:
            shares.append(within_ns / (end_ns - begin_ns))
            rises.append(after - before)
    if not any(rises):
        return None
    slowed = all(rises) or sum(share * rise for share, rise in zip(shares, rises, strict=True)) >= HEAT_TIMES
    return Finding("CPU heat", sum(rises)) if slowed else None


def _gpu(stretch: Stretch) -> Finding | None:
    """Why clocks of the server's GPUs were held back; between two slow readings both must say so."""
    found: list[str] = []
    told = [s for s in stretch.samples if s.gpu_states]
    inside = [_trouble(s, stretch.gpus) for s in told if stretch.begin_ns <= s.at_ns <= stretch.end_ns]
    if inside:
        found = [reason for reasons in inside for reason in reasons]
    else:
        before = [s for s in told if s.at_ns < stretch.begin_ns][-1:]
        after = [s for s in told if s.at_ns > stretch.end_ns][:1]
        if before and after:
            found = [r for r in _trouble(before[0], stretch.gpus) if r in _trouble(after[0], stretch.gpus)]
    return Finding("GPU throttling", 1.0, ", ".join(dict.fromkeys(found))) if found else None


def _trouble(sample: Sample, gpus: Collection[int]) -> list[str]:
    return [
        f"GPU {state.device}: {reason}"
        for state in sample.gpu_states
        if state.device in gpus
        for reason in state.throttle or ()
        if reason in GPU_TROUBLE
    ]


CHECKS = (_others, _steal, _pressure, _swap, _page_cache, _clock, _heat, _gpu)


def findings(stretch: Stretch) -> list[Finding]:
    """Everything that disturbed one request."""
    return [found for check in CHECKS if (found := check(stretch)) is not None]
