"""Values in the order in which they were measured: how many they count for, and whether the halves agree."""

from __future__ import annotations

import random
from collections.abc import Callable
from statistics import median

import pytest

from harness.metrics import median_interval
from harness.stability import effective_count, half_shift


def independent(rng: random.Random, count: int) -> list[float]:
    return [rng.gauss(0, 1) for _ in range(count)]


def dependent(rng: random.Random, count: int, rho: float = 0.6) -> list[float]:
    """A first-order autoregression of unit variance and median 0."""
    values = [rng.gauss(0, 1)]
    for _ in range(count - 1):
        values.append(rho * values[-1] + (1 - rho**2) ** 0.5 * rng.gauss(0, 1))
    return values


def coverage(series: Callable[[random.Random, int], list[float]], count: int, runs: int = 600) -> float:
    """The share of runs whose interval holds the true median, 0; runs without an interval claim nothing."""
    rng = random.Random(1)
    intervals = [median_interval(series(rng, count)) for _ in range(runs)]
    return sum(1 for found in intervals if found is None or found[0] <= 0 <= found[1]) / runs


def test_independent_values_count_in_full_more_often_than_not() -> None:
    rng = random.Random(1)
    full = sum(effective_count(independent(rng, 60)) == 60 for _ in range(400))
    assert full > 0.75 * 400


def test_values_that_come_in_blocks_count_for_about_as_many_as_there_are_blocks() -> None:
    rng = random.Random(1)
    counts = [effective_count([value for value in independent(rng, 12) for _ in range(10)]) for _ in range(100)]
    assert 6 < median(counts) < 24


def test_values_that_alternate_or_are_all_equal_count_in_full() -> None:
    assert effective_count([1.0, 2.0] * 20) == 40
    assert effective_count([2.0] * 20) == 20


def test_the_interval_holds_the_median_as_often_as_it_says_where_values_are_independent() -> None:
    assert coverage(independent, 40) >= 0.94


def test_the_interval_of_dependent_values_is_wider_and_nearly_keeps_its_promise() -> None:
    """Without regard to dependence it holds in about 70 % of runs."""
    assert coverage(dependent, 100) >= 0.88


def test_halves_that_differ_by_more_than_chance_are_told_and_others_are_not() -> None:
    rng = random.Random(1)
    steady = [1 + 0.02 * rng.gauss(0, 1) for _ in range(20)]
    assert half_shift(steady) is None
    shift = half_shift(steady[:10] + [1.2 * value for value in steady[10:]])
    assert shift is not None
    assert abs(shift - 0.2) < 0.05
    assert half_shift([1.0] * 3 + [2.0] * 3) is None, "too few to say"


@pytest.mark.parametrize("count", [8, 10, 12, 20])
@pytest.mark.parametrize("spread", [0.08, 0.12])
def test_halves_of_independent_values_are_told_apart_by_chance_in_3_of_1000_runs(count: int, spread: float) -> None:
    rng = random.Random(2)
    alarms = sum(half_shift([rng.lognormvariate(0, spread) for _ in range(count)]) is not None for _ in range(4000))
    assert alarms <= 0.005 * 4000


@pytest.mark.parametrize(("count", "told"), [(8, False), (10, False), (12, True), (13, True), (120, True)])
def test_a_step_of_a_tenth_is_told_from_the_first_count_whose_halves_cannot_part_by_chance(
    count: int, told: bool
) -> None:
    half = count // 2
    steps = [1 + at / 1000 for at in range(half)] + [1.1 + at / 1000 for at in range(count - half)]
    assert (half_shift(steps) is not None) == told
    assert (half_shift(steps[::-1]) is not None) == told


def test_values_equal_in_both_halves_and_values_of_nothing_differ_by_nothing() -> None:
    assert half_shift([1.0, 2.0] * 10) is None
    assert half_shift([0.0] * 20) is None


def test_the_orders_that_chance_allows_are_those_of_published_tables() -> None:
    # Critical values of U at 0.2 % and 1 %, two-sided, of 10 and 10: 8 and 16; of 0.3 % in between.
    rng = random.Random(3)
    orders = [rng.sample(range(20), 20) for _ in range(20_000)]
    rare = sum(half_shift([1.2**rank for rank in order]) is not None for order in orders)
    assert 0.0015 * 20_000 < rare < 0.004 * 20_000
