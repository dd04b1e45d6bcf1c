"""Fits on planted numbers: what is there comes back, what is not is drawn toward the prior."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calibration.dataset import MemoryObservation
from calibration.fitters import fit_memory, fit_speed, memory_of, repacked_types
from calibration.gate import admitted
from calibration.validate import Residual, held_out, interval, shape_of, speed_residuals
from estimator.catalog import find_model
from estimator.coefficients import MemoryCoefficients
from estimator.plain import to_plain
from estimator.specs import Workload
from estimator.tensors import model_file
from harness.record import Probes
from tests.calibration.making import BUILD, PRICES, observations
from tests.planted import MODELS, file_of


def test_planted_prices_come_back_from_exact_times() -> None:
    fit = fit_speed(observations())
    assert {name: fit.seconds_per_unit[name] for name in PRICES} == pytest.approx(PRICES, rel=0.01)


def test_planted_prices_come_back_within_a_few_percent_from_noisy_times() -> None:
    fit = fit_speed(observations(noise=0.02))
    for name in ("weights.Q8_0", "matmul.Q8_0", "request"):
        assert fit.seconds_per_unit[name] == pytest.approx(PRICES[name], rel=0.08)


def test_no_price_is_negative() -> None:
    assert min(fit_speed(observations(noise=0.3)).seconds_per_unit.values()) >= 0


def test_one_disturbed_cell_bends_the_fit_little() -> None:
    quiet = observations()
    disturbed = [replace(quiet[0], seconds=quiet[0].seconds * 5), *quiet[1:]]
    fit = fit_speed(disturbed)
    assert fit.seconds_per_unit["weights.Q8_0"] == pytest.approx(PRICES["weights.Q8_0"], rel=0.05)


def test_with_one_model_the_prior_scaled_to_the_machine_fills_what_was_not_measured() -> None:
    prior = {**PRICES, "weights.Q4_K": PRICES["weights.Q8_0"] * 0.7}
    twice_as_slow = [replace(o, seconds=o.seconds * 2) for o in observations(models=["llama3.2:1b"])]
    fit = fit_speed(twice_as_slow, prior)
    assert fit.seconds_per_unit["weights.Q8_0"] == pytest.approx(2 * PRICES["weights.Q8_0"], rel=0.02)
    assert fit.seconds_per_unit["weights.Q4_K"] == pytest.approx(1.4 * PRICES["weights.Q8_0"], rel=0.02)
    assert fit.cells["weights.Q4_K"] == 0
    assert fit.cells["weights.Q8_0"] > 0


def test_many_records_outweigh_a_wrong_prior() -> None:
    wrong = {name: price * (3 if name == "weights.Q8_0" else 1) for name, price in PRICES.items()}
    fit = fit_speed(observations(), wrong)
    assert fit.seconds_per_unit["weights.Q8_0"] == pytest.approx(PRICES["weights.Q8_0"], rel=0.05)


def test_a_term_without_price_makes_the_time_unknown() -> None:
    fit = fit_speed(observations(models=["llama3.2:1b"]))
    assert fit.seconds({"weights.Q4_K": 1e9}) is None


def test_a_model_left_out_is_named_as_the_group_of_its_residuals() -> None:
    residuals = speed_residuals(observations(), None)
    assert {r.group for r in residuals["decode"]} == {shape_of(file_of(name)) for name in MODELS}
    assert max(abs(r.relative) for r in residuals["decode"]) < 0.02


def test_with_one_model_cells_are_left_out_instead() -> None:
    residuals = speed_residuals(observations(models=["llama3.2:1b"]), dict(PRICES))
    assert len({r.group for r in residuals["prefill"]}) == 4
    assert interval([*residuals["prefill"], *residuals["decode"]] * 10) is None, "cells say nothing about other models"


def residuals(relative: list[float], groups: int) -> list[Residual]:
    return [Residual(str(index % groups), "", 1 + error, 1.0) for index, error in enumerate(relative)]


def test_no_interval_is_claimed_from_fewer_than_five_groups_or_ten_cells() -> None:
    assert interval(residuals([0.1] * 40, groups=4)) is None
    assert interval(residuals([0.1] * 8, groups=5)) is None


def test_an_interval_holds_ninety_percent_of_cells_like_those_held_out() -> None:
    import random

    rng = random.Random(2)
    errors = [rng.gauss(0, 0.05) for _ in range(2000)]
    low_high = interval(residuals(errors[:1000], groups=10))
    assert low_high is not None
    held = sum(1 for e in errors[1000:] if low_high[0] <= 1 / (1 + e) - 1 <= low_high[1]) / 1000
    assert 0.87 < held < 0.93


def test_the_held_out_error_is_the_median_and_worst_size() -> None:
    error = held_out(residuals([0.1, -0.2, 0.3], groups=3))
    assert error is not None
    assert [error.median, error.worst] == pytest.approx([0.2, 0.3])
    assert error.groups == 3


def test_the_gate_drops_what_beats_the_memory_and_says_so() -> None:
    impossible = [replace(o, seconds=o.seconds / 100) if o.phase == "decode" else o for o in observations()]
    kept, why = admitted(impossible, {BUILD: Probes(20e9, 100e9, None, None, None)})
    assert {o.phase for o in kept} == {"prefill"}
    assert "GB/s where the machine reads 20" in why[0]


MEMORY = MemoryCoefficients(15e6, 180, 9000, 4000, 2e7, ())


def seen(name: str, slots: int = 1, rows: int = 512) -> MemoryObservation:
    file, work = file_of(name), Workload(2, 2, 0, slots, 1024, rows)
    need = memory_of(MEMORY, file, work)
    return MemoryObservation(BUILD, file, work, {"repacked_bytes": 0}, need.file_bytes, need.anonymous_bytes)


def prices(memory: MemoryCoefficients) -> dict[str, float]:
    return {name: value for name, value in to_plain(memory).items() if name != "repacked_types"}


def test_memory_beyond_theory_is_constant_plus_vocabulary_plus_tensors_plus_rows() -> None:
    fit = fit_memory([seen("tinyllama"), seen("llama3.2:1b", 3, 28), seen("gemma2:2b", 2), seen("qwen2.5:1.5b", 1, 64)])
    assert prices(fit) == pytest.approx(prices(MEMORY), rel=0.01)


@pytest.mark.parametrize(
    "told",
    [
        # Two vocabularies; and three whose rows are all alike, so that rows and constant cannot be told apart.
        [seen("llama3.2:1b"), seen("llama3.2:3b"), seen("qwen2.5:1.5b")],
        [seen("tinyllama"), seen("llama3.2:1b"), seen("gemma2:2b"), seen("qwen2.5:1.5b")],
    ],
)
def test_prices_of_memory_that_cannot_be_told_apart_are_the_priors(told: list[MemoryObservation]) -> None:
    prior = replace(MEMORY, anonymous_constant_bytes=1e6)
    assert prices(fit_memory(told, prior)) == pytest.approx(prices(MEMORY), rel=0.001)


def test_a_type_is_repacked_whose_bytes_add_up_to_the_engines_buffer() -> None:
    file, work = model_file(find_model("llama3.2:1b"), "Q4_K_M"), Workload(2, 2)
    matrices = {group.quant_type: group.size_bytes for group in file.groups if group.role == "matrix"}
    seen = MemoryObservation(BUILD, file, work, {"repacked_bytes": matrices["Q4_K"]}, 1, 1)
    assert repacked_types([seen]) == {"Q4_K"}
