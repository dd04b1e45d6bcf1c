"""The requests of a run as bars over time: pale until the first token, then full; hatched where uncounted."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.metrics import tpot_s, ttft_s
from harness.page.instants import Axis
from harness.page.markup import UNKNOWN, chart_label
from harness.page.names import FAILURE, Figure, Lane, Names, lane_name, lane_of
from harness.page.thinning import BARS, step
from harness.record import Cell, Record, Request


@dataclass
class Bars:
    """Traces of the requests, the height they need in rows, the rows' names, and what was left out."""

    traces: list[Figure] = field(default_factory=list)
    rows: int = 0
    marks: list[tuple[float, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Placed:
    request: Request
    row: int
    sent_s: float
    ended_s: float
    first_s: float | None


def bars_of(record: Record, axis: Axis, names: Names) -> Bars:
    """A row for each stream of each lane; requests that overlap in time stand in rows of their own."""
    found = Bars()
    placed: list[_Placed] = []
    loading: list[Figure] = []
    for lane in names.lanes:
        requests = [request for request in record.requests if lane_of(request.cell) == lane]
        if not requests:
            continue
        here, used = _placed(requests, axis, found.rows)
        placed += here
        if (loads := _loads(record, lane, axis, found.rows)) is not None:
            loading.append(loads)
        found.marks.append((found.rows + (used - 1) / 2, names.lane(lane)))
        found.rows += used
    shown = _thinned(placed, found)
    cells: dict[Cell, list[_Placed]] = {}
    for entry in shown:
        cells.setdefault(entry.request.cell, []).append(entry)
    found.traces = [_trace(entries, names.colour(cell), names) for cell, entries in cells.items()]
    found.traces += loading
    if failed := [entry for entry in shown if entry.request.error is not None]:
        found.traces.append(_failures(failed, names))
    return found


def _placed(requests: Sequence[Request], axis: Axis, first_row: int) -> tuple[list[_Placed], int]:
    """Requests with their rows, and how many rows they take: each goes to the lowest row that is free."""
    placed: list[_Placed] = []
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    used = 0
    spans = [(axis.seconds(r.subject_id, r.sent_ns), axis.seconds(r.subject_id, r.ended_ns), r) for r in requests]
    known = [(sent, ended, r) for sent, ended, r in spans if sent is not None and ended is not None]
    for sent_s, ended_s, request in sorted(known, key=lambda span: (span[0], span[1])):
        while busy and busy[0][0] <= sent_s:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            free, used = [used], used + 1
        row = heapq.heappop(free)
        heapq.heappush(busy, (ended_s, row))
        first_s = axis.seconds(request.subject_id, request.chunks[0].wire_ns) if request.chunks else None
        placed.append(_Placed(request, first_row + row, sent_s, ended_s, first_s))
    return placed, max(used, 1)


def _thinned(placed: list[_Placed], found: Bars) -> list[_Placed]:
    """Every so-many-th request in order of sending; of failed and uncounted ones as many by the same rule."""
    every = step(len(placed), BARS)
    if every == 1:
        return placed
    ordinary = sorted(placed, key=lambda entry: entry.sent_s)
    kept = ordinary[::every]
    rare = [e for e in ordinary if e.request.error is not None or e.request.phase != "counted"]
    again = step(len(rare), BARS // 3)
    chosen = {id(entry) for entry in kept}
    kept += [entry for entry in rare[::again] if id(entry) not in chosen]
    scope = "all" if again == 1 else f"every {again}th"
    found.left_out.append(
        f"the timeline draws {len(kept):,} of {len(placed):,} requests: every {every}th in order of sending, and "
        f"{scope} of those that failed or do not count; rows are those of all requests"
    )
    return kept


def _trace(entries: list[_Placed], colour: str, names: Names) -> Figure:
    bars = [bar for entry in entries for bar in _bars(entry)]
    hover = [_words(entry, names) for entry in entries for _ in _bars(entry)]
    return {
        "type": "bar",
        "orientation": "h",
        "base": [begin for begin, _, _, _ in bars],
        "x": [round(end - begin, 4) for begin, end, _, _ in bars],
        "y": [row for _, _, row, _ in bars],
        "width": 0.86,
        "hovertext": hover,
        "hoverinfo": "text",
        "marker": {
            "color": colour,
            "opacity": [0.45 if waiting else 1 for _, _, _, waiting in bars],
            "line": {"width": 0.5, "color": colour},
            "pattern": {
                "shape": ["" if e.request.phase == "counted" else "/" for e in entries for _ in _bars(e)],
                "size": 6,
                "solidity": 0.4,
            },
        },
        "showlegend": False,
    }


def _bars(entry: _Placed) -> list[tuple[float, float, int, bool]]:
    """Begin, end, row, and whether no token had come."""
    if entry.first_s is None:
        return [(entry.sent_s, entry.ended_s, entry.row, True)]
    return [(entry.sent_s, entry.first_s, entry.row, True), (entry.first_s, entry.ended_s, entry.row, False)]


def _loads(record: Record, lane: Lane, axis: Axis, row: int) -> Figure | None:
    """The times in which engines of a lane loaded their models, in the lane's first row."""
    spans = [(axis.seconds(s.subject_id, s.started_ns), axis.seconds(s.subject_id, s.ready_ns))
             for s in record.subjects if lane_of(s) == lane]  # fmt: skip
    known = [(begin, end) for begin, end in spans if begin is not None and end is not None]
    if not known:
        return None
    return {
        "type": "bar",
        "orientation": "h",
        "base": [begin for begin, _ in known],
        "x": [round(end - begin, 4) for begin, end in known],
        "y": [row] * len(known),
        "width": 0.4,
        "marker": {"color": "#bbbbbb"},
        "hovertext": [f"loading took {end - begin:.1f} s" for begin, end in known],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _failures(entries: list[_Placed], names: Names) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [entry.ended_s for entry in entries],
        "y": [entry.row for entry in entries],
        "marker": {"symbol": "x", "size": 6, "color": FAILURE},
        "hovertext": [_words(entry, names) for entry in entries],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _words(entry: _Placed, names: Names) -> str:
    """What a reader learns who points at a request."""
    request = entry.request
    first, gap = ttft_s(request), tpot_s(request)
    lines = [
        chart_label(lane_name(lane_of(request.cell))),
        chart_label(request.cell.shape),
        f"{'counted' if request.phase == 'counted' else request.phase + ', not counted'}, sent at {entry.sent_s:.2f} s",
        f"TTFT {UNKNOWN if first is None else f'{first:.3f} s'}",
        f"TPOT {UNKNOWN if gap is None else f'{gap * 1e3:.1f} ms'}",
        *([] if request.error is None else [f"failed: {chart_label(request.error)}"]),
    ]
    return "<br>".join(lines)


def row_axis(bars: Bars) -> dict[str, Any]:
    """The axis of the rows: the first on top, lanes named at their middle."""
    return {
        "range": [bars.rows - 0.4, -0.6],
        "tickvals": [at for at, _ in bars.marks],
        "ticktext": [name for _, name in bars.marks],
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
    }
