"""Arrival processes: exact rates, reproducible instants, gaps as a Poisson process has them."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.arrivals import ARRIVALS, due_s
from harness.errors import HarnessError


def test_constant_arrivals_are_one_over_the_rate_apart() -> None:
    assert due_s("constant", 4.0, 5, seed=1) == (0.0, 0.25, 0.5, 0.75, 1.0)


@settings(max_examples=40)
@given(st.sampled_from(ARRIVALS), st.floats(0.01, 1000), st.integers(1, 50), st.integers() | st.text(max_size=9))
def test_all_are_due_in_order_within_count_over_rate(arrival: str, rate: float, count: int, seed: int | str) -> None:
    due = due_s(arrival, rate, count, seed)
    assert len(due) == count
    assert list(due) == sorted(due)
    assert due[0] >= 0
    assert due[-1] <= count / rate


def test_a_seed_gives_the_same_instants_again_and_another_seed_others() -> None:
    first = due_s("poisson", 10, 50, seed="a")
    assert due_s("poisson", 10, 50, seed="a") == first
    assert due_s("poisson", 10, 50, seed="b") != first


def test_twice_the_rate_is_the_same_load_in_half_the_time() -> None:
    slow, fast = due_s("poisson", 5, 40, seed=3), due_s("poisson", 10, 40, seed=3)
    assert fast == pytest.approx([at_s / 2 for at_s in slow])


def test_poisson_gaps_are_exponential() -> None:
    due = due_s("poisson", 2.0, 20_000, seed=1)
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(due)]
    for longer_s in (0.1, 0.5, 1.0, 2.0):
        share = sum(gap > longer_s for gap in gaps_s) / len(gaps_s)
        expected = math.exp(-2.0 * longer_s)
        assert share == pytest.approx(expected, abs=4 * math.sqrt(expected / len(gaps_s)))


@pytest.mark.parametrize(
    ("arrival", "rate", "count", "words"),
    [
        ("bursty", 1.0, 1, "write constant or poisson"),
        ("poisson", 0.0, 1, "give a rate above 0"),
        ("poisson", math.nan, 1, "give a rate above 0"),
        ("constant", math.inf, 1, "give a rate above 0"),
        ("constant", 1.0, 0, "a count of at least 1"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_what_to_do(arrival: str, rate: float, count: int, words: str) -> None:
    with pytest.raises(HarnessError, match=words):
        due_s(arrival, rate, count, seed=1)
