"""The evidence for its page: predicted against measured with intervals, what is left, and all tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from calibration.published.building import PARTS, Built, Part
from calibration.published.fitting import Indices
from calibration.published.learning import learning_chart
from calibration.published.tables import PHASES
from calibration.shown.page import Evidence, diagonal, layout, numbers
from calibration.shown.tables import Table
from harness.page.markup import chart_label
from harness.page.timeline import Chart

_COLOURS = {"CUDA": "#4477aa", "Metal": "#ee6677", "ROCm": "#ccbb44", "Vulkan": "#228833", "CPU": "#aa3377"}


def evidence_of(found: Built, tables: Sequence[Table]) -> Evidence:
    """What was measured, charts of both phases, then `tables` in their order."""
    charts = [predicted_chart(found, phase) for phase in PHASES] + [residual_chart(found, phase) for phase in PHASES]
    charts += [learning_chart(found.moved, phase) for phase in PHASES]
    return Evidence(
        "Reference",
        "The reference, as far as it can be believed",
        "published measurements, each machine left out",
        (_facts(found),),
        tuple(charts),
        tuple(tables),
    )


def _facts(found: Built) -> str:
    reference = found.reference
    machines = ", ".join(f"{len(names)} with {back_end}" for back_end, names in reference.machines.items())
    return (
        f"{reference.rows:,} published rows; machines: {machines}. Every figure in the charts is of machines that "
        "neither the fit, nor the choice of its settings, nor the intervals had seen."
    )


def predicted_chart(found: Built, phase: str) -> Chart:
    """Predicted tokens per second with their intervals against measured ones."""
    traces = [_predicted(part, back_end) for part, back_end in _groups(found, phase)]
    ends = [
        float(f(row.tokens_per_s for part in _parts(found, phase) for row in part.samples.rows)) for f in (min, max)
    ]
    axes = layout("measured tok/s", "predicted tok/s")
    axes["yaxis"]["type"] = "log"
    caption = "Each machine left out; bars are 90 % intervals, where there is one. On the line: right."
    return Chart(
        f"predicted-{phase}", f"Predicted against measured, {phase}", caption, _figure([diagonal(*ends), *traces], axes)
    )


def residual_chart(found: Built, phase: str) -> Chart:
    """What is left, measured / predicted, against the distance to what was measured."""
    traces = [_residual(part, back_end) for part, back_end in _groups(found, phase)]
    axes = layout("measured / predicted tok/s", "distance to the nearest measurement of another machine")
    axes["yaxis"]["range"] = [-0.02, 1]
    caption = "At 1: right. Distance 0: the same figures were measured; 1: nothing alike was. Intervals widen with it."
    return Chart(f"residual-{phase}", f"What is left, {phase}", caption, _figure(traces, axes))


def _parts(found: Built, phase: str) -> list[Part]:
    return [found.parts[key] for key in PARTS if key[1] == phase]


def _groups(found: Built, phase: str) -> list[tuple[Part, str]]:
    return [
        (part, name) for part in _parts(found, phase) for name in sorted({row.back_end for row in part.samples.rows})
    ]


def _here(part: Part, back_end: str) -> Indices:
    return np.flatnonzero([row.back_end == back_end for row in part.samples.rows])


def _predicted(part: Part, back_end: str) -> dict[str, Any]:
    here = _here(part, back_end)
    measured = np.array([part.samples.rows[i].tokens_per_s for i in here])
    predicted = measured * part.samples.seconds[here] / part.nested.held.seconds[here]
    widened = np.exp(part.nested.reach[here] * (1 + part.nested.held.distance[here]))
    bars = {"type": "data", "symmetric": False, "array": numbers(predicted * (widened - 1)),
            "arrayminus": numbers(predicted * (1 - 1 / widened)), "thickness": 0.6, "width": 0}  # fmt: skip
    return {**_dots(part, back_end), "x": numbers(measured), "y": numbers(predicted), "error_y": bars}


def _residual(part: Part, back_end: str) -> dict[str, Any]:
    here = _here(part, back_end)
    ratio = part.nested.held.seconds[here] / part.samples.seconds[here]
    return {**_dots(part, back_end), "x": numbers(ratio), "y": numbers(part.nested.held.distance[here])}


def _dots(part: Part, back_end: str) -> dict[str, Any]:
    words = [
        f"{chart_label(part.samples.rows[i].label, 120)}<br>{chart_label(part.samples.rows[i].source)}"
        for i in _here(part, back_end)
    ]
    marker = {"size": 5, "opacity": 0.7, "color": _COLOURS[back_end]}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": back_end,
        "hovertext": words,
        "hoverinfo": "text",
        "marker": marker,
    }


def _figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    return {"data": traces, "layout": layout}
