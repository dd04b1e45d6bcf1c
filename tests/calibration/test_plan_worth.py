"""Whether planned cells are worth their time: the benchmark's machines, a few of them (`tests.benchmarks.planning`)."""

from __future__ import annotations

from statistics import median

import pytest

from tests.benchmarks.planning import arms

SEEDS = range(200, 212)
PRICES = ("decode prices", "prefill prices")


@pytest.mark.slow
def test_a_third_of_the_grids_time_is_enough_and_chance_does_worse_in_a_tenth() -> None:
    results = [arms(seed, (1 / 3, 1 / 10)) for seed in SEEDS]
    error = {name: median(sum(result[name][key] for key in PRICES) for result in results) for name in results[0]}
    spent = {name: max(result[name]["s"] / result["all"]["s"] for result in results) for name in results[0]}
    assert spent["optimal 1/3"] <= 1 / 3
    assert spent["random 1/10"] <= 1 / 10
    assert error["optimal 1/3"] <= 1.15 * error["all"]
    assert error["optimal 1/10"] < error["random 1/10"]
