"""The reference fit on the published machines and models with planted speeds: prices, residual, intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.published.building import phase_fit
from calibration.published.choosing import LENGTHS, everywhere, leave_out, machine_key
from calibration.published.fitting import (
    Array,
    Samples,
    Settings,
    fit_physics,
    fit_residual,
    samples_of,
    weighted_quantile,
)
from calibration.published.gate import Gated, gated
from calibration.published.intervals import LEAST_MACHINES, reach_of, scores
from calibration.published.rows import published_rows
from estimator.reference.machine import Machine
from estimator.reference.speed import residual_of
from tests.calibration.published_rows import on, row

PRICES = {
    "weights.16bit": 1.1, "weights.8bit": 1.2, "weights.k": 1.5, "weights.plain": 1.3, "cache": 2.0, "layer": 3e-6,
    "step": 2e-4, "unpack.16bit": 2.0, "unpack.8bit": 3.0, "unpack.k": 5.0, "unpack.plain": 4.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def gate() -> Gated:
    return gated(published_rows())


@pytest.fixture(scope="module")
def samples(gate: Gated) -> Samples:
    return samples_of("discrete", "decode", gate.kept, LENGTHS)


def planted(samples: Samples, scale: Array | float = 1.0) -> Samples:
    """The same rows with times of known prices."""
    return replace(samples, seconds=samples.times @ np.array([PRICES[name] for name in samples.terms]) * scale)


def everything(samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(len(samples.rows))


def test_planted_prices_are_found_again(samples: Samples) -> None:
    made = planted(samples)
    physics = fit_physics(made, everything(made))
    assert physics.seconds(made) == pytest.approx(made.seconds, rel=0.002)
    found = dict(zip(made.terms, physics.prices, strict=True))
    assert found["weights.plain"] == pytest.approx(PRICES["weights.plain"], rel=0.02)
    assert found["step"] == pytest.approx(PRICES["step"], rel=0.02)


def test_a_few_absurd_rows_hardly_move_the_prices(samples: Samples) -> None:
    scale = np.ones(len(samples.rows))
    scale[::25] = 4.0
    made = planted(samples, scale)
    ordinary = scale == 1.0
    assert fit_physics(made, everything(made)).seconds(made)[ordinary] == pytest.approx(
        made.seconds[ordinary], rel=0.05
    )


def test_no_price_is_negative_whatever_the_data(samples: Samples) -> None:
    random = np.random.default_rng(3).lognormal(0, 1, len(samples.rows))
    assert (fit_physics(planted(samples, random), everything(samples)).prices >= 0).all()


def test_a_back_end_that_is_slower_throughout_gets_its_factor(samples: Samples) -> None:
    slow = np.array([1.4 if row.back_end == "ROCm" else 1.0 for row in samples.rows])
    made = planted(samples, slow)
    factors = fit_physics(made, everything(made)).factors
    assert factors["ROCm"] / factors["CUDA"] == pytest.approx(1.4, rel=0.01)


def test_what_physics_leaves_is_followed_near_measurements_and_forgotten_far_from_them(samples: Samples) -> None:
    turing = np.array([1.3 if row.machine and row.machine.family == "Turing" else 1.0 for row in samples.rows])
    made = planted(samples, turing)
    fitted = fit_residual(made, fit_physics(made, everything(made)), everywhere(made, Settings(1.0, 0.01)))
    here = np.flatnonzero(turing > 1)
    assert np.median(fitted.seconds(made, here) / made.seconds[here]) == pytest.approx(1.0, abs=0.03)
    machine = made.rows[here[0]].machine
    assert machine is not None
    far = residual_of(phase_fit(made, fitted, {}), [20.0] * made.at.shape[1], machine)
    assert far == pytest.approx((0.0, 1.0), abs=1e-9)


def test_plain_python_evaluates_the_file_as_the_fit_does(samples: Samples) -> None:
    chosen = {"CUDA": Settings(2.0, 0.03), "ROCm": Settings(4.0, 0.3), "Vulkan": Settings(None)}
    fitted = fit_residual(samples, fit_physics(samples, everything(samples)), chosen)
    file = phase_fit(samples, fitted, {})
    asked = np.arange(0, len(samples.rows), 37)
    logs = np.log(fitted.seconds(samples, asked) / fitted.physics.seconds(samples)[asked])
    for index, log in zip(asked, logs, strict=True):
        machine = samples.rows[index].machine
        assert isinstance(machine, Machine)
        found, distance = residual_of(file, samples.at[index], machine)
        assert found == pytest.approx(log, abs=1e-5)
        assert distance == pytest.approx(0.0, abs=1e-9)


def test_a_machine_left_out_has_no_part_in_its_own_prediction(gate: Gated) -> None:
    """Its times a hundredfold: other machines' predictions change, its own does not."""
    samples = samples_of("discrete", "decode", [row for row in gate.kept if "Ada" in row.machine_name], LENGTHS)
    assert len(samples.machines) > 1
    victim = samples.rows[0].machine_name
    mine = np.array([row.machine_name == victim for row in samples.rows])
    changed = replace(samples, seconds=np.where(mine, samples.seconds * 100, samples.seconds))
    settings = Settings(2.0, 0.03)
    before, after = (
        leave_out(entry, machine_key, everything(entry), (settings,))[settings].seconds for entry in (samples, changed)
    )
    assert (before[mine] == after[mine]).all()
    assert (before[~mine] != after[~mine]).any()


def test_a_class_that_nobody_measured_has_the_price_of_the_others(gate: Gated) -> None:
    rows = [row for row in gate.kept if row.quant == "Q4_0" or row.phase == "prefill"]
    made = samples_of("discrete", "decode", rows, LENGTHS)
    physics = fit_physics(planted(made), everything(made))
    found = dict(zip(made.terms, physics.prices, strict=True))
    assert (
        "weights.8bit" in phase_fit(made, fit_residual(made, physics, everywhere(made, Settings(None))), {}).unmeasured
    )
    assert min(found["weights.plain"], found["weights.k"]) - 1e-6 <= found["weights.8bit"]
    assert found["weights.8bit"] <= max(found["weights.plain"], found["weights.k"]) + 1e-6


def test_the_weighted_quantile_is_the_least_value_that_has_the_share() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0])
    assert [weighted_quantile(values, weights, level) for level in (0.25, 0.5, 0.75, 0.8, 1.0)] == [1, 2, 2, 3, 3]


def test_an_interval_reaches_the_conformal_rank_of_machines_and_needs_nine() -> None:
    """Ten machines with errors of 1 to 10 %: the rank 0.9 x 11 of 10 is the largest."""
    rows = [on(f"card {number}", row()) for number in range(10)]
    made = samples_of("discrete", "decode", rows, LENGTHS)
    sizes = np.arange(1, 11) / 100
    found = scores(made, made.seconds / np.exp(sizes), np.zeros(10))
    assert reach_of(made, found, "CUDA", np.arange(10)) == pytest.approx(0.10)
    assert reach_of(made, found, "CUDA", np.arange(LEAST_MACHINES - 1)) is None


def test_scores_allow_for_the_distance(samples: Samples) -> None:
    ones = np.ones(len(samples.rows))
    assert scores(samples, samples.seconds / np.e, ones) == pytest.approx(0.5 * ones)
