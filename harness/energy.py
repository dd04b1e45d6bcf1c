"""Energy: pure functions from the record to joules, each with its method, or the reason why there is no figure.

Energy is of whole devices, whoever used them. Idle power is measured before the first request and stands beside; it is
never subtracted.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Literal

from harness.devices import holding_gpus, used_gpus
from harness.epochs import epochs
from harness.record import Record, Request, Sample
from harness.samples import Gpu, PowerSources

NS = 1e-9
# A stretch of requests needs so many readings. Where power steps from and to nothing at its ends, half an interval
# of each end may go to the wrong side: 5 % of 20 intervals at most (of 1000 simulated: 2.8 %).
MIN_READINGS = 20
# A trailing average of one second lags by half a second: 5 % of ten.
AVERAGED_MIN_S = 10.0
# The longest silence of a sensor within a stretch, as a share of it.
MAX_GAP_SHARE = 0.1

Kind = Literal["counter", "power"]
Reading = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of one source in order: joules of a counter or watts, at instants in ns; `min_s` is its shortest use."""

    source: str
    method: str
    kind: Kind
    readings: tuple[Reading, ...]
    min_s: float = 0.0
    idle_w: float | None = None
    note: str = ""

    def between(self, begin_ns: int, end_ns: int) -> tuple[Reading, ...]:
        """The readings from `begin_ns` to `end_ns`, both included."""
        first = bisect_left(self.readings, begin_ns, key=lambda reading: reading[0])
        last = bisect_right(self.readings, end_ns, key=lambda reading: reading[0])
        return self.readings[first:last]


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of a cell by one source and method, over `requests` of its requests and `seconds`.

    J per request: joules of the stretches / their requests; per output token: / the output tokens that the
    server counts, prefill included. `idle_joules_per_request` is what idling would have taken meanwhile.
    """

    source: str
    method: str
    joules_per_request: float
    joules_per_output_token: float | None
    requests: int
    seconds: float
    idle_w: float | None
    idle_joules_per_request: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class CellEnergy:
    """What is known of a cell's energy, and why more is not."""

    known: tuple[Energy, ...] = ()
    refused: tuple[str, ...] = ()


def counter_joules(readings: Sequence[Reading], begin_ns: int, end_ns: int) -> float:
    """E(end) - E(begin) of an energy counter in joules, between readings by linear interpolation."""
    return _at(readings, end_ns) - _at(readings, begin_ns)


def integral_joules(readings: Sequence[Reading], begin_ns: int, end_ns: int) -> float:
    """Integral of power over time in joules: trapezoids between readings; the last one holds until `end_ns`."""
    inside = [reading for reading in readings if begin_ns < reading[0] < end_ns]
    points = [(begin_ns, _at(readings, begin_ns)), *inside, (end_ns, _at(readings, end_ns, hold=True))]
    return sum((late[0] - early[0]) * NS * (late[1] + early[1]) / 2 for early, late in pairwise(points))


def _at(readings: Sequence[Reading], at_ns: int, hold: bool = False) -> float:
    """The value at an instant. Beyond the ends a counter goes on as it did, power (`hold`) stays."""
    later = bisect_left(readings, at_ns, key=lambda reading: reading[0])
    if hold and later == len(readings):
        return readings[-1][1]
    later = min(max(later, 1), len(readings) - 1)
    (t0, v0), (t1, v1) = readings[later - 1], readings[later]
    return v0 + (v1 - v0) * (at_ns - t0) / (t1 - t0)


def stretch_joules(series: Series, begin_ns: int, end_ns: int) -> float | str:
    """Joules from `begin_ns` to `end_ns`, or the reason why this sensor cannot tell them."""
    seconds = (end_ns - begin_ns) * NS
    inside = series.between(begin_ns, end_ns)
    if seconds < series.min_s:
        return f"{seconds:.1f} s is too short for a one-second average of power, {series.min_s:.0f} s are needed"
    if len(inside) < MIN_READINGS:
        return f"{seconds:.1f} s hold {len(inside)} readings, {MIN_READINGS} are needed"
    # A reading counts up to two usual intervals beyond the ends.
    beyond_ns = round(2 * median(late[0] - early[0] for early, late in pairwise(inside)))
    around = series.between(begin_ns - beyond_ns, end_ns + beyond_ns)
    if (gap_s := _longest_gap_s(around, begin_ns, end_ns)) > MAX_GAP_SHARE * seconds:
        return f"the sensor was silent for {gap_s:.1f} s of {seconds:.1f} s"
    if series.kind == "power":
        return integral_joules(around, begin_ns, end_ns)
    if any(late[1] < early[1] for early, late in pairwise(around)):
        return "the energy counter went backwards"
    return counter_joules(around, begin_ns, end_ns)


