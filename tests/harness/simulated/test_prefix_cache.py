"""What a slot still holds is not prefilled again: the numbers are those that a real engine gave."""

from __future__ import annotations

import pytest

from harness.simulated.law import Law
from tests.harness.simulated.client import instant, run, whole

LAW = Law(prefill_s_per_token=0.01, prefill_s_per_token_pair=0.0001)


def cached(*asks: dict[str, object], slots: int = 1) -> list[int]:
    """`cache_n` of one request after the other."""

    async def story() -> list[int]:
        async with instant(LAW, slots=slots) as url:
            return [(await whole(url, **ask))["timings"]["cache_n"] for ask in asks]

    return run(story())


def test_a_prompt_that_begins_like_the_last_one_reuses_the_beginning() -> None:
    prompt = list(range(100, 140))
    assert cached({"prompt": prompt}, {"prompt": prompt[:20] + list(range(500, 520))}) == [0, 20]


def test_the_last_token_of_the_same_prompt_again_is_evaluated_anyway() -> None:
    prompt = list(range(100, 140))
    assert cached({"prompt": prompt}, {"prompt": prompt}, {"prompt": prompt[:20]}) == [0, 39, 19]


def test_what_was_generated_is_cached_but_for_its_last_token() -> None:
    async def story() -> None:
        async with instant(LAW) as url:
            answer = await whole(url, prompt=[100, 101], n_predict=4)
            longer = await whole(url, prompt=[100, 101, *answer["tokens"], 900], n_predict=4)
            assert longer["timings"]["cache_n"] == 5
            assert longer["timings"]["prompt_n"] == 2

    run(story())


def test_without_cache_prompt_everything_is_prefilled_and_still_kept_for_the_next() -> None:
    prompt = list(range(100, 140))
    assert cached({"prompt": prompt}, {"prompt": prompt, "cache_prompt": False}, {"prompt": prompt}) == [0, 0, 39]


def test_each_slot_has_a_cache_of_its_own() -> None:
    prompt = list(range(100, 140))
    asks: list[dict[str, object]] = [{"prompt": prompt, "id_slot": slot} for slot in (0, 1, 0, 1)]
    assert cached(*asks, slots=2) == [0, 0, 39, 39]


def test_only_the_new_tokens_cost_prefill_but_they_attend_to_the_cached_ones() -> None:
    async def story() -> None:
        prompt = list(range(100, 140))
        async with instant(LAW) as url:
            await whole(url, prompt=prompt[:30], n_predict=1)
            timings = (await whole(url, prompt=prompt, n_predict=1))["timings"]
        assert (timings["cache_n"], timings["prompt_n"]) == (30, 10)
        assert timings["prompt_ms"] == pytest.approx(100 + 0.1 * (300 + 55))

    run(story())
