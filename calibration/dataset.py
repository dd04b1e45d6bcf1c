"""Observations: what records say of each cell, with the amounts of theory that explain it.

An observation is one cell of one engine build on one machine: its measured median and the physical
terms of `estimator.theory.terms`. Rows that cannot be used are named with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from calibration.api.requests import API_BACKENDS
from estimator.errors import EstimatorError
from estimator.facts import model_file_from_facts
from estimator.specs import ModelFile, Workload
from estimator.theory.terms import decode_terms, prefill_terms
from harness.disturbances import Noise, disturbances
from harness.metrics import known, tpot_s, ttft_s
from harness.noise import Finding
from harness.record import Cell, Host, Probes, Record, Request, Subject
from harness.summary import CpuShares, loaded
from harness.verdict import cell_verdict

PhaseName = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True)
class Build:
    """What a fit belongs to: one engine build on one kind of machine."""

    cpu: str
    physical_cores: int
    memory_total_bytes: int
    engine: str
    version: str
    system_info: str
    threads: int

    def __str__(self) -> str:
        return f"{self.engine} {self.version} on {self.cpu} with {self.threads} threads"


@dataclass(frozen=True, slots=True)
class Observation:
    """One phase of one cell: measured median `seconds` (TTFT, or TPOT), explained by `terms`."""

    build: Build
    phase: PhaseName
    file: ModelFile
    work: Workload
    terms: dict[str, float]
    seconds: float
    requests: int
    journal: str

    @property
    def label(self) -> str:
        """The cell in words."""
        w = self.work
        what = f"{self.file.model.name} {self.file.quant} {w.prompt_tokens}/{w.output_tokens} at {w.depth_tokens}"
        return f"{self.phase} of {what}"


# Back ends whose engine says what it loaded and how long it computed.
_FITTED = ("llamacpp", "simulated")


@dataclass(frozen=True, slots=True)
class MemoryObservation:
    """Peak memory of one engine with one model: measured bytes beside the engine's own account.

    Whatever the verdict on its cells: memory does not depend on how steady the times were.
    `work` is the engine's set-up: its slots as concurrency, its context in each, the largest micro-batch it ran.
    """

    build: Build
    file: ModelFile
    work: Workload
    buffers: dict[str, int]
    file_bytes: int
    anonymous_bytes: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything usable in some records, and what was left out with the reason."""

    observations: tuple[Observation, ...]
    memory: tuple[MemoryObservation, ...]
    left_out: tuple[str, ...]
    noisy: tuple[str, ...]
    probes: dict[Build, Probes]
    digest: str

    @property
    def newest(self) -> Build | None:
        """The build of the latest run that has a usable cell."""
        usable = {o.build for o in self.observations}
        return next((build for build in reversed(self.probes) if build in usable), None)

    def of(self, build: Build) -> Dataset:
        """The part that belongs to `build`."""
        return replace(
            self,
            observations=tuple(o for o in self.observations if o.build == build),
            memory=tuple(m for m in self.memory if m.build == build),
        )


@dataclass
class _Pool:
    """The requests of one cell of one build, from every run that measured it."""

    subject: Subject
    requests: list[Request]
    cpu_shares: list[float]
    findings: list[list[Finding]]
    failed: int
    journal: str


def dataset(records: Iterable[Record], include_noisy: bool = False) -> Dataset:
    """The observations of `records`, oldest run first; unreadable models and cells of doubt are left out by name.

    With `include_noisy` cells are used whose only fault is noise, and named all the same.

    Runs of the same build, model file and cell are pooled: the verdict and the median are of all requests together.
    """
    memory: list[MemoryObservation] = []
    left_out: list[str] = []
    noisy: list[str] = []
    pools: dict[tuple[Build, str, Cell], _Pool] = {}
    probes: dict[Build, Probes] = {}
    listed = sorted(records, key=lambda record: record.header.started_at)
    for record in listed:
        for subject in record.subjects:
            if subject.backend in API_BACKENDS:
                continue  # fitted by the terms of an API, in calibration.api
            if subject.backend not in _FITTED:
                left_out.append(
                    f"{subject.model_name} in {record.header.run_id}: {subject.backend} is measured but not fitted yet"
                )
                continue
            try:
                file = model_file_from_facts(subject.model)
            except EstimatorError as error:
                left_out.append(f"{subject.model_name} in {record.header.run_id}: {error}")
                continue
            build = build_of(record.header.host, subject)
            # Moved to the end: the order is that of each build's latest run.
            probes[build] = _best(probes.pop(build, None), record.header.probes)
            memory += _memory(record, subject, file)
            _add_to(pools, record, subject)
    observations: list[Observation] = []
    for (build, _, cell), pool in pools.items():
        verdict = cell_verdict(
            pool.requests, pool.failed, pool.cpu_shares, disturbances=disturbances(pool.findings), pooled=True
        )
        doubt = f"{cell.label} in {pool.journal}: {verdict.word} ({'; '.join(verdict.reasons)})"
        if verdict.word == "NOISY" and include_noisy:
            noisy.append(doubt)
        elif verdict.word != "VALID":
            left_out.append(doubt)
            continue
        if cell.is_load:
            left_out.append(f"{cell.label} in {pool.journal}: loads are measured but not fitted yet")
        else:
            observations += _observations(build, cell, pool)
    digest = hashlib.sha256("".join(Path(r.path).read_text("utf-8") for r in listed).encode()).hexdigest()
    return Dataset(tuple(observations), tuple(memory), tuple(left_out), tuple(noisy), probes, f"sha256:{digest}")