def _longest_gap_s(readings: Sequence[Reading], begin_ns: int, end_ns: int) -> float:
    instants = [begin_ns, *(at for at, _ in readings if begin_ns < at < end_ns), end_ns]
    return max(late - early for early, late in pairwise(instants)) * NS


def stretches(requests: Iterable[Request], clocks: Mapping[str, int]) -> list[list[Request]]:
    """Requests that overlap in time belong together: their energy cannot be told apart."""
    found: list[list[Request]] = []
    end = (0, 0)
    for request in sorted(requests, key=lambda request: (clocks.get(request.subject_id, 0), request.sent_ns)):
        epoch = clocks.get(request.subject_id, 0)
        if found and (epoch, request.sent_ns) < end:
            found[-1].append(request)
        else:
            found.append([request])
        end = max(end, (epoch, request.ended_ns))
    return found


def _by_failure(found: Iterable[list[Request]]) -> tuple[list[list[Request]], list[list[Request]]]:
    """The stretches whose requests all ended well, and the others."""
    whole, failed = list[list[Request]](), list[list[Request]]()
    for stretch in found:
        (failed if any(request.error is not None for request in stretch) else whole).append(stretch)
    return whole, failed


class Meter:
    """The power sources of a record, engine by engine, and what they say of a cell."""

    def __init__(self, record: Record, on_cpu: set[str]) -> None:
        """`on_cpu` are the ids of the engines that say that they compute on the CPU alone."""
        self._epochs = epochs(record)
        self._series: dict[str, list[Series]] = {}
        self._faults: dict[str, list[tuple[int, str]]] = {}
        told = {line.subject_id: line.sources for line in record.samples if line.sources is not None}
        for subject in {line.subject_id for line in record.samples}:
            sources = told.get(subject)
            # Subjects of one server share a sampler, and so its idle window.
            kin = {name for name, other in told.items() if sources and other.idle_ns == sources.idle_ns is not None}
            lines = [line for line in record.samples if line.subject_id in kin | {subject}]
            samples = sorted((sample for line in lines for sample in line.samples), key=lambda sample: sample.at_ns)
            self._series[subject] = [] if sources is None else series_of(sources, samples, subject in on_cpu)
            self._faults[subject] = [(sample.at_ns, fault) for sample in samples for fault in sample.faults]

    def of(self, tried: Sequence[Request]) -> CellEnergy:
        """The energy of a cell's counted requests. Stretches with a failed one are left out: it took some too."""
        known: dict[tuple[str, str], list[tuple[Series, float, list[Request]]]] = {}
        refused: dict[str, str] = {}
        whole, failed = _by_failure(stretches(tried, self._epochs))
        for stretch in whole:
            begin_ns, end_ns = stretch[0].sent_ns, max(request.ended_ns for request in stretch)
            for series in self._series.get(stretch[0].subject_id, ()):
                joules = stretch_joules(series, begin_ns, end_ns)
                if isinstance(joules, str):
                    advice = self._fault(series, stretch[0].subject_id, end_ns) or "ask for more --output-tokens"
                    refused.setdefault(series.source, f"{series.source}, {series.method}: {joules}; {advice}")
                else:
                    known.setdefault((series.source, series.method), []).append((series, joules, stretch))
        for series in (one for stretch in failed for one in self._series.get(stretch[0].subject_id, ())):
            count = f"{len(failed)} of {len(whole) + len(failed)} stretches hold failed requests"
            refused.setdefault(series.source, f"{series.source}, {series.method}: {count}; see `harness show --errors`")
        told = {source for source, _ in known}
        return CellEnergy(
            tuple(_energy(entries) for entries in known.values()),
            tuple(reason for source, reason in refused.items() if source not in told),
        )

    def _fault(self, series: Series, subject: str, end_ns: int) -> str:
        """What last went wrong with the source of a series."""
        kind = series.source[:3]
        faults = [fault for at_ns, fault in self._faults[subject] if at_ns <= end_ns and fault.startswith(kind)]
        return faults[-1] if faults else ""


def _energy(entries: Sequence[tuple[Series, float, list[Request]]]) -> Energy:
    series = entries[0][0]
    requests = [request for _, _, stretch in entries for request in stretch]
    joules, count = sum(entry[1] for entry in entries), len(requests)
    tokens = [request.usage.output_tokens for request in requests]
    whole = None if None in tokens else sum(token or 0 for token in tokens)
    seconds = sum((max(r.ended_ns for r in stretch) - stretch[0].sent_ns) * NS for _, _, stretch in entries)
    return Energy(
        source=series.source,
        method=series.method,
        joules_per_request=joules / count,
        joules_per_output_token=joules / whole if whole else None,
        requests=count,
        seconds=seconds,
        idle_w=series.idle_w,
        idle_joules_per_request=None if series.idle_w is None else series.idle_w * seconds / count,
        note=series.note,
    )


