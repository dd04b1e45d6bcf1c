"""Observations: what records say of each cell, with the amounts of theory that explain it.

An observation is one cell of one engine build on one machine: its measured median and the physical
terms of `estimator.theory.terms`. Rows that cannot be used are named with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from calibration.api.requests import API_BACKENDS
from calibration.observations import Build as Build  # noqa: PLC0414 - read from here
from calibration.observations import Dataset as Dataset  # noqa: PLC0414
from calibration.observations import MemoryObservation as MemoryObservation  # noqa: PLC0414
from calibration.observations import Observation as Observation  # noqa: PLC0414
from calibration.observations import PhaseName as PhaseName  # noqa: PLC0414
from calibration.pools import MEASURES, Pool, Visit, believed, contradiction, judged
from estimator.errors import EstimatorError
from estimator.facts import model_file_from_facts
from estimator.specs import ModelFile, Workload
from estimator.theory.terms import decode_terms, prefill_terms
from harness.disturbances import Noise
from harness.record import Cell, Host, Probes, Record, Request, Subject
from harness.summary import CpuShares, loaded
from harness.verdict import median_error

# Back ends whose engine says what it loaded and how long it computed.
_FITTED = ("llamacpp", "simulated")


@dataclass
class _Found:
    """What has been read so far."""

    memory: list[MemoryObservation] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    noisy: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    pools: dict[tuple[Build, str, Cell], Pool] = field(default_factory=dict)
    probes: dict[Build, Probes] = field(default_factory=dict)


def dataset(records: Iterable[Record], include_noisy: bool = False, only: Build | None = None) -> Dataset:
    """The observations of `records`, oldest run first; unreadable models and cells of doubt are left out by name.

    With `include_noisy` cells are used whose only fault is noise, or a late client while the engine's own clock says
    what the wire's does (DESIGN.md), and named all the same. With `only` the models of another build are passed over.
    Runs of the same build, model file and cell are pooled: the verdict and the median
    are of all requests together.
    """
    found, digest = _Found(), hashlib.sha256()
    digests: dict[Build, Any] = {}
    for record in sorted(records, key=lambda record: record.header.started_at):
        builds = [build_of(record.header.host, subject) for subject in record.subjects]
        if only is not None and only not in builds:
            continue
        text = Path(record.path).read_bytes()
        for hashed in (digest, *(digests.setdefault(build, hashlib.sha256()) for build in dict.fromkeys(builds))):
            hashed.update(text)
        for build, subject in zip(builds, record.subjects, strict=True):
            if only is None or build == only:
                _take(found, record, subject, build)
    observations = [o for key, pool in found.pools.items() for o in _judged(found, key, pool, include_noisy)]
    return Dataset(
        tuple(observations), tuple(found.memory), tuple(found.left_out), tuple(found.noisy), found.probes,
        f"sha256:{digest.hexdigest()}", {build: f"sha256:{told.hexdigest()}" for build, told in digests.items()},
        tuple(found.late),
    )  # fmt: skip


def _take(found: _Found, record: Record, subject: Subject, build: Build) -> None:
    where = f"{subject.model_name} in {record.header.run_id}"
    if subject.backend in API_BACKENDS:
        return  # fitted by the terms of an API, in calibration.api
    if subject.backend not in _FITTED:
        found.left_out.append(f"{where}: {subject.backend} is measured but not fitted yet")
        return
    try:
        file = _file(json.dumps(subject.model, sort_keys=True))
    except EstimatorError as error:
        found.left_out.append(f"{where}: {error}")
        return
    # Moved to the end: the order is that of each build's latest run.
    found.probes[build] = _best(found.probes.pop(build, None), record.header.probes)
    found.memory += _memory(record, subject, file, build)
    _add_to(found.pools, record, subject, build)


def _judged(found: _Found, key: tuple[Build, str, Cell], pool: Pool, include_noisy: bool) -> list[Observation]:
    build, _, cell = key
    pool, apart = believed(pool, cell, include_noisy)
    found.left_out += apart
    verdict = pool.verdict()
    doubt = f"{cell.label} in {pool.run}: {verdict.word} ({'; '.join(verdict.reasons)})"
    verdict, late = judged(verdict, pool.requests, include_noisy)
    if verdict.word != "VALID" and not (verdict.word == "NOISY" and include_noisy):
        # Runs that contradict each other make the pool noisy: then that is the reason.
        found.left_out += pool.contradictions(cell) or [doubt]
        return []
    if cell.is_load:
        found.left_out.append(f"{cell.label} in {pool.run}: loads are measured but not fitted yet")
        return []
    if verdict.word == "NOISY":
        found.noisy.append(doubt)
    if late:
        found.late.append(f"{cell.label} in {pool.run}: the engine's own clock confirms the wire's")
    seen = _observations(build, cell, pool, found.left_out)
    return seen if verdict.word == "VALID" else [replace(o, noisy=True) for o in seen]


@lru_cache(maxsize=1024)
def _file(facts: str) -> ModelFile:
    return model_file_from_facts(json.loads(facts))


@lru_cache(maxsize=4096)
def _amounts(facts: str, work: Workload) -> dict[PhaseName, dict[str, float]]:
    file = _file(facts)
    return {"prefill": prefill_terms(file, work), "decode": decode_terms(file, work)}


def _best(known: Probes | None, latest: Probes) -> Probes:
    """The latest probes with the best rates of any run: whatever disturbs a probe only makes it slower.

    Rates that were seen to be disturbed count as unknown, so that no true cell is refused for beating them.
    """
    if latest.disturbed:
        latest = replace(latest, read_bytes_per_s=None, matmul_flop_per_s=None)
    if known is None:
        return latest
    read = [p.read_bytes_per_s for p in (known, latest) if p.read_bytes_per_s is not None]
    multiplied = [p.matmul_flop_per_s for p in (known, latest) if p.matmul_flop_per_s is not None]
    return replace(latest, read_bytes_per_s=max(read, default=None), matmul_flop_per_s=max(multiplied, default=None))


def _add_to(pools: dict[tuple[Build, str, Cell], Pool], record: Record, subject: Subject, build: Build) -> None:
    told = {name: subject.options.get(name) for name in ("ubatch_tokens", "flash_attention", "gpu_layers")}
    facts = json.dumps(subject.model, sort_keys=True)
    key = facts + json.dumps(told, sort_keys=True)
    visited: dict[Cell, list[Request]] = {}
    cpu, noise = CpuShares(record), Noise(record)
    for request in record.requests:
        if request.subject_id == subject.subject_id and request.phase == "counted":
            visited.setdefault(request.cell, []).append(request)
    for cell, requests in visited.items():
        succeeded = [request for request in requests if request.error is None]
        visit = Visit(
            record.header.run_id, succeeded, len(requests) - len(succeeded), cpu.of(succeeded),
            noise.findings(succeeded),
        )  # fmt: skip
        pools.setdefault((build, key, cell), Pool(subject, facts)).visits.append(visit)


def _observations(build: Build, cell: Cell, pool: Pool, left_out: list[str]) -> list[Observation]:
    # What was prefilled is what the server says was not cached, not what the plan meant to be cached.
    told = [r.usage.cached_tokens for r in pool.requests if r.usage.cached_tokens is not None]
    cached = round(median(told)) if told else cell.depth_tokens
    fresh = cell.depth_tokens + cell.prompt_tokens - cached
    ubatch = int(pool.subject.options.get("ubatch_tokens", 512))
    work = Workload(fresh, cell.output_tokens, cached, ubatch_tokens=ubatch)
    found = []
    for phase in MEASURES:
        values, by_run = [seconds for _, seconds in pool.timed(phase)], pool.by_run(phase)
        if not values:
            continue
        if against := contradiction(by_run):
            left_out.append(f"{phase} of {cell.label}: {against}")
            continue
        found.append(
            Observation(
                build, phase, _file(pool.facts), work, _amounts(pool.facts, work)[phase], median(values), len(values),
                pool.run, median_error(values), by_run,
            )
        )  # fmt: skip
    return found


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


def odd_option(subject: Subject) -> str | None:
    """The first option of an engine that is no whole number above 0 although amounts stand on it; None: all are."""
    if subject.backend not in _FITTED:
        return None
    needed = ("slots", "context_tokens") if subject.memory else ()
    told = [name for name in ("ubatch_tokens", "threads") if subject.options.get(name) is not None]
    for name in (*needed, *told):
        value = subject.options.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            return f"{name} {str(value)[:20]!r}, no whole number above 0"
    return None


def _requests_of(record: Record, subject: Subject) -> list[Request]:
    return [request for request in record.requests if request.subject_id == subject.subject_id]


def _memory(record: Record, subject: Subject, file: ModelFile, build: Build) -> list[MemoryObservation]:
    entry = next(e for e in loaded(record) if e.subject.subject_id == subject.subject_id)
    if entry.peak_file_bytes is None or entry.peak_anonymous_bytes is None or not subject.memory:
        return []
    options = subject.options
    slots = int(options["slots"])
    context = int(options["context_tokens"]) // slots
    # Automatic flash attention is on for every model that the CPU engine has been seen with.
    flash = options.get("flash_attention") != "disabled"
    # A compute buffer is resident as far as the largest micro-batch touched it.
    fresh = [(r.usage.prompt_tokens or 0) - (r.usage.cached_tokens or 0) for r in _requests_of(record, subject)]
    work = Workload(
        2, 2, 0, slots, context, max(1, min(int(options.get("ubatch_tokens", 512)), max(fresh, default=0))), flash
    )
    run = record.header.run_id
    return [
        MemoryObservation(build, file, work, subject.memory, entry.peak_file_bytes, entry.peak_anonymous_bytes, run)
    ]
