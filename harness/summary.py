"""A record as numbers to read: one row a cell, one a model. Shared by the table and `--json`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from harness.disturbances import Noise
from harness.energy import CellEnergy, Meter, not_measured
from harness.loads import ClientFigures, LoadFigures, Slo, client_figures, load_figures
from harness.metrics import (
    closure_s,
    computes_on_cpu,
    cpu_share,
    e2e_s,
    gpu_peak_bytes,
    itl_s,
    known,
    median_interval,
    peak,
    percentile,
    tpot_s,
    ttft_s,
)
from harness.noise import Disturbance
from harness.record import Cell, Record, Request, Sample, Subject
from harness.stability import half_shift
from harness.verdict import Verdict, cell_verdict


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its 95 % interval (None under 6 independent values) and the number of values behind it."""

    median: float
    interval: tuple[float, float] | None
    count: int


@dataclass(frozen=True, slots=True)
class Row:
    """One cell: TTFT and TPOT in seconds, rates in tokens per second, the engine's own prefill time."""

    cell: Cell
    requests: int
    ttft_s: Spread | None
    tpot_s: Spread | None
    server_prefill_s: Spread | None
    closure_s: Spread | None
    e2e_s: Spread | None
    ttft_p90_s: float | None
    itl_p50_s: float | None
    itl_p99_s: float | None
    verdict: Verdict
    failed: int
    refused: int
    load: LoadFigures | None
    client: ClientFigures
    cost_usd: float | None
    energy: CellEnergy
    disturbances: tuple[Disturbance, ...] = ()
    disturbed_requests: int = 0

    @property
    def prefill_tokens_per_s(self) -> float | None:
        """Prompt tokens over TTFT (fixed costs included)."""
        return self.cell.prompt_tokens / self.ttft_s.median if self.ttft_s else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        """1 / TPOT, of one stream."""
        return 1 / self.tpot_s.median if self.tpot_s else None


@dataclass(frozen=True, slots=True)
class Loaded:
    """One model in one engine: its load time in seconds and its peak memory in bytes (None: not sampled).

    `load_s` is from the start of an engine of ours until it answered; `cold_load_s` what a server says
    that its first request spent on loading; `peak_gpu_bytes` what its processes held on all GPUs. `pid` is the process
    that was to be sampled.
    """

    subject: Subject
    load_s: float
    peak_resident_bytes: int | None
    peak_file_bytes: int | None
    peak_anonymous_bytes: int | None
    sampler_share: float | None
    cold_load_s: float | None = None
    peak_gpu_bytes: int | None = None
    peak_unevictable_bytes: int | None = None
    peak_swap_bytes: int | None = None
    major_faults: int | None = None
    pid: int | None = None


def spread(values: list[float]) -> Spread | None:
    """Median, interval and count; None without values."""
    return Spread(median(values), median_interval(values), len(values)) if values else None


def rows(record: Record, slo: Slo | None = None) -> list[Row]:
    """A row for each cell that was visited, in order of first visit; sittings of a resumed run are pooled."""
    groups: dict[Cell, list[Request]] = {}
    for request in record.requests:
        if request.phase == "counted":
            groups.setdefault(request.cell, []).append(request)
    seen = _Seen(CpuShares(record), Noise(record))
    slo = slo or slo_of(record)
    on_cpu = {subject.subject_id for subject in record.subjects if computes_on_cpu(subject.system_info)}
    meter = Meter(record, on_cpu)
    return [_row(seen, cell, requests, slo, meter.of(requests)) for cell, requests in groups.items()]


def slo_of(record: Record) -> Slo:
    """The limits that the run was asked to hold."""
    plan = record.header.settings.get("plan") or {}
    return Slo(plan.get("slo_ttft_s"), plan.get("slo_tpot_s"))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What readings beside the requests say of them."""

    cpu: CpuShares
    noise: Noise


def _row(seen: _Seen, cell: Cell, tried: list[Request], slo: Slo, energy: CellEnergy) -> Row:
    requests = [request for request in tried if request.error is None]
    refused = sum(1 for request in tried if request.status == 429)
    # Under an open load a refusal is a failure; elsewhere it was waited for and tried again.
    failed = len(tried) - len(requests) - (0 if cell.rate_per_s is not None else refused)
    load = load_figures(cell, tried, slo)
    disturbed = seen.noise.of(requests)
    first, gap = known(ttft_s(r) for r in requests), known(tpot_s(r) for r in requests)
    return Row(
        cell=cell,
        requests=len(requests),
        ttft_s=spread(first),
        tpot_s=spread(gap),
        server_prefill_s=spread(known(r.timings.prefill_s for r in requests)),
        closure_s=spread(known(closure_s(r) for r in requests)),
        e2e_s=spread(known(e2e_s(r) for r in requests)),
        ttft_p90_s=percentile(first, 0.9),
        itl_p50_s=percentile(itl_s(requests), 0.5),
        itl_p99_s=percentile(itl_s(requests), 0.99),
        verdict=cell_verdict(requests, failed, seen.cpu.of(requests), load, disturbed),
        failed=failed,
        refused=refused,
        load=load,
        client=client_figures(requests),
        cost_usd=_total_usd(tried),
        energy=energy,
        disturbances=disturbed.kinds,
        disturbed_requests=disturbed.requests,
    )


def _total_usd(requests: Iterable[Request]) -> float | None:
    """USD by the server's own counts; None where no price was known."""
    costs = known(request.cost_usd for request in requests)
    return sum(costs) if costs else None


