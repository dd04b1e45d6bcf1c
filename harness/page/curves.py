"""What was sampled beside the requests as curves over time: memory by component, CPU, power. A silence is a gap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from harness.metrics import NS
from harness.page.instants import Axis
from harness.page.names import ANONYMOUS, FILE_BACKED, GPU_COLOURS, INK, Figure, Lane, Names, lane_of
from harness.page.thinning import CURVE_POINTS, step
from harness.record import Record, Sample

GIB = 2**30
# A sensor that says nothing for so many of its usual intervals was silent.
_SILENT_INTERVALS = 5
Points = list[tuple[float | None, float | None]]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The samples of one engine with their seconds on the axis."""

    subject_id: str
    lane: Lane
    seconds: tuple[float, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that share an axis, its title, and whose they are where panels differ in that."""

    title: str
    traces: tuple[Figure, ...]
    whose: str = ""


def sampled(record: Record, axis: Axis) -> list[Sampled]:
    """The samples of each engine, in order; those within a silence that the axis leaves out are not drawn."""
    lines: dict[str, list[Sample]] = {}
    for line in record.samples:
        lines.setdefault(line.subject_id, []).extend(line.samples)
    lanes = {subject.subject_id: lane_of(subject) for subject in record.subjects}
    found = []
    for subject_id, samples in lines.items():
        placed = [(axis.seconds(subject_id, s.at_ns), s) for s in sorted(samples, key=lambda s: s.at_ns)]
        on_axis = [(at, sample) for at, sample in placed if at is not None]
        if on_axis:
            seconds, kept = zip(*on_axis, strict=True)
            found.append(Sampled(subject_id, lanes.get(subject_id, ("?", subject_id, "")), seconds, kept))
    return found


def memory_panels(engines: Sequence[Sampled], names: Names) -> list[Panel]:
    """Resident memory: engines that were sampled one after the other share a panel, others have one each."""
    panels: list[list[Sampled]] = []
    for engine in sorted(engines, key=lambda engine: engine.seconds[0]):
        free = [panel for panel in panels if panel[-1].seconds[-1] <= engine.seconds[0]]
        if free:
            free[0].append(engine)
        else:
            panels.append([engine])
    found = []
    for panel in panels:
        lanes = list(dict.fromkeys(engine.lane for engine in panel))
        whose = ", ".join(names.lane(lane) for lane in lanes) if len(panels) > 1 else ""
        traces = [trace for engine in panel for trace in _memory(engine, names)]
        found.append(Panel("memory<br>GiB", _once_in_legend(traces), whose))
    return found


def _memory(engine: Sampled, names: Names) -> list[Figure]:
    """Resident memory and its components, where the system tells them; no areas, since those cannot have gaps."""
    split = all(s.file_bytes is not None and s.anonymous_bytes is not None for s in engine.samples)
    highest = _buckets(engine, lambda part: max(part, key=lambda pair: pair[1].resident_bytes))

    def curve(value: Callable[[Sample], int | None]) -> Points:
        return _with_gaps([(at, None if (v := value(s)) is None else v / GIB) for at, s in highest])

    lane = names.lane(engine.lane)
    whole = "resident" if split else "resident (components not told)"
    traces = [_line(whole, INK, curve(lambda s: s.resident_bytes), lane, "GiB")]
    if split:
        traces.append(_line("file-backed", FILE_BACKED, curve(lambda s: s.file_bytes), lane, "GiB"))
        traces.append(_line("anonymous", ANONYMOUS, curve(lambda s: s.anonymous_bytes), lane, "GiB"))
    states = [(at, sum(g.process_bytes for g in s.gpu_states if g.process_bytes is not None) / GIB)
              for at, s in zip(engine.seconds, engine.samples, strict=True)
              if any(g.process_bytes for g in s.gpu_states)]  # fmt: skip
    if states:
        kept = states[:: step(len(states), CURVE_POINTS)]
        traces.append(_line("on GPUs", GPU_COLOURS[0], _with_gaps(kept), lane, "GiB"))
    return traces


def cpu_panel(engines: Sequence[Sampled], names: Names) -> Panel | None:
    """Cores that each engine's processes kept busy: CPU time between samples over the time between them."""
    several = len({engine.lane for engine in engines}) > 1
    traces = []
    for engine in engines:
        ends = _buckets(engine, lambda part: part[-1])
        points: Points = [
            (late_s, (late.cpu_s - early.cpu_s) / ((late.at_ns - early.at_ns) * NS))
            for (_, early), (late_s, late) in pairwise(ends)
            if late.at_ns > early.at_ns and late.cpu_s >= early.cpu_s
        ]
        lane = names.lane(engine.lane)
        colour = names.lane_colour(engine.lane) if several else INK
        traces.append(_line(lane if several else "CPU", colour, _with_gaps(points), lane, "cores"))
    drawn = [trace for trace in traces if trace["x"]]
    return Panel("CPU<br>cores", _once_in_legend(drawn)) if drawn else None


def power_panel(engines: Sequence[Sampled]) -> Panel | None:
    """Watts of each whole GPU as its driver says them, and of the CPU packages from their energy counters."""
    traces = []
    devices = sorted({g.device for e in engines for s in e.samples for g in s.gpu_power if g.power_w is not None})
    for place, device in enumerate(devices):
        points: Points = []
        for engine in engines:
            known = [(at, g.power_w) for at, s in zip(engine.seconds, engine.samples, strict=True)
                     for g in s.gpu_power if g.device == device and g.power_w is not None]  # fmt: skip
            points += _means(known)
        traces.append(_line(f"GPU {device}", GPU_COLOURS[place % len(GPU_COLOURS)], _ordered(points), "", "W"))
    points = [point for engine in engines for point in _package_power(engine)]
    if points:
        traces.append(_line("CPU packages", ANONYMOUS, _ordered(points), "", "W"))
    return Panel("power<br>W", tuple(traces)) if traces else None


def _package_power(engine: Sampled) -> Points:
    ends = [(at, s) for at, s in _buckets(engine, lambda part: part[-1]) if s.cpu_energy_j is not None]
    return [
        (late_s, (late.cpu_energy_j - early.cpu_energy_j) / ((late.at_ns - early.at_ns) * NS))
        for (_, early), (late_s, late) in pairwise(ends)
        if late.cpu_energy_j is not None
        and early.cpu_energy_j is not None
        and late.at_ns > early.at_ns
        and late.cpu_energy_j >= early.cpu_energy_j
    ]


def _means(known: Sequence[tuple[float, float]]) -> Points:
    """Means of neighbours where there are too many to draw."""
    every = step(len(known), CURVE_POINTS)
    parts = [known[at : at + every] for at in range(0, len(known), every)]
    return [(part[len(part) // 2][0], sum(value for _, value in part) / len(part)) for part in parts]


Pair = tuple[float, Sample]


def _buckets(engine: Sampled, choice: Callable[[Sequence[Pair]], Pair]) -> list[Pair]:
    """All samples, or where there are too many the chosen one of each run of neighbours."""
    pairs = list(zip(engine.seconds, engine.samples, strict=True))
    every = step(len(pairs), CURVE_POINTS)
    return [choice(pairs[at : at + every]) for at in range(0, len(pairs), every)]


def _ordered(points: Points) -> Points:
    return _with_gaps(sorted(points, key=lambda point: point[0] or 0.0))


def _with_gaps(points: Iterable[tuple[float | None, float | None]]) -> Points:
    """The points, with an empty one in each silence, so that no line is drawn through it."""
    listed = list(points)
    usual_s = median([(b[0] or 0.0) - (a[0] or 0.0) for a, b in pairwise(listed)]) if len(listed) > 2 else None
    found: Points = listed[:1]
    for early, late in pairwise(listed):
        if usual_s is not None and (late[0] or 0.0) - (early[0] or 0.0) > _SILENT_INTERVALS * usual_s:
            found.append((early[0], None))
        found.append(late)
    return found


def _line(name: str, colour: str, points: Points, lane: str, unit: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "line": {"width": 1.2, "color": colour},
        "x": [at for at, _ in points],
        "y": [None if value is None else round(value, 4) for _, value in points],
        "connectgaps": False,
        # Names stand in `meta`, where nothing in them is taken for a placeholder.
        "meta": f"{name}<br>{lane}" if lane and lane != name else name,
        "hovertemplate": "%{y:.3g} " + unit + " at %{x:.1f} s<extra>%{meta}</extra>",
    }


def _once_in_legend(traces: Sequence[Figure]) -> tuple[Figure, ...]:
    seen: set[str] = set()
    found = []
    for trace in traces:
        found.append(trace | {"showlegend": trace["name"] not in seen})
        seen.add(trace["name"])
    return tuple(found)
