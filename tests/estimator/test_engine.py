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

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the embedded engine is not installed"),
]

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
    """Two workloads of the cycle for each catalogue model and mixture: every pairing of options occurs many times."""
    pairs = [(model, mixture) for model in models() for mixture in MIXTURES for _ in range(2)]
    grid = [Case(model, mixture, work) for (model, mixture), work in zip(pairs, _works(), strict=False)]
    cached = Workload(1, 1, context_tokens=4096)
    grid += [Case(model, "Q8_0", replace(cached, kv_type=kind)) for model in models() for kind in ("Q8_0", "Q4_0")]
    grid += [
        Case(model, "Q8_0", replace(cached, ubatch_tokens=ubatch, context_tokens=context))
        for model in (find_model("gemma2:2b"), find_model("phi3:mini"), find_model("qwen2.5:7b"))
        for ubatch, context in ((64, 300), (128, 8192), (1024, 1000), (2048, 8192))
    ]
    return grid


def test_cache_and_buffers_are_those_of_the_dry_run_over_a_grid(tmp_path: Path) -> None:
    grid = _grid()
    assert len(grid) >= 200
    answers = dry_runs([case.options(tmp_path, alloc=False) for case in grid])
    assert [case for case, answer in zip(grid, answers, strict=True) if "compute" not in answer] == []
    worst = {"kv": 0.0, "output": 0.0, "compute": 0.0, "compute share of total": 0.0}
    for case, answer in zip(grid, answers, strict=True):
        need = case.need()
        compute_error = abs(need.compute_bytes - answer["compute"])
        errors = {
            "kv": abs(need.kv_cache_bytes - answer["kv"]),
            "output": abs(need.output_bytes - answer["output"]),
            "compute": compute_error,
            "compute share of total": compute_error / need.total_bytes,
        }
        worst = {name: max(worst[name], error) for name, error in errors.items()}
    print(f"\n{len(grid)} dry runs; worst errors in bytes: {worst}")  # noqa: T201
    assert worst["kv"] <= PRINTED
    assert worst["output"] <= PRINTED
    assert worst["compute"] <= MIB
    assert worst["compute share of total"] <= 0.01


def _tiny_cases() -> list[Case]:
    work = Workload(1, 1, context_tokens=512)
    shapes = {
        "llama": {"hidden": 512, "heads": 8, "kv_heads": 2, "key_length": 64, "value_length": 64, "ffn": 1536},
        "qwen2": {"hidden": 320, "heads": 5, "kv_heads": 5, "key_length": 64, "value_length": 64, "ffn": 1024},
        "gemma2": {"hidden": 512, "heads": 4, "kv_heads": 2, "key_length": 256, "value_length": 256, "ffn": 2048},
        "phi3": {"hidden": 512, "heads": 8, "kv_heads": 8, "key_length": 64, "value_length": 64, "ffn": 1536},
    }
    origin = {"llama": "mistral:7b", "qwen2": "qwen2.5:7b", "gemma2": "gemma2:2b", "phi3": "phi3:mini"}
    return [
        Case(
            replace(
                find_model(origin[architecture]),
                names=(f"{architecture}-{tied}",),
                layers=4,
                vocabulary=4096,
                tied_embeddings=tied,
                **shape,  # type: ignore[arg-type]
            ),
            mixture,
            work,
        )
        for (architecture, shape), tied, mixture in product(shapes.items(), (True, False), MIXTURES)
        if tied or architecture != "gemma2"
    ]


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
