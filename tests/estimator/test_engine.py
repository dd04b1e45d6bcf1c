"""The memory formulas against the embedded engine itself: dry runs over a grid of shapes and options.

Dry runs allocate nothing and need only headers; loading really is left to tiny files, whose sizes of
weights and repacked copies no dry run tells.
"""

from __future__ import annotations

import importlib.util
from itertools import product
from pathlib import Path

import pytest

from estimator.specs import Workload
from estimator.tensors import MIXTURES
from tests.estimator.dry_run import MIB, dry_runs
from tests.estimator.grid import Case, grid
from tests.estimator.tiny import tiny_models

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the embedded engine is not installed"),
]

# Architectures whose compute buffer the theory gives to the last index.
_EXACT = ("qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3")
# The engine prints hundredths of a MiB; a sliding-window model prints two caches.
PRINTED = 0.011 * MIB


def test_cache_and_buffers_are_those_of_the_dry_run_over_a_grid(tmp_path: Path) -> None:
    cases = grid()
    assert len(cases) >= 700
    answers = dry_runs([case.options(tmp_path, alloc=False) for case in cases])
    assert [case for case, answer in zip(cases, answers, strict=True) if "compute" not in answer] == []
    worst = dict.fromkeys(("kv", "output", "compute", "compute of exact ones", "compute share of total"), 0.0)
    for case, answer in zip(cases, answers, strict=True):
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
    print(f"\n{len(cases)} dry runs; worst errors in bytes: {worst}")  # noqa: T201
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