def run_cost_usd(record: Record) -> tuple[float, int] | None:
    """USD of the whole run, warm-ups included, and the requests whose cost is not known. None: nothing had a price."""
    total = _total_usd(record.requests)
    if total is None:
        return None
    priced = {request.subject_id for request in record.requests if request.cost_usd is not None}
    unknown = sum(
        1
        for r in record.requests
        if r.subject_id in priced and r.cost_usd is None and (r.status or 0) < 400 and r.chunks
    )
    return total, unknown


def drifts(record: Record, listed: Iterable[Row]) -> list[tuple[Cell, float]]:
    """How much slower (+) or faster the anchor cell of each model was in its second half: medians of E2E, relative.

    The anchor is the first cell of the plan. Nothing is said of up to 5 %, and of what chance explains
    (`stability.half_shift`, which needs 12 requests).
    """
    found = []
    seen: set[tuple[str, str, str]] = set()
    for row in listed:
        model = (row.cell.backend, row.cell.model, row.cell.quant)
        if model in seen or row.cell.is_load:
            continue
        seen.add(model)
        totals = known(e2e_s(r) for r in record.requests if r.cell == row.cell and r.phase == "counted" and not r.error)
        if (shift := half_shift(totals)) is not None:
            found.append((row.cell, shift))
    return found


class CpuShares:
    """The CPU shares of requests whose engine computes on the CPU alone and was sampled."""

    def __init__(self, record: Record) -> None:
        self._subjects = {subject.subject_id: subject for subject in record.subjects}
        self._samples: dict[str, list[Sample]] = {}
        for line in record.samples:
            self._samples.setdefault(line.subject_id, []).extend(line.samples)
        self._instants = {name: [s.at_ns for s in samples] for name, samples in self._samples.items()}

    def of(self, requests: Iterable[Request]) -> list[float]:
        """One for each request that lasted long enough."""
        return known(self._share(request) for request in requests)

    def _share(self, request: Request) -> float | None:
        threads = _computing_threads(self._subjects.get(request.subject_id))
        instants = self._instants.get(request.subject_id)
        if threads is None or not instants:
            return None
        begin, end = bisect_left(instants, request.sent_ns), bisect_right(instants, request.ended_ns)
        return cpu_share(self._samples[request.subject_id][begin:end], threads)


def _computing_threads(subject: Subject | None) -> int | None:
    """Threads of an engine that computes on the CPU alone; None for others, whose CPU share says nothing."""
    if subject is None or not computes_on_cpu(subject.system_info):
        return None
    threads = subject.options.get("threads")
    return threads if isinstance(threads, int) else None


def loaded(record: Record) -> list[Loaded]:
    """One entry for each engine that was started."""
    return [_loaded(record, subject) for subject in record.subjects]


def _loaded(record: Record, subject: Subject) -> Loaded:
    lines = [line for line in record.samples if line.subject_id == subject.subject_id]
    samples = [sample for line in lines for sample in line.samples]
    highest = peak(samples)
    wall_s = (samples[-1].at_ns - samples[0].at_ns) * 1e-9 if len(samples) > 1 else 0.0
    return Loaded(
        subject=subject,
        load_s=(subject.ready_ns - subject.started_ns) * 1e-9,
        peak_resident_bytes=highest.resident_bytes if highest else None,
        peak_file_bytes=highest.file_bytes if highest else None,
        peak_anonymous_bytes=highest.anonymous_bytes if highest else None,
        peak_gpu_bytes=gpu_peak_bytes(samples),
        peak_unevictable_bytes=highest.unevictable_bytes if highest else None,
        peak_swap_bytes=highest.swap_bytes if highest else None,
        major_faults=samples[-1].major_faults if samples else None,
        pid=lines[0].pid if lines else None,
        cold_load_s=next(
            (r.timings.load_s for r in record.requests if r.phase == "load" and r.subject_id == subject.subject_id),
            None,
        ),
        sampler_share=lines[-1].sampler_cpu_s / wall_s if wall_s else None,
    )


def as_json(record: Record, slo: Slo | None = None) -> dict[str, Any]:
    """The whole summary as JSON values: the fields of Row and Loaded, with units in their names."""
    listed = rows(record, slo)
    return {
        "run_id": record.header.run_id,
        "started_at": record.header.started_at,
        "path": record.path,
        "host": asdict(record.header.host),
        "machine": None if record.header.machine is None else asdict(record.header.machine),
        "probes": asdict(record.header.probes),
        "end": record.ends[-1].reason if record.ends else None,
        "end_detail": record.ends[-1].detail if record.ends else None,
        "cells": [
            asdict(row)
            | {"prefill_tokens_per_s": row.prefill_tokens_per_s, "decode_tokens_per_s": row.decode_tokens_per_s}
            for row in listed
        ],
        "anchor_drift": {f"{cell.backend}: {cell.label}": drift for cell, drift in drifts(record, listed)},
        "not_measured": not_measured(record),
        "cost_usd": cost[0] if (cost := run_cost_usd(record)) else None,
        "engines": [asdict(entry) for entry in loaded(record)],
    }
