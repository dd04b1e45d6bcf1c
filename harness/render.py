"""Tables for people: a run, a machine, the model files. Readable at 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harness.energy import not_measured
from harness.loads import Slo
from harness.record import Cell, Record, RunHeader
from harness.summary import Loaded, Row, Spread, drifts, loaded, rows, run_cost_usd

GIB = 2**30


def show_run(console: Console, record: Record, slo: Slo | None = None) -> None:
    """The run as tables (cells of one stream, loads, client libraries), its engines, and what to know about them."""
    _say(console, _headline(record.header))
    for entry in loaded(record):
        _say(console, engine_line(entry))
    listed = rows(record, slo)
    single, loads = [row for row in listed if row.load is None], [row for row in listed if row.load is not None]
    if single:
        console.print(_table(_COLUMNS, single, _cells))
    if loads:
        console.print(_table(_LOAD_COLUMNS, loads, _load_cells))
    libraries = len({row.cell.backend for row in listed}) > 1 or any(row.client.claims for row in listed)
    if libraries:
        console.print(clients_table(record, listed))
    for row in listed:
        for reason in row.verdict.reasons:
            _say(console, f"{row.verdict.word} {row.cell.backend}, {row.cell.label}: {reason}")
    for cell, drift in drifts(record, listed):
        change = f"{abs(drift):.0%} {'longer' if drift > 0 else 'shorter'}"
        _say(console, f"drift: {cell.label} took {change} in the second half of the run than in the first")
    _say_energy(console, record, listed)
    _say_counts(console, record, listed)
    if single:
        _say(
            console,
            "prompt, output, depth: tokens; n: requests counted; TTFT, TPOT: medians; pre/s: prompt tokens / TTFT; "
            "±: half width of the 95 % interval of TPOT's median (?: too few independent values); dec/s: tokens/s of "
            "one stream.",
        )
    if libraries:
        _say(
            console,
            "TTFT of a client: from the instant of sending; late: from the socket to the client library's event "
            "(median, p99); CPU: of this process a chunk; claims: requests whose tokens it counts as the server does.",
        )
    if loads:
        _say(
            console,
            "load: streams kept busy (x8) or requests due a second; del/s: requests ended a second; tok/s: output "
            "tokens over the steady window; TTFT, E2E: from the instant a request was due; '-': too few for it.",
        )


def _say_energy(console: Console, record: Record, listed: list[Row]) -> None:
    """Energy by cell and source with its method; what is refused and what is not measured, with the reason."""
    for row in listed:
        name = f"{row.cell.backend}, {row.cell.label}"
        for energy in row.energy.known:
            token = energy.joules_per_output_token
            figures = ([] if token is None else [f"{token:.3g} J/output token"]) + [
                f"{energy.joules_per_request:.4g} J/request"
            ]
            idle = "no idle baseline"
            if energy.idle_w is not None and energy.idle_joules_per_request is not None:
                idle = f"idling at {energy.idle_w:.1f} W takes {energy.idle_joules_per_request:.4g} J of it"
            method = "; ".join(part for part in (energy.method, f"n {energy.requests}", idle, energy.note) if part)
            _say(console, f"energy {name}: {', '.join(figures)} ({energy.source}: {method})")
        for reason in row.energy.refused:
            _say(console, f"no energy for {name}: {reason}")
    faults = [f for line in record.samples for f in (*(f for s in line.samples for f in s.faults), *line.faults)]
    for fault in dict.fromkeys(faults):
        _say(console, f"sensor: {fault}")
    if (lacking := not_measured(record)) is not None:
        _say(console, lacking)


def _say_counts(console: Console, record: Record, listed: list[Row]) -> None:
    if refused := sum(row.refused for row in listed):
        _say(console, f"the rate limit refused {refused} requests; they were waited for and are on record")
    if (cost := run_cost_usd(record)) is not None:
        unknown = f"; {cost[1]} more requests gave no counts, their cost is unknown" if cost[1] else ""
        _say(console, f"cost by the server's own counts: {cost[0]:.4f} USD{unknown}")
    if record.ends and record.ends[-1].detail:
        _say(console, f"{record.ends[-1].reason}: {record.ends[-1].detail}")


def _table(columns: Sequence[str], listed: list[Row], cells: Callable[[Row], list[str]]) -> Table:
    """One line a row; back ends and models have a column where there are several. Empty columns are left out."""
    names = _names(listed)
    filled = {name: cells(row) for name, row in enumerate(listed)}
    kept = [at for at, name in enumerate(columns) if name != "depth" or any(row.cell.depth_tokens for row in listed)]
    # Wide tables do without the space around columns, so that they fit 80 characters.
    wide = len(kept) + (len(set(names)) > 1) > 9
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0 if wide else 1, 0, 0))
    for name in ([""] if len(set(names)) > 1 else []) + [columns[at] for at in kept]:
        table.add_column(name, justify="left" if name in ("", "verdict") else "right", no_wrap=True)
    # Rows of one shape stand together, so that what answers it can be compared; in order of first visit.
    shapes = [row.cell.shape for row in listed]
    one_model = len({row.cell.name for row in listed}) == 1
    order = sorted(
        range(len(listed)), key=lambda at: (shapes.index(shapes[at]) if one_model else 0, names.index(names[at]))
    )
    for at in order:
        table.add_row(*([names[at]] if len(set(names)) > 1 else []), *(filled[at][column] for column in kept))
    return table


def _names(listed: list[Row]) -> list[str]:
    """What tells the rows apart: the back end, the model, or both."""
    several = len({row.cell.backend for row in listed}) > 1
    models = len({row.cell.name for row in listed}) > 1
    parts = [([row.cell.backend] if several else []) + ([row.cell.name] if models else []) for row in listed]
    return [" ".join(part) for part in parts]


def clients_table(record: Record, listed: list[Row]) -> Table:
    """What each client library costs: the same server through each of them."""
    clients = {(s.backend, s.model_name, s.quant): s.client for s in record.subjects}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for name in ("client", "cell", "TTFT ms", "TPOT ms", "late µs", "p99 µs", "CPU µs", "claims"):
        table.add_column(name, justify="left" if name in ("client", "cell", "claims") else "right", no_wrap=True)
    for row in sorted(listed, key=lambda row: (row.cell.shape, row.cell.model)):
        figures, cell = row.client, row.cell
        claims = "-" if not figures.claims else f"{figures.claims - figures.claimed_off}/{figures.claims}"
        table.add_row(
            _client_name(cell.backend, clients.get((cell.backend, cell.model, cell.quant), "")),
            _short(cell),
            f"{row.ttft_s.median * 1e3:.1f}" if row.ttft_s else "-",
            f"{row.tpot_s.median * 1e3:.2f}" if row.tpot_s else "-",
            _micro(figures.lateness_p50_s),
            _micro(figures.lateness_p99_s),
            _micro(figures.cpu_per_chunk_s),
            claims,
        )
    return table


def _client_name(backend: str, client: str) -> str:
    return client if client.startswith(backend) else f"{backend}: {client}"


def _short(cell: Cell) -> str:
    """Prompt/output tokens, and the load."""
    load = f" x{cell.concurrency}" if cell.concurrency > 1 else ""
    load = load if cell.rate_per_s is None else f" {cell.rate_per_s:g}/s"
    return f"{cell.prompt_tokens}/{cell.output_tokens}{load}"


def _micro(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:.0f}"


_LOAD_COLUMNS = (
    "prompt", "output", "load", "n", "failed", "del/s", "tok/s", "TTFT p50", "p99 s", "TPOT ms", "E2E p99", "good/s",
    "verdict",
)  # fmt: skip


def _load_cells(row: Row) -> list[str]:
    load, cell = row.load, row.cell
    assert load is not None
    return [
        str(cell.prompt_tokens),
        str(cell.output_tokens),
        f"x{cell.concurrency}" if cell.rate_per_s is None else f"{cell.rate_per_s:g}/s",
        str(row.requests),
        str(row.failed),
        _number(load.delivered_per_s),
        _number(load.output_tokens_per_s),
        _seconds(load.ttft_p50_s),
        _seconds(load.ttft_p99_s),
        f"{row.tpot_s.median * 1e3:.1f}" if row.tpot_s else "-",
        _seconds(load.e2e_p99_s),
        _number(load.goodput_per_s),
        row.verdict.word,
    ]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


_COLUMNS = ("prompt", "output", "depth", "n", "TTFT s", "pre/s", "TPOT ms", "±", "dec/s", "verdict")


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


def engine_line(entry: Loaded) -> str:
    """An engine in a line: what it is, its load, its memory by component or why that is not known."""
    subject = entry.subject
    version = "" if subject.engine_version == "unknown" else f" {subject.engine_version}"
    parts = [f"{f'{subject.model_name} {subject.quant}'.strip()} on {subject.engine}{version}"]
    if entry.cold_load_s is not None:
        parts.append(f"cold load {entry.cold_load_s:.1f} s")
    elif subject.backend in ("llamacpp", "simulated") and "base_url" not in subject.options:
        parts.append(f"loaded in {entry.load_s:.1f} s")
    if entry.peak_resident_bytes is None:
        why = "the server is on another machine" if subject.remote else "its process is not known"
        why = why if entry.pid is None else f"its process {entry.pid} gave no sample"
        parts.append(f"memory not sampled: {why}")
    else:
        parts.append(f"peak memory {entry.peak_resident_bytes / GIB:.2f} GiB resident")
    if entry.peak_file_bytes is not None and entry.peak_anonymous_bytes is not None:
        parts.append(f"{entry.peak_file_bytes / GIB:.2f} file-backed, {entry.peak_anonymous_bytes / GIB:.2f} anonymous")
    if entry.peak_unevictable_bytes is not None:
        parts.append(f"{entry.peak_unevictable_bytes / GIB:.2f} that cannot be evicted")
    if entry.peak_swap_bytes:
        parts.append(f"{entry.peak_swap_bytes / GIB:.2f} swapped")
    if entry.peak_gpu_bytes is not None:
        parts.append(f"{entry.peak_gpu_bytes / GIB:.2f} GiB on GPUs")
    if (said := subject.memory.get("said_bytes")) is not None:
        parts.append(f"the server says {said / GIB:.2f} GiB")
    if entry.sampler_share is not None:
        parts.append(f"sampler {entry.sampler_share:.2%} of a core")
    return "; ".join(parts)


def show_errors(console: Console, record: Record) -> None:
    """Every failed request with its error."""
    for request in record.requests:
        if request.error is not None:
            _say(console, f"{request.cell.backend}, {request.cell.label}: {request.error}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=False, emoji=False)


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
