"""Evidence as one HTML page that needs no network: facts, charts, then tables, in the frame of the harness's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.shown.tables import Table
from harness.page.document import chart_markup, framed
from harness.page.markup import Html, joined, markup, sentences
from harness.page.markup import table as table_markup
from harness.page.timeline import Chart
from harness.report import put_page

Figure = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a report says: what it is of in words, charts and tables in their order."""

    title: str
    heading: str
    summary: str
    facts: tuple[str, ...]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]


def evidence_page(evidence: Evidence, charting_library: str) -> str:
    """The page, with `charting_library` inside."""
    facts = [Html(f"<p>{markup(line)}</p>") for line in evidence.facts]
    charts = [chart_markup(chart.name, chart) for chart in evidence.charts]
    content = joined([*facts, *charts, *(_table(entry) for entry in evidence.tables)])
    body = Html(
        f"<h1>{markup(evidence.heading)}</h1>\n"
        f'<details class="run" open>\n<summary>{markup(evidence.summary)}</summary>\n{content.markup}\n</details>'
    )
    return framed(evidence.title, body, charting_library)


def write_page(evidence: Evidence, target: Path) -> None:
    """Writes the page whole or not at all; the place must have been looked at before. Raises BadResults."""
    from plotly.offline import get_plotlyjs

    put_page(evidence_page(evidence, get_plotlyjs()), target)


def _table(table: Table) -> Html:
    heading = Html(f"<h3>{markup(table.title)}</h3>")
    return joined([heading, table_markup(table.heads, table.rows), sentences(table.notes, "notes")])


def numbers(values: Sequence[float] | NDArray[np.float64]) -> list[float | None]:
    """As JSON has them, to five digits; None where there is none."""
    return [None if np.isnan(value) else float(f"{value:.5g}") for value in values]


def diagonal(least: float, most: float) -> Figure:
    """The line on which predicted is what was measured."""
    ends = [least, most]
    return {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": {"color": "#999999", "width": 1},
            "hoverinfo": "skip", "showlegend": False}  # fmt: skip


def layout(x_title: str, y_title: str) -> Figure:
    """A chart over a logarithmic x."""
    return {
        "height": 560,
        "margin": {"l": 70, "r": 20, "t": 20, "b": 50},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x_title}, "type": "log"},
        "yaxis": {"title": {"text": y_title}},
    }
