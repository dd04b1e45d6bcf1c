"""Disturbances of requests: which readings belong to which request, from a record and while a run goes on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import quantiles

from harness.devices import holding_gpus, used_gpus
from harness.epochs import epochs
from harness.metrics import computes_on_cpu
from harness.noise import Disturbance, Disturbed, Finding, Kind, Stretch, findings
from harness.record import Record, Request, Sample, Samples

# Readings further apart tell nothing of what was between them.
_LARGEST_GAP_NS = 2_000_000_000
# The last reading may come so much before the end of the last request.
_LATE_NS = 300_000_000
# Readings of GPUs are a second apart: neighbours of a short request are looked for so far.
_AROUND_NS = 1_200_000_000
_FEWEST_CLOCKS = 5
# A cell is disturbed from this share of its requests on, of six or more from two on: a median hardly moves for less.
SHARE, ENOUGH = 0.1, 6


@dataclass
class Timeline:
    """The readings of one server in their order, on a machine of so many logical cores."""

    cores: int
    samples: list[Sample] = field(default_factory=list)
    instants: list[int] = field(default_factory=list)
    clocks_hz: list[float] = field(default_factory=list)
    gpus: set[int] = field(default_factory=set)
    holding: set[int] = field(default_factory=set)

    def add(self, samples: Iterable[Sample]) -> None:
        """Takes later readings."""
        for sample in samples:
            self.samples.append(sample)
            self.instants.append(sample.at_ns)
            self.gpus.update(state.device for state in sample.gpu_states)
            self.holding |= holding_gpus((sample,))
            if sample.system is not None and sample.system.cpu_hz is not None:
                self.clocks_hz.append(sample.system.cpu_hz)

    def forget(self, before_ns: int) -> None:
        """Drops readings that nobody will ask for."""
        gone = max(0, bisect_left(self.instants, before_ns - _AROUND_NS) - 1)
        del self.samples[:gone], self.instants[:gone]

    def stretch(self, request: Request, on_cpu: bool) -> Stretch | None:
        """The readings of a request, None where it was not watched from its beginning to its end."""
        at, end_ns = self.instants, request.ended_ns
        if at and at[-1] < end_ns <= at[-1] + _LATE_NS:
            end_ns = at[-1]
        first, last = bisect_right(at, request.sent_ns) - 1, bisect_left(at, end_ns)
        if first < 0 or last >= len(at) or last <= first:
            return None
        if max(b - a for a, b in zip(at[first:last], at[first + 1 : last + 1], strict=True)) > _LARGEST_GAP_NS:
            return None
        low, high = bisect_left(at, at[first] - _AROUND_NS), bisect_right(at, at[last] + _AROUND_NS)
        usual_hz, gpus = self._usual_hz() if on_cpu else None, used_gpus(self.holding, self.gpus, on_cpu)
        return Stretch(self.samples[low:high], request.sent_ns, end_ns, self.cores, usual_hz, frozenset(gpus))

    def _usual_hz(self) -> float | None:
        """The clock that nine of ten readings do not exceed."""
        if len(self.clocks_hz) < _FEWEST_CLOCKS:
            return None
        return quantiles(self.clocks_hz, n=10, method="inclusive")[-1]


class Noise:
    """What disturbed the requests of a record."""

    def __init__(self, record: Record) -> None:
        cores = record.header.host.logical_cores
        self._on_cpu = {subject.subject_id: computes_on_cpu(subject.system_info) for subject in record.subjects}
        self._server: dict[str, tuple[int, object]] = {}
        lines: dict[tuple[int, object], list[Sample]] = {}
        clocks = epochs(record)
        for line in record.samples:
            # Process ids come again after a reboot.
            epoch = clocks.get(line.subject_id, 0)
            key = self._server.setdefault(line.subject_id, (epoch, line.pid or line.subject_id))
            lines.setdefault(key, []).extend(line.samples)
        self._timelines: dict[tuple[int, object], Timeline] = {}
        for key, samples in lines.items():
            timeline = self._timelines[key] = Timeline(cores)
            timeline.add(sorted(samples, key=lambda sample: sample.at_ns))

    def of(self, requests: Iterable[Request]) -> Disturbed:
        """What disturbed a cell's requests."""
        return disturbances(self.findings(requests))

    def findings(self, requests: Iterable[Request]) -> list[list[Finding]]:
        """The findings of each request that was watched."""
        return [found for request in requests if (found := self._findings(request)) is not None]

    def _findings(self, request: Request) -> list[Finding] | None:
        server = self._server.get(request.subject_id)
        if server is None:
            return None
        timeline = self._timelines[server]
        stretch = timeline.stretch(request, self._on_cpu.get(request.subject_id, False))
        return None if stretch is None else findings(stretch)


def disturbances(watched: Sequence[Sequence[Finding]]) -> Disturbed:
    """What disturbed a cell, from the findings of its watched requests; kinds in order of first appearance."""
    kinds: dict[Kind, list[Finding]] = {}
    for found in watched:
        for finding in found:
            kinds.setdefault(finding.kind, []).append(finding)
    told = []
    for kind, listed in kinds.items():
        # Of a clock the lowest is the worst.
        worst = (min if kind == "CPU clock" else max)(finding.figure for finding in listed)
        words = ", ".join(dict.fromkeys(finding.words for finding in listed if finding.words))
        told.append(Disturbance(kind, len(listed), len(watched), worst, words))
    return Disturbed(sum(1 for found in watched if found), len(watched), tuple(told))


def is_disturbed(requests: int, of: int) -> bool:
    """Whether so many disturbed requests are enough to distrust a cell."""
    return requests >= max(SHARE * of, 2 if of >= ENOUGH else 1)


@dataclass
class _Waiting:
    request: Request
    tell: Callable[[Request], None]


class Live:
    """Tells of disturbed requests while a run goes on, as soon as readings from after their end have come."""

    def __init__(self, cores: int, on_cpu: bool = False) -> None:
        """`on_cpu` is whether the engine says that it computes on the CPU alone."""
        self._timeline, self._on_cpu = Timeline(cores), on_cpu
        self._waiting: list[_Waiting] = []
        self._blind = False

    @property
    def waiting(self) -> int:
        """Requests that are not judged yet."""
        return len(self._waiting)

    def watch(self, request: Request, tell: Callable[[Request], None]) -> None:
        """Calls `tell` later if `request` was disturbed (the CPU's clock aside, which is judged from a whole run)."""
        if not self._blind:
            self._waiting.append(_Waiting(request, tell))

    def take(self, samples: Samples) -> None:
        """Takes later readings and judges the requests that they cover."""
        self._timeline.add(samples.samples)
        # After a fault no samples come, and what waits for them would wait for ever; unless some come again.
        if samples.samples or samples.faults:
            self._blind = bool(samples.faults)
        if not self._timeline.instants:
            self._waiting.clear()
            return
        last_ns, waiting = self._timeline.instants[-1], self._waiting
        self._waiting = [entry for entry in waiting if entry.request.ended_ns > last_ns]
        for entry in waiting:
            if entry.request.ended_ns <= last_ns:
                stretch = self._timeline.stretch(entry.request, self._on_cpu)
                if stretch is not None and findings(replace(stretch, usual_hz=None)):
                    entry.tell(entry.request)
        if self._blind:
            self._waiting.clear()
        self._timeline.forget(min([entry.request.sent_ns for entry in self._waiting], default=last_ns))
