"""Runs of the planted machine with stated noise, as the harness stores them: for the gate's tests and figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from calibration.fitters import memory_of
from estimator.facts import model_file_facts
from estimator.specs import Workload
from estimator.theory.terms import decode_terms, prefill_terms
from harness.journal import Journal, read_record
from harness.record import Cell, Chunk, Line, Request, RunEnd, Sample, Samples, ServerTimings, Subject, Usage
from tests.calibration.making import MEMORY, WORKS
from tests.harness.alike import Machine, Noise
from tests.harness.making import header
from tests.planted import MIXTURE, MODELS, PRICES, file_of, seconds

# How much slower something is: phase, model, cell.
Slower = Callable[[str, str, Workload], float]
OPTIONS = {"slots": 1, "context_tokens": 1280, "ubatch_tokens": 512, "flash_attention": "auto"}


@dataclass(frozen=True, slots=True)
class Day:
    """A machine: its luck from run to run (relative standard deviation of all times together) and within a run, and
    its prices."""

    run: float = 0.01
    within: Noise = field(default_factory=lambda: Noise(drift=0.01, request=0.02))
    prices: Mapping[str, float] = field(default_factory=lambda: PRICES)


QUIET = Day()


def unchanged(_phase: str, _model: str, _work: Workload) -> float:
    """An engine as it was."""
    return 1.0


def noisy_run(
    folder: Path,
    seed: int,
    day: Day = QUIET,
    slower: Slower = unchanged,
    models: tuple[str, ...] = MODELS,
    repeats: int = 8,
) -> Path:
    """One run of all cells, model by model, each model's cells in rounds; the n-th day of the machine is `seed`."""
    rng = np.random.default_rng(seed)
    today, machine = math.exp(day.run * rng.normal()), Machine(day.within, rng)
    with Journal(folder, sync=lambda _: None) as journal:
        started = f"2026-11-23T00:00:00.{seed:06d}+00:00"
        journal.append(replace(header(), started_at=started, run_id=f"run-{seed}"))
        for at, name in enumerate(models):
            journal.append(_subject(str(at), name))
            times = {work: _times(name, work, day.prices, slower) for work in WORKS}
            for repeat in range(repeats):
                for work in (WORKS[i] for i in rng.permutation(len(WORKS))):
                    machine.visited()
                    prefill, token = (seconds * today * machine.factor() for seconds in times[work])
                    journal.append(_request(str(at), name, work, repeat, prefill, token))
            journal.append(_samples(str(at), name, slower("memory", name, WORKS[0])))
        journal.append(RunEnd("done"))
    return folder


def parted(folder: Path, whole: Path, models: Collection[str]) -> Path:
    """A journal of what the run at `whole` says of `models`."""
    record = read_record(whole)
    kept = {s.subject_id for s in record.subjects if s.model_name in models}
    about: list[Subject | Request | Samples] = [*record.subjects, *record.requests, *record.samples]
    lines: list[Line] = [record.header, *(line for line in about if line.subject_id in kept)]
    with Journal(folder, sync=lambda _: None) as journal:
        journal.append(*lines, *record.ends)
    return folder


def _subject(subject_id: str, name: str) -> Subject:
    facts, memory = model_file_facts(file_of(name)), {"repacked_bytes": 0}
    return Subject(subject_id, "simulated", name, MIXTURE, "simulated", "1", "", OPTIONS, facts, memory, 0, 1)


def _samples(subject_id: str, name: str, grown: float) -> Samples:
    need = memory_of(MEMORY, file_of(name), Workload(2, 2, 0, 1, 1280, 48))
    held = round(need.anonymous_bytes * grown)
    sample = Sample(5, held + need.file_bytes, need.file_bytes, held, None, 0.0)
    return Samples(subject_id, (sample, sample._replace(at_ns=10)), 0.0)


def _times(name: str, work: Workload, prices: Mapping[str, float], slower: Slower) -> tuple[float, float]:
    file = file_of(name)
    return (
        seconds(prefill_terms(file, work), prices) * slower("prefill", name, work),
        seconds(decode_terms(file, work), prices) * slower("decode", name, work),
    )


def _request(subject_id: str, name: str, work: Workload, repeat: int, prefill_s: float, token_s: float) -> Request:
    first, last = round(prefill_s * 1e9), round((prefill_s + token_s * (work.output_tokens - 1)) * 1e9)
    chunks = (Chunk(first, None, 1), Chunk(last, None, work.output_tokens - 1))
    cell = Cell("simulated", name, MIXTURE, work.prompt_tokens, work.output_tokens, work.depth_tokens)
    usage = Usage(work.depth_tokens + work.prompt_tokens, work.output_tokens, work.depth_tokens)
    return Request(subject_id, cell, repeat, "counted", 0, 0, last, chunks, usage, ServerTimings())
