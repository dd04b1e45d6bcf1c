"""When each token is ready."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulated.law import Law
from harness.simulated.timeline import Work, stalled_gaps, timeline


def test_the_first_token_is_ready_with_the_prefill_and_each_later_one_a_gap_on() -> None:
    law = Law(prefill_s_per_token=0.01, decode_s_per_token=0.1, decode_s_per_context_token=0.001)
    plan = timeline(law, Work(past_tokens=20, new_tokens=30, output_tokens=4), first_gap=0)
    # Contexts of the three steps: 50, 51, 52.
    assert plan.token_at_s == pytest.approx((0.3, 0.45, 0.601, 0.753))
    assert plan.prefill_s == pytest.approx(0.3)
    assert plan.decode_s == pytest.approx(0.453)


def test_a_chunk_of_four_leaves_with_its_fourth_token_and_the_rest_with_the_last() -> None:
    assert timeline(Law(), Work(0, 5, 10), 0).chunk_ends(4) == [4, 8, 10]
    assert timeline(Law(), Work(0, 5, 8), 0).chunk_ends(4) == [4, 8]
    assert timeline(Law(), Work(0, 5, 1), 0).chunk_ends(4) == [1]
    assert timeline(Law(), Work(0, 5, 3), 0).chunk_ends(1) == [1, 2, 3]


def test_a_stall_share_of_one_percent_is_one_gap_of_every_hundred() -> None:
    law = Law(stall_share=0.01, seed=3)
    for hundred in range(0, 10_000, 100):
        assert len(stalled_gaps(law, hundred, 100)) == 1


def test_stalls_stand_elsewhere_with_another_seed() -> None:
    assert stalled_gaps(Law(stall_share=0.01, seed=1), 0, 5000) != stalled_gaps(Law(stall_share=0.01, seed=2), 0, 5000)


def test_a_stalled_gap_is_longer_by_the_factor_and_the_others_are_not() -> None:
    law = Law(decode_s_per_token=0.01, stall_share=0.01, stall_factor=20)
    at_s = timeline(law, Work(0, 5, 301), first_gap=0).token_at_s
    gaps_s = sorted(after - before for before, after in pairwise(at_s))
    assert gaps_s == pytest.approx([0.01] * 297 + [0.2] * 3)


@given(share=st.floats(0.001, 1), first=st.integers(0, 3000), counts=st.lists(st.integers(0, 60), max_size=5))
def test_stalls_do_not_depend_on_how_gaps_are_split_into_requests(share: float, first: int, counts: list[int]) -> None:
    law = Law(stall_share=share)
    split: set[int] = set()
    begin = first
    for count in counts:
        split |= stalled_gaps(law, begin, count)
        begin += count
    assert split == stalled_gaps(law, first, begin - first)
    assert abs(len(split) - share * (begin - first)) <= 2


def test_jitter_has_mean_one_and_the_planted_spread() -> None:
    law = Law(decode_s_per_token=1.0, jitter=0.2)
    gaps_s = [after - before for before, after in pairwise(timeline(law, Work(0, 1, 20_001), 0).token_at_s)]
    assert fmean(gaps_s) == pytest.approx(1, rel=0.01)
    assert stdev(gaps_s) == pytest.approx(0.2, rel=0.05)


def test_the_same_seed_gives_the_same_timeline_and_the_next_request_another() -> None:
    law, work = Law(decode_s_per_token=0.01, jitter=0.2, seed=5), Work(0, 5, 20)
    assert timeline(law, work, 0) == timeline(law, work, 0)
    assert timeline(law, work, 0) != timeline(law, work, 19)
