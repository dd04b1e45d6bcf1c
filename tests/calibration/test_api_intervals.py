"""Intervals of quantiles: they hold the true quantile as often as they say, at every size; none on too few."""

from __future__ import annotations

import math
import random

import pytest

from calibration.api.intervals import interval, leverage
from estimator.api.answer import ApiQuestion, Interval, answer
from estimator.api.file import TtftLaw
from tests.calibration.test_api import CONSTANT_S, PROMPT_S, TOKEN_S, entry, planted

# exp(1.2816 sigma) of the planted lognormal spread of the first token, sigma 0.3.
FIRST_P90 = math.exp(1.2816 * 0.3)


def holds(ends: Interval, value: float) -> bool:
    assert ends is not None
    return ends[0] <= value <= ends[1]


def test_the_ranks_are_those_of_the_binomial_table() -> None:
    values = [float(value) for value in range(1, 21)]
    random.Random(3).shuffle(values)
    # 20 values: P(B < 6) = 0.0207, P(B < 7) = 0.0577 for the median.
    assert interval(values, 0.5) == (6.0, 15.0)


@pytest.mark.parametrize(("quantile", "needed"), [(0.5, 5), (0.9, 29), (0.99, 299)])
def test_a_quantile_has_no_interval_before_it_can_be_exceeded(quantile: float, needed: int) -> None:
    dice = random.Random(3)
    values = [dice.random() for _ in range(needed)]
    assert interval(values[:-1], quantile) is None
    assert interval([0.5] * needed, quantile) == (0.5, 0.5)


def test_timed_out_requests_may_be_beyond_the_interval() -> None:
    assert interval([1.0] * 40, 0.9) is not None
    assert interval([1.0] * 40, 0.9, late=5) is None
    assert interval([1.0] * 40, 0.5, late=5) == (1.0, 1.0)


def test_neighbours_that_depend_on_each_other_count_for_fewer() -> None:
    dice = random.Random(5)
    plain = [dice.random() for _ in range(200)]
    held = [value for value in plain[:20] for _ in range(10)]
    few, many = interval(held, 0.5), interval(plain, 0.5)
    assert few is not None
    assert many is not None
    assert few[1] - few[0] > 2 * (many[1] - many[0])


def test_a_line_is_surest_in_the_middle_and_less_sure_beyond_it() -> None:
    found = leverage([100] * 50 + [1000] * 50, 1.0, 0.001)
    law = TtftLaw(1.0, 0.001, {}, {}, found)
    # Two sizes: each is known by half of the requests, so half as well as all of them tell one value.
    assert law.stretch(100) == pytest.approx(math.sqrt(2))
    assert law.stretch(1000) == pytest.approx(math.sqrt(2))
    assert min(law.stretch(size) for size in range(100, 1001, 10)) == pytest.approx(1.0, abs=0.01)
    assert law.stretch(100) < law.stretch(10)
    assert law.stretch(1000) < law.stretch(4000)
    assert leverage([550] * 9, 1.0, 0.0) is None


def test_intervals_hold_the_true_quantiles_as_often_as_they_say() -> None:
    fits = 60
    held = dict.fromkeys(("p50 short", "p50 middle", "p50 long", "p90 middle", "token", "end to end"), 0)
    for seed in range(fits):
        found = entry(planted(60, seed=1000 + seed))
        for word, prompt in (("short", 64), ("middle", 256), ("long", 1024)):
            true = CONSTANT_S + PROMPT_S * prompt
            said = answer(found, ApiQuestion("planted", prompt, 512))
            held[f"p50 {word}"] += holds(said.ttft_interval_s["p50"], true)
            if word == "middle":
                held["p90 middle"] += holds(said.ttft_interval_s["p90"], true * FIRST_P90)
                held["token"] += holds(said.time_per_token_interval_s["p50"], TOKEN_S)
                held["end to end"] += holds(said.end_to_end_interval_s["p50"], true + TOKEN_S * 511)
    # 54 of 60 expected; under 47 by chance once in a hundred.
    assert all(count >= 47 for count in held.values()), held