def _best(known: Probes | None, latest: Probes) -> Probes:
    """The latest probes with the best rates of any run: whatever disturbs a probe only makes it slower."""
    if known is None:
        return latest
    read = [p.read_bytes_per_s for p in (known, latest) if p.read_bytes_per_s is not None]
    multiplied = [p.matmul_flop_per_s for p in (known, latest) if p.matmul_flop_per_s is not None]
    return replace(latest, read_bytes_per_s=max(read, default=None), matmul_flop_per_s=max(multiplied, default=None))


def _add_to(pools: dict[tuple[Build, str, Cell], _Pool], record: Record, subject: Subject) -> None:
    build = build_of(record.header.host, subject)
    told = {name: subject.options.get(name) for name in ("ubatch_tokens", "flash_attention", "gpu_layers")}
    facts = json.dumps([subject.model, told], sort_keys=True)
    visited: dict[Cell, list[Request]] = {}
    cpu, noise = CpuShares(record), Noise(record)
    for request in record.requests:
        if request.subject_id == subject.subject_id and request.phase == "counted":
            visited.setdefault(request.cell, []).append(request)
    for cell, requests in visited.items():
        pool = pools.setdefault((build, facts, cell), _Pool(subject, [], [], [], 0, record.header.run_id))
        succeeded = [request for request in requests if request.error is None]
        pool.requests += succeeded
        pool.failed += len(requests) - len(succeeded)
        pool.cpu_shares += cpu.of(succeeded)
        pool.findings += noise.findings(succeeded)


def _observations(build: Build, cell: Cell, pool: _Pool) -> list[Observation]:
    file = model_file_from_facts(pool.subject.model)
    # What was prefilled is what the server says was not cached, not what the plan meant to be cached.
    told = [r.usage.cached_tokens for r in pool.requests if r.usage.cached_tokens is not None]
    cached = round(median(told)) if told else cell.depth_tokens
    fresh = cell.depth_tokens + cell.prompt_tokens - cached
    ubatch = int(pool.subject.options.get("ubatch_tokens", 512))
    work = Workload(fresh, cell.output_tokens, cached, ubatch_tokens=ubatch)
    measured: dict[PhaseName, list[float]] = {
        "prefill": known(ttft_s(r) for r in pool.requests),
        "decode": known(tpot_s(r) for r in pool.requests),
    }
    amounts: dict[PhaseName, dict[str, float]] = {
        "prefill": prefill_terms(file, work),
        "decode": decode_terms(file, work),
    }
    return [
        Observation(build, phase, file, work, amounts[phase], median(values), len(values), pool.journal)
        for phase, values in measured.items()
        if values
    ]


def build_of(host: Host, subject: Subject) -> Build:
    """The build that `subject` ran on `host`."""
    return Build(
        cpu=host.cpu,
        physical_cores=host.physical_cores,
        memory_total_bytes=host.memory_total_bytes,
        engine=subject.engine,
        version=subject.engine_version,
        system_info=subject.system_info,
        threads=int(subject.options.get("threads") or host.physical_cores),
    )


def _requests_of(record: Record, subject: Subject) -> list[Request]:
    return [request for request in record.requests if request.subject_id == subject.subject_id]


def _memory(record: Record, subject: Subject, file: ModelFile) -> list[MemoryObservation]:
    entry = next(e for e in loaded(record) if e.subject.subject_id == subject.subject_id)
    if entry.peak_file_bytes is None or entry.peak_anonymous_bytes is None or not subject.memory:
        return []
    build = build_of(record.header.host, subject)
    options = subject.options
    slots = int(options["slots"])
    context = int(options["context_tokens"]) // slots
    # Automatic flash attention is on for every model that the CPU engine has been seen with.
    flash = options["flash_attention"] != "disabled"
    # A compute buffer is resident as far as the largest micro-batch touched it.
    fresh = [(r.usage.prompt_tokens or 0) - (r.usage.cached_tokens or 0) for r in _requests_of(record, subject)]
    work = Workload(2, 2, 0, slots, context, max(1, min(int(options["ubatch_tokens"]), max(fresh, default=0))), flash)
    return [MemoryObservation(build, file, work, subject.memory, entry.peak_file_bytes, entry.peak_anonymous_bytes)]
