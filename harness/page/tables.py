"""What the page says in words: the run's facts, its cells with verdicts and reasons, energy, what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.energy import Energy
from harness.metrics import known, median_interval
from harness.page.markup import UNKNOWN, Content, Html, facts, joined, sentences, swatch, table
from harness.page.names import Names, lane_name, lane_of
from harness.record import Probes, Record, Request
from harness.render import GIB, engine_line
from harness.summary import Row, Spread, drifts, loaded, run_cost_usd

_ERRORS = 20
_REASON_KINDS = {"VALID": "valid", "FAILED": "failed"}


def run_facts(record: Record) -> Html:
    """Machine, engines, model, when: as the record says them."""
    header, host = record.header, record.header.host
    end = record.ends[-1] if record.ends else None
    ended = f"{UNKNOWN}: no end is on record (killed, or still running)"
    if end is not None:
        ended = f"{end.reason}: {end.detail}" if end.detail else end.reason
    engines: list[Content] = [engine_line(entry) for entry in loaded(record)]
    told = [f"{lane_name(lane_of(s))}: client {s.client or UNKNOWN}; {s.system_info or 'build features ' + UNKNOWN}"
            for s in record.subjects]  # fmt: skip
    cost = run_cost_usd(record)
    pairs: list[tuple[str, Content]] = [
        ("run", header.run_id),
        ("started", header.started_at),
        ("ended", ended),
        ("machine", f"{host.cpu}, {host.physical_cores} cores ({host.logical_cores} logical), "
                    f"{host.memory_total_bytes / GIB:.1f} GiB, {host.system}"),
        ("probes", _probes(header.probes)),
        ("engines", sentences(map(str, engines)) if engines else UNKNOWN),
        ("clients and builds", sentences(dict.fromkeys(told)) if told else UNKNOWN),
        ("measured with", f"harness {header.harness_version}, Python {host.python}"),
        ("journal", record.path or UNKNOWN),
    ]  # fmt: skip
    if cost is not None:
        more = f"; the cost of {cost[1]} more requests is unknown" if cost[1] else ""
        pairs.append(("cost", f"{cost[0]:.4f} USD by the server's own counts{more}"))
    if record.torn_lines:
        pairs.append(("journal's end", "the last line is torn and was skipped"))
    return facts(pairs)


def _probes(probes: Probes) -> str:
    def said(value: float | None, scale: float, unit: str, digits: int = 1) -> str:
        return UNKNOWN if value is None else f"{value / scale:.{digits}f}{unit}"

    return (
        f"reads {said(probes.read_bytes_per_s, 1e9, ' GB/s')}, "
        f"multiplies {said(probes.matmul_flop_per_s, 1e9, ' GFLOP/s', 0)}, "
        f"load average {said(probes.load_average, 1, '', 2)}, steal {said(probes.steal_share, 0.01, ' %')}"
        + (f"; {probes.note}" if probes.note else "")
    )


def verdicts(record: Record, rows: Sequence[Row], names: Names) -> Html:
    """Every cell with its figures, its verdict and the reasons for it."""
    heads = ["", "cell", "n", "failed", "TTFT s", "TPOT ms", "tokens/s", "ITL p50 ms", "ITL p99 ms", "verdict", "why"]
    counted = {row.cell: _counted(record, row) for row in rows}
    body = [_row(row, counted[row.cell], names) for row in rows]
    visited = {row.cell for row in rows}
    lost = [cell.label for cell in names.cells if cell not in visited]
    return joined(
        [
            table(heads, body, "cells") if body else "No cell was counted.",
            sentences([f"never counted: {label}" for label in lost]),
            sentences(_drift_words(record, rows), "notes"),
        ]
    )


def _counted(record: Record, row: Row) -> list[Request]:
    return [r for r in record.requests if r.cell == row.cell and r.phase == "counted" and r.error is None]


def _row(row: Row, counted: list[Request], names: Names) -> list[Content]:
    gaps = sum(max(0, len(request.chunks) - 1) for request in counted)
    load, first = row.load, _spread(row.ttft_s, 1, 3)
    if load is not None:
        due = known((r.chunks[0].wire_ns - r.scheduled_ns) * 1e-9 if r.chunks else None for r in counted)
        first = UNKNOWN if load.ttft_p50_s is None else _spread(
            Spread(load.ttft_p50_s, median_interval(due), len(due)), 1, 3
        )  # fmt: skip
    failed = f"{row.failed}" + (f" (+{row.refused} refused)" if row.refused and row.cell.rate_per_s is None else "")
    rate = row.decode_tokens_per_s
    streams = "" if load is None or load.output_tokens_per_s is None else f" (all: {load.output_tokens_per_s:.4g})"
    kind = _REASON_KINDS.get(row.verdict.word, "doubtful")
    return [
        swatch(names.colour(row.cell)),
        f"{lane_name(lane_of(row.cell))}, {row.cell.shape}",
        f"{row.requests:,}",
        failed,
        first,
        _spread(row.tpot_s, 1e3, 1),
        UNKNOWN if rate is None else f"{rate:.4g}{streams}",
        UNKNOWN if row.itl_p50_s is None else f"{row.itl_p50_s * 1e3:.1f}",
        f"too few gaps ({gaps})" if row.itl_p99_s is None else f"{row.itl_p99_s * 1e3:.1f}",
        Html(f'<span class="verdict {kind}">{row.verdict.word}</span>'),
        sentences(row.verdict.reasons),
    ]


def _spread(value: Spread | None, scale: float, digits: int) -> str:
    """A median with its 95 % interval, or why there is none."""
    if value is None:
        return UNKNOWN
    middle = f"{value.median * scale:.{digits}f}"
    if value.interval is None:
        return f"{middle} (interval {UNKNOWN}: too few independent values)"
    low, high = value.interval
    return f"{middle} ({low * scale:.{digits}f} .. {high * scale:.{digits}f})"


def _drift_words(record: Record, rows: Iterable[Row]) -> list[str]:
    return [
        f"drift: {cell.label} took {abs(drift):.0%} {'longer' if drift > 0 else 'shorter'} in the run's second half"
        for cell, drift in drifts(record, rows)
    ]


def energy(rows: Sequence[Row]) -> Html:
    """Joules by cell and source with their method; nothing where nothing measures power (the timeline says why)."""
    heads = ["cell", "source", "method", "J/request", "J/output token", "n", "idle W"]
    body: list[list[Content]] = [
        [f"{lane_name(lane_of(row.cell))}, {row.cell.shape}", *_energy(entry)]
        for row in rows
        for entry in row.energy.known
    ]
    refused = [f"no energy for {row.cell.label}: {reason}" for row in rows for reason in row.energy.refused]
    if not body and not refused:
        return Html("")
    return joined([Html("<h3>Energy</h3>"), table(heads, body) if body else "", sentences(refused, "notes")])


def _energy(entry: Energy) -> list[Content]:
    token = entry.joules_per_output_token
    return [
        entry.source,
        "; ".join(part for part in (entry.method, entry.note) if part),
        f"{entry.joules_per_request:.4g}",
        UNKNOWN if token is None else f"{token:.3g}",
        str(entry.requests),
        UNKNOWN if entry.idle_w is None else f"{entry.idle_w:.1f}",
    ]


def troubles(record: Record) -> Html:
    """What failed: errors of requests with how often each came, and faults of sensors."""
    errors: dict[str, int] = {}
    for request in record.requests:
        if request.error is not None:
            errors[request.error] = errors.get(request.error, 0) + 1
    often = sorted(errors.items(), key=lambda entry: -entry[1])
    lines = [f"{count:,} request{'s' if count > 1 else ''}: {error}" for error, count in often[:_ERRORS]]
    if len(often) > _ERRORS:
        lines.append(f"{len(often) - _ERRORS:,} more kinds of errors: see `harness show --errors`")
    faults = dict.fromkeys(fault for line in record.samples for sample in line.samples for fault in sample.faults)
    faults |= dict.fromkeys(fault for line in record.samples for fault in line.faults)
    lines += [f"sensor: {fault}" for fault in faults]
    return joined([Html("<h3>Errors</h3>"), sentences(lines, "notes")]) if lines else Html("")
