"""Observations and journals of a planted machine, without any engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from calibration.dataset import Build, Observation, PhaseName
from calibration.fitters import memory_of
from estimator.coefficients import MemoryCoefficients
from estimator.facts import model_file_facts
from estimator.specs import Workload
from estimator.theory.terms import decode_terms, prefill_terms
from harness.journal import Journal
from harness.record import Cell, Chunk, Request, RunEnd, Sample, Samples, ServerTimings, Subject, Usage
from tests.harness.making import header
from tests.planted import MIXTURE, MODELS, PRICES, file_of, seconds

MEMORY = MemoryCoefficients(2e7, 200, 9000, 0, 21e6, ())
BUILD = Build("Test CPU", 2, 8 * 2**30, "simulated", "1", "CPU : AVX2 = 1 |", 2)
WORKS = (Workload(16, 12), Workload(48, 12), Workload(48, 12, 400), Workload(16, 12, 1200))


def observations(
    models: Iterable[str] = MODELS, noise: float = 0.0, prices: Mapping[str, float] = PRICES
) -> list[Observation]:
    """What the planted machine would show of `models`, with relative `noise`."""
    rng = random.Random(1)
    found = []
    for name in models:
        file = file_of(name)
        for work in WORKS:
            phases: list[tuple[PhaseName, dict[str, float]]] = [
                ("prefill", prefill_terms(file, work)), ("decode", decode_terms(file, work)),
            ]  # fmt: skip
            for phase, terms in phases:
                value = seconds(terms, prices) * (1 + noise * rng.gauss(0, 1))
                found.append(Observation(BUILD, phase, file, work, terms, value, 4, "planted"))
    return found


def planted_run(
    folder: Path,
    models: Iterable[str] = MODELS,
    scale: Callable[[int], float] = lambda _: 1.0,
    engine: str = "simulated",
    started_at: str = "2026-11-23T12:00:00+00:00",
) -> Path:
    """A journal as the harness would have written it; repeat k of each cell is `scale(k)` times as slow."""
    with Journal(folder) as journal:
        journal.append(replace(header(), started_at=started_at, run_id=folder.name))
        for index, name in enumerate(models):
            file = file_of(name)
            facts = model_file_facts(file)
            options = {"slots": 1, "context_tokens": 1280, "ubatch_tokens": 512, "flash_attention": "auto"}
            subject = Subject(
                str(index), "simulated", name, MIXTURE, engine, "1", "", options, facts, {"repacked_bytes": 0}, 0, 1
            )
            journal.append(subject)
            for work in WORKS:
                for repeat in range(4):
                    journal.append(_request(name, work, repeat, str(index), scale(repeat)))
            need = memory_of(MEMORY, file, Workload(2, 2, 0, 1, 1280, 48))
            mapped, anonymous = need.file_bytes, need.anonymous_bytes
            sample = Sample(5, anonymous + mapped, mapped, anonymous, None, 0.0)
            journal.append(Samples(str(index), (sample, sample._replace(at_ns=10)), 0.0))
        journal.append(RunEnd("done"))
    return folder


def _request(name: str, work: Workload, repeat: int, subject_id: str, slower: float) -> Request:
    file = file_of(name)
    first = round(seconds(prefill_terms(file, work)) * slower * 1e9)
    gap = round(seconds(decode_terms(file, work)) * slower * 1e9)
    chunks = tuple(Chunk(at, at, 1) for at in range(first, first + gap * work.output_tokens, gap))
    cell = Cell("simulated", name, MIXTURE, work.prompt_tokens, work.output_tokens, work.depth_tokens)
    usage = Usage(work.depth_tokens + work.prompt_tokens, work.output_tokens, work.depth_tokens)
    end = chunks[-1].wire_ns
    return Request(subject_id, cell, repeat, "counted", 0, 0, end, chunks[: work.output_tokens], usage, ServerTimings())


__all__ = ["BUILD", "MODELS", "PRICES", "WORKS", "observations", "planted_run"]
