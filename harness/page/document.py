"""The whole page: a list of the runs, a section each, the charting library once, nothing from any network."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

from harness.page.depths import depths
from harness.page.latencies import latencies
from harness.page.markup import Content, Html, joined, markup, sentences, table
from harness.page.names import lane_name, names_of
from harness.page.tables import energy, run_facts, troubles, verdicts
from harness.page.timeline import Chart, timeline
from harness.record import Record
from harness.summary import Row, rows

# The page may run its own scripts and styles and show images that it made itself, and fetch nothing.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
)


def page(records: Sequence[Record], unreadable: Sequence[str], charting_library: str) -> str:
    """The page of one or several runs, in their order; `unreadable` says in words what could not be read."""
    listed = [(record, rows(record)) for record in records]
    sections = [_section(number, record, cells, len(records) == 1) for number, (record, cells) in enumerate(listed)]
    title = records[0].header.run_id if len(records) == 1 else f"{len(records)} runs"
    body = joined(
        [
            Html(f"<h1>{markup(title)}</h1>"),
            sentences([f"not read: {line}" for line in unreadable], "notes"),
            _index(listed) if len(records) > 1 else "",
            *sections,
        ]
    )
    return framed(title, body, charting_library)


def framed(title: str, body: Html, charting_library: str) -> str:
    """A whole document around `body`, whose charts stand in sections of the class "run"."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{markup(title)} - yardstick</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n"
        f"{body.markup}\n<noscript>The charts need JavaScript; all tables are complete without it.</noscript>\n"
        f"<script>{charting_library}</script>\n<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return resources.files("harness.page").joinpath(name).read_text("utf-8")


def _index(listed: Sequence[tuple[Record, list[Row]]]) -> Html:
    """The runs with what tells them apart; each name leads to its section."""
    body: list[list[Content]] = []
    for number, (record, cells) in enumerate(listed):
        words = [row.verdict.word for row in cells]
        counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        body.append(
            [
                Html(f'<a href="#run-{number}">{markup(record.header.run_id)}</a>'),
                record.header.started_at,
                record.header.host.cpu,
                ", ".join(lane_name(lane) for lane in names_of(record).lanes),
                counts or "none counted",
            ]
        )
    return table(["run", "started", "machine", "back ends and models", "cells"], body)


def _section(number: int, record: Record, cells: Sequence[Row], is_open: bool) -> Html:
    names = names_of(record)
    maybe = [timeline(record, names), latencies(record, names), depths(cells, names)]
    charts = [chart for chart in maybe if chart is not None]
    content = joined(
        [
            Html("<h3>Facts</h3>"),
            run_facts(record),
            Html("<h3>Verdicts</h3>"),
            verdicts(record, cells, names),
            *(chart_markup(f"run-{number}-{chart.name}", chart) for chart in charts),
            "" if charts else "Nothing was asked in this run: there is nothing to draw.",
            energy(cells),
            troubles(record),
        ]
    )
    name = ", ".join(lane_name(lane) for lane in names.lanes) or "nothing was measured"
    head = f"<h2>{markup(record.header.run_id)}</h2> "
    return Html(
        f'<details class="run" id="run-{number}"{" open" if is_open else ""}>\n'
        f"<summary>{'' if is_open else head}{markup(name)}</summary>\n{content.markup}\n</details>"
    )


def chart_markup(identity: str, chart: Chart) -> Html:
    """The place of a chart with its data; `identity` is its own in the document."""
    notes = sentences(chart.notes, "notes").markup
    return Html(
        f'<h3>{markup(chart.title)}</h3>\n<p class="caption">{markup(chart.caption)}</p>\n{notes}\n'
        f'<div class="chart" data-figure="{identity}"></div>\n'
        f'<script type="application/json" id="{identity}">{script_json(chart.figure)}</script>'
    )


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in; numbers that JSON has not become null."""
    text = json.dumps(_plain(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
