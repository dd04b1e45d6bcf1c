"""Decode against context: what a token takes where so many stand in the cache before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.page.markup import chart_label
from harness.page.names import Figure, Lane, Names, lane_of
from harness.page.timeline import Chart
from harness.record import Cell
from harness.summary import Row

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "star")


def context_tokens(cell: Cell) -> float:
    """Tokens before the one that is decoded, at the middle of the answer: depth + prompt + output / 2."""
    return cell.depth_tokens + cell.prompt_tokens + cell.output_tokens / 2


def depths(rows: Sequence[Row], names: Names) -> Chart | None:
    """TPOT of every cell over its context; None where no cell has one."""
    groups: dict[tuple[Lane, str], list[Row]] = {}
    for row in rows:
        if row.tpot_s is not None:
            groups.setdefault((lane_of(row.cell), _load(row.cell)), []).append(row)
    if not groups:
        return None
    traces = [_series(group, place, key, names) for place, (key, group) in enumerate(groups.items())]
    layout: dict[str, Any] = {
        "height": 380,
        "margin": {"l": 60, "r": 20, "t": 36, "b": 50},
        "hovermode": "closest",
        "showlegend": len(groups) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        "xaxis": {"title": {"text": "tokens of context at the middle of the answer"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "TPOT, ms"}, "rangemode": "tozero", "automargin": True},
    }
    without = [row.cell.shape for row in rows if row.tpot_s is None]
    return Chart(
        "depths",
        "Decode against context",
        "Median TPOT of each cell, in its colour, over depth + prompt + half of the output; whiskers are the 95 % "
        "interval of the median (from 6 requests on). Hollow: not VALID. Dotted lines only lead the eye.",
        {"data": traces, "layout": layout},
        (f"TPOT is unknown for {len(without)} cells: {'; '.join(without[:5])}",) if without else (),
    )


def _load(cell: Cell) -> str:
    if cell.rate_per_s is not None:
        return f"{cell.arrival} {cell.rate_per_s:g}/s"
    return f"{cell.concurrency} streams" if cell.concurrency > 1 else "one stream"


def _series(group: list[Row], place: int, key: tuple[Lane, str], names: Names) -> Figure:
    points = sorted(((context_tokens(row.cell), row, row.tpot_s) for row in group), key=lambda point: point[0])
    known = [(at, row, spread) for at, row, spread in points if spread is not None]
    symbol = _SYMBOLS[place % len(_SYMBOLS)]
    ends = [
        (0.0, 0.0) if s.interval is None else (s.median - s.interval[0], s.interval[1] - s.median) for _, _, s in known
    ]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{names.lane(key[0])}, {chart_label(key[1])}",
        "x": [at for at, _, _ in known],
        "y": [round(spread.median * 1e3, 4) for _, _, spread in known],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [round(high * 1e3, 4) for _, high in ends],
            "arrayminus": [round(low * 1e3, 4) for low, _ in ends],
            "color": "#999999",
            "thickness": 1.2,
        },
        "line": {"dash": "dot", "width": 1, "color": "#bbbbbb"},
        "marker": {
            "size": 11,
            "symbol": [symbol if row.verdict.word == "VALID" else f"{symbol}-open" for _, row, _ in known],
            "color": [names.colour(row.cell) for _, row, _ in known],
            "line": {"width": 2, "color": [names.colour(row.cell) for _, row, _ in known]},
        },
        "hovertext": [
            f"{names.lane(key[0])}<br>{chart_label(row.cell.shape)}<br>TPOT {spread.median * 1e3:.4g} ms, "
            f"n {spread.count}, {row.verdict.word}"
            for _, row, spread in known
        ],
        "hoverinfo": "text",
    }
