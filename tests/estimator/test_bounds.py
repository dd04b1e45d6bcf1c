"""What a "fits" stands on is never less than what was seen: stored dry runs, measured processes, published logs."""

from __future__ import annotations

from pathlib import Path

import pytest

import estimator
from estimator.coefficients import read_coefficients
from estimator.specs import Workload
from estimator.tensors import model_file
from estimator.theory import bounds
from estimator.theory.bounds import most_compute_bytes, most_runtime_bytes
from estimator.theory.kv_cache import kv_cache_bytes
from tests.estimator.dry_run_table import stored
from tests.estimator.examples import FILE
from tests.estimator.published import published

MIB = 2**20
REFERENCE = Path(estimator.__file__).parent / "data" / "reference_cpu.json"
_PRINTED = 0.011 * MIB


def test_no_stored_dry_run_plans_more_than_the_bound_or_another_cache() -> None:
    found = stored()
    assert len(found) >= 1587
    for case, said in found:
        assert abs(kv_cache_bytes(case.model, case.work) - said["kv"]) <= _PRINTED
    # Types of weights do not matter to the buffer: a file is laid out once a model.
    files = {model: model_file(model, "Q8_0") for model in {case.model for case, _ in found}}
    least = min(most_compute_bytes(files[case.model], case.work) - said["compute"] for case, said in found)
    assert least >= 16 * MIB


def test_the_process_is_counted_at_a_quarter_more_than_the_reference_and_no_less() -> None:
    fitted = read_coefficients(REFERENCE).memory
    assert fitted is not None
    shipped = (
        fitted.anonymous_constant_bytes,
        fitted.anonymous_bytes_per_vocabulary_entry,
        fitted.anonymous_bytes_per_tensor,
        fitted.anonymous_bytes_per_row,
        fitted.file_constant_bytes,
    )
    counted = (
        bounds._PROCESS_BYTES,
        bounds._ENTRY_BYTES,
        bounds._TENSOR_BYTES,
        bounds._ROW_BYTES,
        bounds.LIBRARIES_BYTES,
    )
    assert all(more >= 1.25 * price * 0.999 for more, price in zip(counted, shipped, strict=True))


def test_the_process_of_the_toy_by_hand() -> None:
    # 16 MB + 284 x 1000 + 12,800 x 21 + 5,600 x 512, scratch 512 x 512 x 34 / 32, candidates 12 x 1000.
    expected = 16e6 + 284_000 + 268_800 + 2_867_200 + 278_528 + 12_000
    assert most_runtime_bytes(FILE, Workload(1, 1, context_tokens=768)) == expected


@pytest.mark.slow
def test_no_published_gpu_holds_more_than_is_counted_with() -> None:
    from tests.benchmarks.fits import of_forks_gpus, of_gpus

    pairs = [*of_gpus(), *of_forks_gpus()]
    assert len(pairs) >= 10
    assert all(truth <= counted for truth, counted in pairs)


def test_published_weights_caches_and_logits_of_llama_cpp_are_exact() -> None:
    # Printed in GiB (weights) and MiB with two decimals, or three digits.
    rows = [row for row in published() if row.engine == "llama.cpp"]
    counted = 0
    for row in rows:
        if row.predicted_bytes is not None and row.metric != "compute_buffer_bytes":
            printed = 0.006 * 2**30 if row.metric == "model_bytes" else 0.011 * MIB
            assert abs(row.predicted_bytes - row.value_bytes) <= printed
            counted += 1
    assert counted == 90


@pytest.mark.slow
@pytest.mark.parametrize("calibrated", [False, True])
def test_no_measured_process_holds_more_than_is_counted_with(calibrated: bool) -> None:
    from tests.benchmarks.fits import of_processes

    pairs = list(of_processes(read_coefficients(REFERENCE) if calibrated else None))
    assert len(pairs) == 52
    assert all(truth <= counted for truth, counted in pairs)
