"""Tables for people: a run, a machine, the model files. Readable at 80 columns."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harness.record import Record, RunHeader
from harness.summary import Loaded, Row, Spread, drifts, loaded, rows

GIB = 2**30
DRIFT_LIMIT = 0.05


def show_run(console: Console, record: Record) -> None:
    """The run as a table of cells, a table of engines, and what to know about them."""
    _say(console, _headline(record.header))
    for entry in loaded(record):
        _say(console, _engine_line(entry))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "verdict" else "right", no_wrap=True)
    listed = rows(record)
    several = len({(row.cell.model, row.cell.quant) for row in listed}) > 1
    previous = None
    for row in listed:
        if several and (row.cell.model, row.cell.quant) != previous:
            previous = (row.cell.model, row.cell.quant)
            table.add_section()
            table.add_row(*[""] * 9, f"{row.cell.model} {row.cell.quant}")
        table.add_row(*_cells(row))
    console.print(table)
    for row in listed:
        for reason in row.verdict.reasons:
            _say(console, f"{row.verdict.word} {row.cell.label}: {reason}")
    for cell, drift in drifts(record):
        if abs(drift) > DRIFT_LIMIT:
            change = f"{abs(drift):.0%} {'longer' if drift > 0 else 'shorter'}"
            _say(console, f"drift: {cell.label} took {change} in the second half of the run than in the first")
    _say(
        console,
        "prompt, output, depth: tokens; n: requests counted; TTFT, TPOT: medians; prefill/s: prompt tokens / TTFT; "
        "±: half width of the 95 % interval of TPOT's median (? under 6 requests); decode/s: tokens/s of one stream.",
    )


_COLUMNS = ("prompt", "output", "depth", "n", "TTFT s", "prefill/s", "TPOT ms", "±", "decode/s", "verdict")


def _cells(row: Row) -> list[str]:
    streams = f"x{row.cell.concurrency}" if row.cell.concurrency > 1 else ""
    return [
        f"{row.cell.prompt_tokens}{streams}",
        str(row.cell.output_tokens),
        str(row.cell.depth_tokens),
        str(row.requests),
        f"{row.ttft_s.median:.3f}" if row.ttft_s else "-",
        _number(row.prefill_tokens_per_s),
        f"{row.tpot_s.median * 1e3:.1f}" if row.tpot_s else "-",
        _half_width(row.tpot_s),
        _number(row.decode_tokens_per_s),
        row.verdict.word,
    ]


def _half_width(value: Spread | None) -> str:
    if value is None or value.interval is None:
        return "?"
    return f"{max(value.interval[1] - value.median, value.median - value.interval[0]) / value.median:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _headline(header: RunHeader) -> str:
    host = header.host
    memory = f"{host.memory_total_bytes / GIB:.1f} GiB"
    return f"{header.run_id} - {host.cpu}, {host.physical_cores} cores, {memory}, {host.system}"


def _engine_line(entry: Loaded) -> str:
    subject = entry.subject
    parts = [
        f"{subject.model_name} {subject.quant} on {subject.engine} {subject.engine_version}",
        f"loaded in {entry.load_s:.1f} s",
    ]
    if entry.peak_resident_bytes is None:
        parts.append("memory not sampled (not a process of ours)")
    else:
        parts.append(f"peak memory {entry.peak_resident_bytes / GIB:.2f} GiB resident")
    if entry.peak_file_bytes is not None and entry.peak_anonymous_bytes is not None:
        parts.append(f"{entry.peak_file_bytes / GIB:.2f} file-backed, {entry.peak_anonymous_bytes / GIB:.2f} anonymous")
    if entry.sampler_share is not None:
        parts.append(f"sampler {entry.sampler_share:.2%} of a core")
    return "; ".join(parts)


def show_errors(console: Console, record: Record) -> None:
    """Every failed request with its error."""
    for request in record.requests:
        if request.error is not None:
            _say(console, f"{request.cell.label}: {request.error}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=False)


def show_models(console: Console, entries: list[dict[str, Any]]) -> None:
    """The catalogue with sizes, and the files that are built."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("model", "parameters", "Q4_K_M GB", "F16 GB", "built"):
        table.add_column(name, justify="left" if name in ("model", "built") else "right")
    for entry in entries:
        built = ", ".join(name.split("-")[-2] for name in entry["built"])
        table.add_row(
            entry["name"],
            f"{entry['parameters'] / 1e9:.2f} B",
            f"{entry['q4_k_m_bytes'] / 1e9:.2f}",
            f"{entry['f16_bytes'] / 1e9:.2f}",
            built,
        )
    console.print(table)