def series_of(sources: PowerSources, samples: Sequence[Sample], on_cpu: bool) -> list[Series]:
    """A series for the GPUs that an engine uses, by the best method that all of them have, and one for the CPUs."""
    found = []
    gpus, note = _gpus(sources, samples, on_cpu)
    if gpus and (series := _gpu_series(gpus, samples, note)) is not None:
        found.append(_with_idle(series, sources.idle_ns))
    if sources.cpu_zones:
        joules = tuple((s.at_ns, s.cpu_energy_j) for s in samples if s.cpu_energy_j is not None)
        series = Series(f"CPU ({', '.join(sources.cpu_zones)})", "RAPL counter", "counter", joules)
        found.append(_with_idle(series, sources.idle_ns))
    return found


def _gpus(sources: PowerSources, samples: Sequence[Sample], on_cpu: bool) -> tuple[list[Gpu], str]:
    """The GPUs that the engine uses, and what to know of their power."""
    holding = holding_gpus(samples)
    used = used_gpus(holding, {gpu.device for gpu in sources.gpus}, on_cpu)
    gpus = [gpu for gpu in sources.gpus if gpu.device in used]
    note = "" if used & holding else "all GPUs, since none lists the engine's processes"
    if any(gpu.mig for gpu in gpus):
        note = "; ".join(part for part in (note, "the whole GPU with all of its MIG instances") if part)
    return gpus, note


def _gpu_series(gpus: Sequence[Gpu], samples: Sequence[Sample], note: str) -> Series | None:
    source = f"GPU {', '.join(str(gpu.device) for gpu in gpus)}"
    devices = {gpu.device for gpu in gpus}
    if all(gpu.energy_counter for gpu in gpus):
        readings = _summed(samples, devices, 2)
        return Series(source, "NVML energy counter", "counter", readings, note=note)
    if any(gpu.power is None for gpu in gpus):
        return None
    readings = _summed(samples, devices, 1)
    if any(gpu.power == "averaged" for gpu in gpus):
        method = "integral of NVML one-second average power"
        return Series(source, method, "power", readings, AVERAGED_MIN_S, note=note)
    return Series(source, "integral of NVML instant power", "power", readings, note=note)


def _summed(samples: Sequence[Sample], devices: set[int], column: Literal[1, 2]) -> tuple[Reading, ...]:
    """Watts (column 1) or joules (2) of all devices; samples that lack one are left out."""
    found = []
    for sample in samples:
        values = [entry[column] for entry in sample.gpu_power if entry.device in devices]
        if len(values) == len(devices) and None not in values:
            found.append((sample.at_ns, sum(value for value in values if value is not None)))
    return tuple(found)


def _with_idle(series: Series, idle_ns: tuple[int, int] | None) -> Series:
    """The series with its mean power in the idle window, by its own method; None under 5 readings."""
    if idle_ns is None or len(inside := series.between(*idle_ns)) < 5:
        return series
    begin_ns, end_ns = inside[0][0], inside[-1][0]
    joules = (counter_joules if series.kind == "counter" else integral_joules)(inside, begin_ns, end_ns)
    return replace(series, idle_w=joules / ((end_ns - begin_ns) * NS))


def not_measured(record: Record) -> str | None:
    """Which power is not measured and why, in words; None where all is."""
    told = [line.sources for line in record.samples if line.sources is not None]
    if told:
        return "; ".join(_lacking(told[0])) or None
    if any(line.samples for line in record.samples):
        return "power not measured: this run was made before it was recorded"
    if record.subjects and all(subject.remote for subject in record.subjects):
        return "power not measured: the server is on another machine"
    return "power not measured: the server's process is not sampled" if record.subjects else None


def _lacking(sources: PowerSources) -> list[str]:
    silent = [f"GPU {gpu.device} ({gpu.name})" for gpu in sources.gpus if not gpu.power and not gpu.energy_counter]
    found = [f"GPU power not measured: {sources.gpu_note}"] if sources.gpu_note else []
    found += [f"GPU power not measured: the driver does not tell that of {', '.join(silent)}"] if silent else []
    return found + ([f"CPU power not measured: {sources.cpu_note}"] if sources.cpu_note else [])
