"""The timeline of a run: requests above, what was sampled beside them below, on one time axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.energy import not_measured
from harness.page.bars import Bars, bars_of, row_axis
from harness.page.curves import Panel, Sampled, cpu_panel, memory_panels, power_panel, sampled
from harness.page.instants import SILENCE_S, Axis
from harness.page.names import Figure, Names
from harness.page.thinning import CURVE_POINTS
from harness.record import Record

_PANEL_PX = 130
_SPACE_PX = 20
_MARGIN = {"l": 60, "r": 170, "t": 32, "b": 50}


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with what it shows in a sentence, and what it leaves out or cannot know."""

    name: str
    title: str
    caption: str
    figure: Figure
    notes: tuple[str, ...] = ()


def timeline(record: Record, names: Names) -> Chart | None:
    """The timeline; None where nothing was asked."""
    if not record.requests:
        return None
    axis = Axis(record)
    bars = bars_of(record, axis, names)
    engines = sampled(record, axis)
    maybe = [*memory_panels(engines, names), cpu_panel(engines, names), power_panel(engines)]
    panels = [panel for panel in maybe if panel is not None]
    return Chart(
        "timeline",
        "Timeline",
        "Each bar is a request, in the colour of its cell: pale until the first token, full while it decodes; hatched "
        "ones (load, warm-up, priming) do not count; a red cross is a failure; grey is an engine that loads its model. "
        "Rows are requests under way at once. "
        "Curves are of the server's processes, power of whole devices; a gap is a time without readings.",
        _figure(bars, panels, axis),
        tuple(_notes(record, bars, engines, axis)),
    )


def _notes(record: Record, bars: Bars, engines: list[Sampled], axis: Axis) -> list[str]:
    notes = list(bars.left_out)
    longest = max((len(engine.samples) for engine in engines), default=0)
    if longest > CURVE_POINTS:
        notes.append(
            f"curves have at most {CURVE_POINTS} points an engine, of up to {longest:,} samples: memory is the highest "
            "of neighbours, CPU and power their mean"
        )
    if axis.cuts_s:
        lines = "a dashed line" if len(axis.cuts_s) == 1 else f"{len(axis.cuts_s)} dashed lines"
        notes.append(f"silences of over {SILENCE_S:.0f} s are left out of the time axis, at {lines}")
    if record.requests and not engines:
        remote = record.subjects and all(subject.remote for subject in record.subjects)
        why = "the server is on another machine" if remote else "the server's process was not sampled"
        notes.append(f"memory and CPU are unknown: {why}")
    if (lacking := not_measured(record)) is not None:
        notes.append(lacking)
    return notes


def _whose(panel: Panel, top: float) -> Figure:
    """Whose curves a panel shows, above its left corner."""
    place = {"xref": "paper", "yref": "paper", "x": 0.005, "y": top, "xanchor": "left", "yanchor": "bottom"}
    return place | {"text": panel.whose, "showarrow": False, "font": {"size": 11, "color": "#666666"}}


def _figure(bars: Bars, panels: list[Panel], axis: Axis) -> Figure:
    heights = [float(min(420, 46 + 20 * bars.rows)), *[float(_PANEL_PX)] * len(panels)]
    whole = sum(heights) + _SPACE_PX * len(panels)
    layout: dict[str, Any] = {
        "height": round(whole + _MARGIN["t"] + _MARGIN["b"]),
        "margin": _MARGIN,
        "barmode": "overlay",
        "annotations": [],
        "hovermode": "closest",
        "xaxis": {"title": {"text": "seconds since the run began"}, "anchor": f"y{len(panels) + 1 if panels else ''}"},
        "shapes": [
            {"type": "line", "xref": "x", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1,
             "line": {"dash": "dash", "width": 1, "color": "#888888"}} for at in axis.cuts_s
        ],
    }  # fmt: skip
    data = list(bars.traces)
    top = 1.0
    for number, height in enumerate(heights, 1):
        bottom = max(0.0, top - height / whole)
        key = "" if number == 1 else str(number)
        if number == 1:
            layout["yaxis"] = row_axis(bars)
        else:
            panel = panels[number - 2]
            layout[f"yaxis{key}"] = {"title": {"text": panel.title}, "rangemode": "tozero", "automargin": True}
            layout[f"legend{key}"] = {"x": 1.01, "y": top, "xanchor": "left", "yanchor": "top", "font": {"size": 11}}
            layout["annotations"] += [_whose(panel, top)] if panel.whose else []
            data += [trace | {"yaxis": f"y{key}", "legend": f"legend{key}"} for trace in panel.traces]
        layout[f"yaxis{key}"]["domain"] = [round(bottom, 4), round(top, 4)]
        top = bottom - _SPACE_PX / whole
    return {"data": data, "layout": layout}
