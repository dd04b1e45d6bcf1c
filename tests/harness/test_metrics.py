"""The definitions of README, "What the words mean", on hand-made streams."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics import (
    closure_s,
    e2e_s,
    is_settled,
    itl_s,
    lateness_s,
    median_interval,
    percentile,
    tpot_s,
    ttft_s,
)
from harness.record import ServerTimings
from harness.stability import effective_count
from tests.harness.making import request


def test_ttft_is_the_first_wire_instant_minus_sent_and_not_the_delivered_one() -> None:
    assert ttft_s(request([120, 140], late_ms=50)) == pytest.approx(0.120)


def test_tpot_of_single_token_chunks_is_the_mean_gap() -> None:
    assert tpot_s(request([100, 110, 120, 130])) == pytest.approx(0.010)


def test_tpot_with_chunks_of_four_counts_tokens_and_not_chunks() -> None:
    # 12 tokens at 10 ms each, the first chunk complete at 130 ms, the last at 210 ms.
    four_at_once = request([130, 170, 210], [4, 4, 4])
    assert tpot_s(four_at_once) == pytest.approx(0.010)


def test_tpot_is_unknown_where_the_server_does_not_count_tokens() -> None:
    assert tpot_s(request([100, 110], [None, None])) is None


def test_tpot_is_unknown_where_everything_came_in_one_chunk() -> None:
    assert tpot_s(request([100], [8])) is None


def test_tpot_is_unknown_where_everything_came_at_one_instant() -> None:
    assert tpot_s(request([100, 100, 100])) is None
    assert tpot_s(request([100, 100], [1, 7])) is None


def test_what_came_at_the_instant_of_sending_was_not_timed() -> None:
    assert (ttft_s(request([0, 10])), e2e_s(request([0, 0]))) == (None, None)


def test_a_request_without_tokens_has_no_times() -> None:
    empty = request([])
    assert (ttft_s(empty), tpot_s(empty), e2e_s(empty)) == (None, None, None)


def test_a_stall_of_twice_the_gap_in_one_percent_of_gaps_shows_in_the_99th_percentile() -> None:
    arrivals = [100.0]
    for gap in range(200):
        arrivals.append(arrivals[-1] + (20 if gap % 100 == 50 else 10))
    gaps = itl_s([request(arrivals)])
    assert percentile(gaps, 0.5) == pytest.approx(0.010)
    assert percentile(gaps, 0.996) is None
    assert percentile(gaps, 0.99) == pytest.approx(0.020), "two of 200 gaps are twice as long"


def test_the_99th_percentile_of_20_values_is_refused() -> None:
    assert percentile([0.01] * 20, 0.99) is None
    assert percentile([0.01] * 100, 0.99) == 0.01


def test_lateness_is_delivered_minus_wire() -> None:
    assert lateness_s([request([100, 110], late_ms=3)]) == pytest.approx([0.003, 0.003])


def test_closure_is_what_the_servers_own_times_leave_of_e2e() -> None:
    from dataclasses import replace

    told = replace(request([100, 150]), timings=ServerTimings(prefill_s=0.095, decode_s=0.049))
    assert closure_s(told) == pytest.approx(0.006)


def test_closure_is_unknown_where_the_server_keeps_no_time() -> None:
    assert closure_s(request([100, 150])) is None


def test_the_interval_of_a_median_is_refused_under_six_values() -> None:
    assert median_interval([1, 2, 3, 4, 5]) is None


def test_the_interval_of_a_median_of_six_is_their_range_and_of_ten_leaves_one_out_on_each_side() -> None:
    assert median_interval([1, 2, 3, 4, 5, 6]) == (1, 6)
    assert median_interval([1, 9, 3, 7, 5, 6, 4, 8, 2, 10]) == (2, 9)


@given(st.lists(st.floats(min_value=0.001, max_value=1000), min_size=6, max_size=200))
def test_the_interval_of_a_median_holds_the_median(values: list[float]) -> None:
    from statistics import median

    interval = median_interval(values)
    if interval is None:
        assert effective_count(values) < 6
        return
    assert interval[0] <= median(values) <= interval[1]


def test_equal_values_are_settled_and_few_are_not() -> None:
    assert is_settled([2.0] * 6, target=0.03)
    assert not is_settled([2.0] * 5, target=0.03)
    assert not is_settled([2.0, 2.0, 2.0, 2.0, 2.0, 3.0], target=0.03)


@pytest.mark.parametrize("count", [6, 10, 50, 200, 201, 205, 300, 301, 500, 1001])
def test_the_interval_of_a_median_holds_it_in_at_least_95_of_100_cases(count: int) -> None:
    values = random.Random(0).sample(range(count), count)
    assert effective_count(values) == count, "in this order neighbours tell nothing of each other"
    interval = median_interval(values)
    assert interval is not None
    outside = 2 * sum(math.comb(count, below) for below in range(round(interval[0]) + 1)) / 2**count
    assert outside <= 0.05
