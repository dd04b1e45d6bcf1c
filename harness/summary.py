"""A record as numbers to read: one row a cell, one a model. Shared by the table and `--json`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from harness.metrics import (
    closure_s,
    counted,
    cpu_share,
    e2e_s,
    itl_s,
    known,
    median_interval,
    peak,
    percentile,
    tpot_s,
    ttft_s,
)
from harness.record import Cell, Record, Request, Sample, Subject
from harness.verdict import Verdict, cell_verdict


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its 95 % interval (None under 6 values) and the number of values behind it."""

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
    """One model in one engine: its load time in seconds and its peak memory in bytes (None: not sampled)."""

    subject: Subject
    load_s: float
    peak_resident_bytes: int | None
    peak_file_bytes: int | None
    peak_anonymous_bytes: int | None
    sampler_share: float | None


def spread(values: list[float]) -> Spread | None:
    """Median, interval and count; None without values."""
    return Spread(median(values), median_interval(values), len(values)) if values else None


def rows(record: Record) -> list[Row]:
    """A row for each cell that was visited, in order of first visit; sittings of a resumed run are pooled."""
    groups: dict[Cell, list[Request]] = {}
    for (_, cell), requests in counted(record).items():
        groups.setdefault(cell, []).extend(requests)
    return [_row(record, cell, requests) for cell, requests in groups.items()]


def _row(record: Record, cell: Cell, requests: list[Request]) -> Row:
    failed = sum(1 for r in record.requests if r.cell == cell and r.phase == "counted" and r.error is not None)
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
        verdict=cell_verdict(requests, failed, cpu_shares(record, requests)),
    )


def _subjects(record: Record, cell: Cell) -> list[Subject]:
    return [s for s in record.subjects if (s.model_name, s.quant) == (cell.model, cell.quant)]


def drifts(record: Record) -> list[tuple[Cell, float]]:
    """How much slower (+) or faster the anchor cell of each model was in its second half: medians of E2E, relative.

    The anchor is the first cell of the plan. Under 4 requests nothing is said.
    """
    found = []
    seen: set[tuple[str, str]] = set()
    for row in rows(record):
        model = (row.cell.model, row.cell.quant)
        if model in seen:
            continue
        seen.add(model)
        totals = known(e2e_s(r) for r in record.requests if r.cell == row.cell and r.phase == "counted" and not r.error)
        half = len(totals) // 2
        if half >= 2:
            found.append((row.cell, median(totals[half:]) / median(totals[:half]) - 1))
    return found


def cpu_shares(record: Record, requests: Iterable[Request]) -> list[float]:
    """The CPU shares of requests whose engine computes on the CPU alone and was sampled."""
    subjects = {subject.subject_id: subject for subject in record.subjects}
    samples: dict[str, list[Sample]] = {}
    for line in record.samples:
        samples.setdefault(line.subject_id, []).extend(line.samples)
    found: list[float | None] = []
    for request in requests:
        threads = _computing_threads(subjects.get(request.subject_id))
        if threads is not None:
            found.append(cpu_share(request, samples.get(request.subject_id, []), threads))
    return known(found)


def computes_on_cpu(system_info: str) -> bool:
    """Whether an engine with this system-info line computes on the CPU alone; False where it says nothing."""
    return bool(system_info) and not any(device in system_info for device in ("CUDA", "MTL", "Metal", "ROCm", "Vulkan"))


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
        sampler_share=lines[-1].sampler_cpu_s / wall_s if wall_s else None,
    )


def as_json(record: Record) -> dict[str, Any]:
    """The whole summary as JSON values: the fields of Row and Loaded, with units in their names."""
    return {
        "run_id": record.header.run_id,
        "started_at": record.header.started_at,
        "path": record.path,
        "host": asdict(record.header.host),
        "end": record.ends[-1].reason if record.ends else None,
        "cells": [
            asdict(row)
            | {"prefill_tokens_per_s": row.prefill_tokens_per_s, "decode_tokens_per_s": row.decode_tokens_per_s}
            for row in rows(record)
        ],
        "anchor_drift": {cell.label: drift for cell, drift in drifts(record)},
        "engines": [asdict(entry) for entry in loaded(record)],
    }
