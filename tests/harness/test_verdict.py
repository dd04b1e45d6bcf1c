"""Each reason to distrust a cell, alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.metrics import cpu_share, known
from harness.record import Request, Sample, ServerTimings, Usage
from harness.verdict import cell_verdict
from tests.harness.making import MS, request


def quiet(count: int = 6) -> list[Request]:
    return [request([100 + index % 2, 110 + index % 2, 120 + index % 2]) for index in range(count)]


def word(requests: list[Request], failed: int = 0) -> str:
    return cell_verdict(requests, failed).word


def test_repeats_that_agree_are_valid() -> None:
    assert word(quiet()) == "VALID"


def test_no_success_at_all_is_failed() -> None:
    assert word([], failed=3) == "FAILED"


def test_one_repeat_is_noisy_since_its_spread_is_unknown() -> None:
    assert "one repeat only" in cell_verdict(quiet(1), 0).reasons[0]


def test_repeats_that_scatter_are_noisy_and_the_reason_says_what_to_do() -> None:
    scattered = [request([first, first + 10]) for first in (50, 100, 150, 200)]
    verdict = cell_verdict(scattered, 0)
    assert verdict.word == "NOISY"
    assert "larger --budget" in verdict.reasons[0]


def test_the_same_scatter_over_many_repeats_is_valid_since_the_median_is_known_well() -> None:
    scattered = [request([90 + 20 * (index % 2), 110 + 20 * (index % 2)]) for index in range(40)]
    assert word(scattered) == "VALID"


def test_a_client_that_takes_up_chunks_late_is_client_bound() -> None:
    late = [request([100 + 10 * i for i in range(50)], late_ms=2) for _ in range(3)]
    assert word(late) == "CLIENT-BOUND"


def test_tokens_found_in_the_cache_that_were_not_meant_to_be_there_are_flagged() -> None:
    cached = [replace(r, usage=Usage(64, 3, 60)) for r in quiet()]
    verdict = cell_verdict(cached, 0)
    assert "60 tokens in the cache where 0 were meant" in verdict.reasons[0]


def test_a_client_and_a_server_that_disagree_on_the_duration_are_flagged() -> None:
    open_ = [replace(r, timings=ServerTimings(prefill_s=0.05, decode_s=0.02)) for r in quiet()]
    assert "disagree by 50 ms" in cell_verdict(open_, 0).reasons[0]


def test_an_engine_that_others_took_cpu_from_is_noisy() -> None:
    def shares(share: float) -> list[float]:
        samples = [Sample(at * 10 * MS, 1, 1, 0, 1, at * 0.010 * 2 * share) for at in range(13)]
        return known(cpu_share(samples, threads=2) for _ in quiet())

    assert cell_verdict(quiet(), 0, shares(0.98)).word == "VALID"
    verdict = cell_verdict(quiet(), 0, shares(0.7))
    assert verdict.word == "NOISY"
    assert "70% of the CPU" in verdict.reasons[0]


def test_answers_that_came_at_one_instant_are_flagged_and_one_of_many_is_not() -> None:
    whole = request([100, 100, 100])
    verdict = cell_verdict([*quiet(2), whole], 0)
    assert verdict.word == "NOISY"
    assert "1 of 3 answers arrived at one instant" in verdict.reasons[0]
    assert "take away what buffers the stream" in verdict.reasons[0]
    assert word([*quiet(11), whole]) == "VALID"
    assert word([request([100]) for _ in range(6)]) == "VALID", "one token has no gaps"


@pytest.mark.parametrize("count", [1, 2, 5, 6, 8, 12])
@pytest.mark.parametrize("first_ms", [0, 100])
def test_requests_of_which_nothing_was_timed_are_judged_without_dividing_by_nothing(count: int, first_ms: int) -> None:
    verdict = cell_verdict([request([first_ms] * 5) for _ in range(count)], 0)
    assert f"{count} of {count} answers arrived at one instant" in " ".join(verdict.reasons)


def test_failures_beside_successes_are_flagged() -> None:
    assert "2 more requests failed" in cell_verdict(quiet(), 2).reasons[0]
