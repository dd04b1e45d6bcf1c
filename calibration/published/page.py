"""The evidence as one HTML page that needs no network: predicted against measured with intervals, and all tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from calibration.published.building import PARTS, Built, Part
from calibration.published.fitting import Indices
from calibration.published.learning import learning_chart
from calibration.published.tables import PHASES, Table
from harness.page.document import chart_markup, framed
from harness.page.markup import Html, chart_label, joined, markup, sentences
from harness.page.markup import table as table_markup
from harness.page.timeline import Chart

_COLOURS = {"CUDA": "#4477aa", "Metal": "#ee6677", "ROCm": "#ccbb44", "Vulkan": "#228833", "CPU": "#aa3377"}


def evidence_page(found: Built, tables: Sequence[Table], charting_library: str) -> str:
    """The page: what was measured, charts of both phases, then `tables` in their order."""
    charts = [chart_markup(f"predicted-{phase}", predicted_chart(found, phase)) for phase in PHASES]
    charts += [chart_markup(f"residual-{phase}", residual_chart(found, phase)) for phase in PHASES]
    charts += [chart_markup(f"learning-{phase}", learning_chart(found.moved, phase)) for phase in PHASES]
    facts = Html(f"<p>{markup(_facts(found))}</p>")
    content = joined([facts, *charts, *(_table(entry) for entry in tables)])
    body = Html(
        "<h1>The reference, as far as it can be believed</h1>\n"
        f'<details class="run" open>\n<summary>published measurements, each machine left out</summary>\n'
        f"{content.markup}\n</details>"
    )
    return framed("Reference", body, charting_library)


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
    diagonal = {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": {"color": "#999999", "width": 1},
                "hoverinfo": "skip", "showlegend": False}  # fmt: skip
    layout = _layout("measured tok/s", "predicted tok/s")
    layout["yaxis"]["type"] = "log"
    caption = "Each machine left out; bars are 90 % intervals, where there is one. On the line: right."
    return Chart(
        f"predicted-{phase}", f"Predicted against measured, {phase}", caption, _figure([diagonal, *traces], layout)
    )


def residual_chart(found: Built, phase: str) -> Chart:
    """What is left, measured / predicted, against the distance to what was measured."""
    traces = [_residual(part, back_end) for part, back_end in _groups(found, phase)]
    layout = _layout("measured / predicted tok/s", "distance to the nearest measurement of another machine")
    layout["yaxis"]["range"] = [-0.02, 1]
    caption = "At 1: right. Distance 0: the same figures were measured; 1: nothing alike was. Intervals widen with it."
    return Chart(f"residual-{phase}", f"What is left, {phase}", caption, _figure(traces, layout))


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
    bars = {"type": "data", "symmetric": False, "array": _numbers(predicted * (widened - 1)),
            "arrayminus": _numbers(predicted * (1 - 1 / widened)), "thickness": 0.6, "width": 0}  # fmt: skip
    return {**_dots(part, back_end), "x": _numbers(measured), "y": _numbers(predicted), "error_y": bars}


def _residual(part: Part, back_end: str) -> dict[str, Any]:
    here = _here(part, back_end)
    ratio = part.nested.held.seconds[here] / part.samples.seconds[here]
    return {**_dots(part, back_end), "x": _numbers(ratio), "y": _numbers(part.nested.held.distance[here])}


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


def _numbers(values: np.ndarray[Any, Any]) -> list[float | None]:
    """As JSON has them; None where there is none."""
    return [None if np.isnan(value) else float(f"{value:.5g}") for value in values]


def _layout(x_title: str, y_title: str) -> dict[str, Any]:
    return {
        "height": 560,
        "margin": {"l": 70, "r": 20, "t": 20, "b": 50},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x_title}, "type": "log"},
        "yaxis": {"title": {"text": y_title}},
    }


def _figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    return {"data": traces, "layout": layout}


def _table(table: Table) -> Html:
    heading = Html(f"<h3>{markup(table.title)}</h3>")
    return joined([heading, table_markup(table.heads, table.rows), sentences(table.notes, "notes")])
