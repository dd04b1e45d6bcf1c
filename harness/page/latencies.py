"""Latency distributions: every cell's TTFT, TPOT and pooled gaps as dots, with the percentiles that they can bear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.metrics import itl_s, known, median_interval, percentile, tpot_s, ttft_from_schedule_s, ttft_s
from harness.page.names import INK, Figure, Names
from harness.page.thinning import DOTS, even_ranks
from harness.page.timeline import Chart
from harness.record import Cell, Record, Request

_GOLDEN = 0.6180339887
_SPREAD = 0.5
_LOG_FROM = 8.0
_PERCENTILES = ((0.9, "p90", "diamond-tall"), (0.99, "p99", "triangle-up"))


@dataclass(frozen=True, slots=True)
class Metric:
    """A latency with its values of a cell's requests, in the unit of its axis, and whether they are independent."""

    name: str
    title: str
    values: Callable[[Sequence[Request]], list[float]]
    independent: bool = True


def _first_s(requests: Sequence[Request]) -> list[float]:
    """TTFT; under load from the instant a request was due."""
    return known(ttft_from_schedule_s(r) if r.cell.is_load else ttft_s(r) for r in requests)


METRICS = (
    Metric("TTFT", "TTFT, s", _first_s),
    Metric("TPOT", "TPOT, ms", lambda requests: [1e3 * value for value in known(tpot_s(r) for r in requests)]),
    Metric("ITL", "ITL, ms", lambda requests: [1e3 * value for value in itl_s(requests)], False),
)


def latencies(record: Record, names: Names) -> Chart | None:
    """The distributions; None where no counted request came through."""
    cells: dict[Cell, list[Request]] = {}
    for request in record.requests:
        if request.phase == "counted" and request.error is None:
            cells.setdefault(request.cell, []).append(request)
    if not cells:
        return None
    traces: list[Figure] = []
    notes: list[str] = []
    axes: dict[str, Any] = {}
    most: dict[str, int] = {}
    for place, metric in enumerate(METRICS, 1):
        key = "" if place == 1 else str(place)
        values = {cell: metric.values(requests) for cell, requests in cells.items()}
        logarithmic = _is_wide(values.values())
        axes[f"xaxis{key}"] = {
            "title": {"text": metric.title},
            "domain": [(place - 1) * 0.345, (place - 1) * 0.345 + 0.31],
            "type": "log" if logarithmic else "linear",
            **({"dtick": "D2"} if logarithmic else {"rangemode": "tozero"}),
        }
        for row, (cell, found) in enumerate(values.items()):
            traces += [trace | {"xaxis": f"x{key}"} for trace in _cell(metric, found, row, names.colour(cell))]
        notes += _notes(metric, values, logarithmic)
        most[metric.name] = max(len(found) for found in values.values())
    return Chart(
        "latencies",
        "Latency distributions",
        "A dot is a request that counts (ITL: a gap between two arrivals, pooled over the requests of a cell). The bar "
        "is the median, its whiskers the 95 % interval of the median (from 6 requests on; none for gaps, which "
        "depend on each other), the diamond p90 (from 10 values on), the triangle p99 (from 100). "
        "Under load TTFT counts from the instant a request was due.",
        {"data": traces, "layout": _layout(list(cells), names, axes)},
        (*_thinned(most), *notes),
    )


def _layout(cells: list[Cell], names: Names, axes: dict[str, Any]) -> dict[str, Any]:
    return {
        "height": 112 + 48 * len(cells),
        "margin": {"l": 60, "r": 20, "t": 32, "b": 50},
        "hovermode": "closest",
        "showlegend": False,
        "yaxis": {
            "range": [len(cells) - 0.5, -0.5],
            "tickvals": list(range(len(cells))),
            "ticktext": [names.cell(cell) for cell in cells],
            "automargin": True,
            "zeroline": False,
        },
        **axes,
    }


def _is_wide(groups: Any) -> bool:
    positive = [value for group in groups for value in group if value > 0]
    return bool(positive) and max(positive) > _LOG_FROM * min(positive)


def _cell(metric: Metric, values: list[float], row: int, colour: str) -> list[Figure]:
    """Dots, median with its interval, and percentiles of one cell."""
    if not values:
        return []
    unit = metric.title.rsplit(" ", 1)[-1]
    dots = even_ranks(values, DOTS)
    offsets = [(at * _GOLDEN % 1 - 0.5) * _SPREAD if len(dots) > 1 else 0.0 for at in range(len(dots))]
    middle, interval = median(values), median_interval(values) if metric.independent else None
    words = f"median {middle:.4g} {unit}, n {len(values):,}"
    words += "" if interval is None else f"<br>95 % interval {interval[0]:.4g} .. {interval[1]:.4g} {unit}"
    marks = [(value, name, symbol) for share, name, symbol in _PERCENTILES
             if (value := percentile(values, share)) is not None]  # fmt: skip
    found = [
        _dots(dots, [row + offset for offset in offsets], colour, unit),
        {
            **_mark([middle], [row], ["line-ns"], [words], 22),
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [0 if interval is None else interval[1] - middle],
                "arrayminus": [0 if interval is None else middle - interval[0]],
                "visible": interval is not None,
                "color": INK,
                "thickness": 1.5,
            },
        },
    ]
    if marks:
        hover = [f"{name} {value:.4g} {unit}, n {len(values):,}" for value, name, _ in marks]
        found.append(_mark([v for v, _, _ in marks], [row] * len(marks), [s for _, _, s in marks], hover, 9))
    return found


def _dots(values: list[float], heights: list[float], colour: str, unit: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [float(f"{value:.6g}") for value in values],
        "y": [round(height, 3) for height in heights],
        "marker": {"size": 5, "color": colour, "opacity": 0.6},
        "hovertemplate": "%{x:.4g} " + unit + "<extra></extra>",
    }


def _mark(values: list[float], rows: Sequence[float], symbols: list[str], hover: list[str], size: int) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": list(rows),
        "marker": {"size": size, "symbol": symbols, "color": INK, "line": {"width": 2, "color": INK}},
        "hovertext": hover,
        "hoverinfo": "text",
    }


def _notes(metric: Metric, values: dict[Cell, list[float]], logarithmic: bool) -> list[str]:
    notes = []
    zeros = sum(1 for found in values.values() for value in found if value <= 0)
    if logarithmic and zeros:
        whole = sum(len(found) for found in values.values())
        notes.append(
            f"{metric.name}: {zeros:,} of {whole:,} values are 0 (arrived in one piece) and not on its logarithmic axis"
        )
    if without := [cell.shape for cell, found in values.items() if not found]:
        notes.append(f"{metric.name} is unknown for {len(without)} cells: {'; '.join(without[:5])}")
    return notes


def _thinned(most: dict[str, int]) -> list[str]:
    many = [f"{name} ({count:,})" for name, count in most.items() if count > DOTS]
    return (
        [
            f"where a cell has more than {DOTS} values, that many dots are drawn, at even distances in rank, lowest "
            f"and highest included; the most values a cell: {', '.join(many)}; medians and percentiles are of all"
        ]
        if many
        else []
    )
