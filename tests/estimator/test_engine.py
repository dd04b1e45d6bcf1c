"""The memory formulas against the embedded engine itself: dry runs over a grid of shapes and options.

Dry runs allocate nothing and need only headers; loading really is left to tiny files, whose sizes of
weights and repacked copies no dry run tells.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, product
from pathlib import Path

import pytest

from estimator.catalog import find_model, models
from estimator.specs import Model, Workload
from estimator.tensors import MIXTURES, model_file
from estimator.theory.memory import MemoryNeed, memory_need
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES
from tests.estimator.dry_run import MIB, Options, dry_runs
from tests.estimator.header_only import write_header_only
from tests.estimator.tiny import tiny_models

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the embedded engine is not installed"),
]

_MIXTURES_OF_EXPERTS = ("mixtral", "qwen3:30b", "gpt-oss", "deepseek-v2", "deepseek-v3", "llama4:scout")
# Architectures whose compute buffer the theory gives to the last index.
_EXACT = ("qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3")
# The engine prints hundredths of a MiB; a sliding-window model prints two caches.
PRINTED = 0.011 * MIB


@dataclass(frozen=True)
class Case:
    """One question to the engine, and the theory's answer."""

    model: Model
    mixture: str
    work: Workload

    def options(self, folder: Path, alloc: bool) -> Options:
        path = folder / f"{self.model.name.replace(':', '-')}-{self.mixture}.gguf"
        if not path.exists():
            write_header_only(path, self.model, self.mixture)
        assert self.work.context_tokens is not None
        return Options(
            path=str(path),
            context=self.work.context_tokens * self.work.concurrency,
            parallel=self.work.concurrency,
            ubatch=self.work.ubatch_tokens,
            flash_attention=self.work.flash_attention,
            kv_type=self.work.kv_type,
            alloc=alloc,
        )

    def need(self) -> MemoryNeed:
        return memory_need(model_file(self.model, self.mixture), self.work, X86_AVX2_REPACKED_TYPES)


def _works() -> Iterator[Workload]:
    for context, flash, sequences in cycle(product((512, 2048, 4096, 8192), (True, False), (1, 2, 3, 4))):
        yield Workload(1, 1, context_tokens=context, flash_attention=flash, concurrency=sequences)


def _grid() -> list[Case]:
    """A workload of the cycle for each catalogue model and mixture: every pairing of options occurs many times."""
    pairs = [(model, mixture) for model in models() for mixture in MIXTURES]
    grid = [Case(model, mixture, work) for (model, mixture), work in zip(pairs, _works(), strict=False)]
    cached = Workload(1, 1, context_tokens=4096)
    grid += [Case(model, "Q8_0", replace(cached, kv_type=kind)) for model in models() for kind in ("Q8_0", "Q4_0")]
    grid += [
        Case(model, "Q8_0", replace(cached, ubatch_tokens=ubatch, context_tokens=context))
        for model in map(find_model, ("gemma2:2b", "phi3:mini", "qwen2.5:7b", "gemma3:4b", *_MIXTURES_OF_EXPERTS))
        for ubatch, context in ((64, 300), (128, 8192), (1024, 1000), (2048, 8192))
    ]
    return grid


def test_cache_and_buffers_are_those_of_the_dry_run_over_a_grid(tmp_path: Path) -> None:
    grid = _grid()
    assert len(grid) >= 700
    answers = dry_runs([case.options(tmp_path, alloc=False) for case in grid])
    assert [case for case, answer in zip(grid, answers, strict=True) if "compute" not in answer] == []
    worst = dict.fromkeys(("kv", "output", "compute", "compute of exact ones", "compute share of total"), 0.0)
    for case, answer in zip(grid, answers, strict=True):
        need = case.need()
        compute_error = abs(need.compute_bytes - answer["compute"])
        errors = {
            "kv": abs(need.kv_cache_bytes - answer["kv"]),
            "output": abs(need.output_bytes - answer["output"]),
            "compute": compute_error,
            "compute of exact ones": compute_error if case.model.architecture in _EXACT else 0.0,
            "compute share of total": compute_error / need.total_bytes,
        }
        worst = {name: max(worst[name], error) for name, error in errors.items()}
    print(f"\n{len(grid)} dry runs; worst errors in bytes: {worst}")  # noqa: T201
    assert worst["kv"] <= PRINTED
    assert worst["output"] <= PRINTED
    assert worst["compute of exact ones"] <= MIB
    assert worst["compute share of total"] <= 0.005


def _tiny_cases() -> list[Case]:
    work = Workload(1, 1, context_tokens=512)
    return [Case(model, mixture, work) for model, mixture in product(tiny_models(), MIXTURES)]


def test_weights_and_repacked_copies_are_those_of_a_real_start(tmp_path: Path) -> None:
    cases = _tiny_cases()
    answers = dry_runs([case.options(tmp_path, alloc=True) for case in cases])
    assert [case for case, answer in zip(cases, answers, strict=True) if "compute" not in answer] == []
    wrong = []
    for case, answer in zip(cases, answers, strict=True):
        need = case.need()
        errors = (need.weights_bytes - answer["model"], need.repacked_bytes - answer.get("repack", 0.0))
        if max(map(abs, errors)) > PRINTED:
            wrong.append((case.model.name, case.mixture, errors))
    print(f"\n{len(cases)} starts; weights or repacked copy differ in: {wrong}")  # noqa: T201
    assert wrong == []
