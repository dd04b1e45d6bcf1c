"""Money: prices by hand, and a purse that keeps its limit whatever the order of reserving and settling."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.price_list import Price, Tier
from harness.errors import HarnessError
from harness.purse import OverBudget, Purse, Reservation, plan_cost_usd, price_of, prompt_tokens_bound

GPT_4 = Price(30.0, None, 60.0, "given")
LONG_IS_DEARER = Price(1.0, 0.1, 8.0, "given", tiers=(Tier(200_000, 2.0, 0.2, 12.0),))


def test_a_cost_is_tokens_times_prices_per_million() -> None:
    assert GPT_4.cost_usd(1000, 500) == pytest.approx(0.03 + 0.03)
    assert GPT_4.cost_usd(1000, 500, cached_tokens=400) == GPT_4.cost_usd(1000, 500), "no price of its own"
    assert Price(10.0, 1.0, 0.0, "given").cost_usd(1000, 7, cached_tokens=400) == pytest.approx(0.006 + 0.0004)
    assert Price(1.0, None, 1.0, "given", request_usd=0.012).cost_usd(0, 0) == pytest.approx(0.012)


def test_a_prompt_above_a_tier_pays_its_prices_for_all_tokens() -> None:
    assert LONG_IS_DEARER.cost_usd(200_000, 1000) == pytest.approx(0.2 + 0.008)
    assert LONG_IS_DEARER.cost_usd(200_001, 1000) == pytest.approx(0.400002 + 0.012)


def test_the_worst_of_a_request_knows_volume_discounts_and_dear_caches() -> None:
    discount = Price(4.0, None, 4.0, "given", tiers=(Tier(1000, 1.0, 3.0, 1.0),))
    assert discount.worst_usd(2000, 1000) == pytest.approx(0.012), "1,000 tokens cost more than 2,000 may"
    written = Price(2.0, 0.2, 10.0, "given", written_usd_per_mtok=2.5)
    assert written.worst_usd(1000, 100) == pytest.approx(0.0025 + 0.001)
    assert written.cost_usd(1000, 100) == pytest.approx(0.002 + 0.001)


_usd = st.floats(0, 100)
_tiers = st.builds(Tier, st.integers(0, 500), _usd, st.none() | _usd, _usd, st.none() | _usd)
_prices = st.builds(
    Price,
    _usd,
    st.none() | _usd,
    _usd,
    st.just("given"),
    st.none() | _usd,
    st.floats(0, 0.1),
    st.lists(_tiers, max_size=2).map(lambda tiers: tuple(sorted(tiers, key=lambda tier: tier.above_tokens))),
)


@given(_prices, st.integers(0, 999), st.integers(0, 999), st.data())
def test_no_usage_within_the_worst_costs_more_than_the_worst(
    price: Price, prompt: int, output: int, data: st.DataObject
) -> None:
    used = data.draw(st.integers(0, prompt)), data.draw(st.integers(0, output)), data.draw(st.integers(0, 1200))
    assert price.worst_usd(prompt, output) >= price.booked_usd(*used)


@pytest.mark.parametrize(("model", "price_in", "price_out"), [("gpt-4", 30, 60), ("gpt-4-turbo", 10, 30)])
def test_listed_prices_are_those_of_the_provider(model: str, price_in: float, price_out: float) -> None:
    for provider in ("openai", None):
        price = price_of(model, provider, None, None)
        assert price is not None
        assert (price.input_usd_per_mtok, price.output_usd_per_mtok) == (price_in, price_out)
        assert price.source.startswith("genai-prices 0.")
        assert price.source.endswith(f"(openai, {model})")


@pytest.mark.parametrize(
    ("model", "provider"),
    [("gpt-4o", "openai"), ("gemini-2.5-pro", "google"), ("claude-sonnet-4-5", "anthropic"), ("sonar", "perplexity")],
)
def test_a_listed_price_costs_what_genai_prices_says(model: str, provider: str) -> None:
    import genai_prices

    price = price_of(model, provider, None, None)
    assert price is not None
    for prompt, output, share in itertools.product((1, 1000, 200_000, 200_001, 900_000), (0, 77), (0, 0.5)):
        cached = int(prompt * share) if price.cached_usd_per_mtok is not None else 0
        usage = genai_prices.Usage(input_tokens=prompt, output_tokens=output, cache_read_tokens=cached)
        theirs = genai_prices.calc_price(usage, model, provider_id=provider).total_price
        assert price.cost_usd(prompt, output, cached) == pytest.approx(float(theirs), rel=1e-12)


def test_a_price_given_wins_and_an_unknown_model_has_none() -> None:
    assert price_of("gpt-4", "openai", 1.0, 2.0) == Price(1.0, None, 2.0, "given")
    assert price_of("no-such-model", None, None, None) is None
    assert price_of("gpt-4", "no-such-provider", None, None) is None


@pytest.mark.parametrize(("price_in", "price_out"), [(1.0, None), (None, 1.0), (-1.0, 1.0), (1.0, math.nan)])
def test_half_a_price_and_no_price_are_refused(price_in: float | None, price_out: float | None) -> None:
    with pytest.raises(HarnessError, match="give"):
        price_of("gpt-4", None, price_in, price_out)


def test_a_request_that_could_pass_the_limit_is_refused_in_one_line_and_reserves_nothing() -> None:
    purse = Purse(0.10)
    first = purse.reserve(GPT_4, 1000, 500)
    with pytest.raises(OverBudget, match="0.0600 USD, with 0.0000 spent and 0.0600 reserved of 0.1000") as told:
        purse.reserve(GPT_4, 1000, 500)
    assert told.value.exit_status == 9
    assert "\n" not in str(told.value)
    assert purse.reserved_usd == first.usd
    purse.settle(first, 500, 250, None)
    assert purse.spent_usd == pytest.approx(0.03)
    assert purse.reserved_usd == 0
    purse.reserve(GPT_4, 1000, 500)


def test_eight_eighths_fit_a_limit_of_one() -> None:
    purse = Purse(1.0)
    for _ in range(8):
        purse.settle(purse.reserve(Price(0.125 * 1e6, None, 0.0, "given"), 1, 0), 1, 0, 0)
    assert purse.spent_usd == 1.0
    with pytest.raises(OverBudget):
        purse.reserve(Price(0.125 * 1e6, None, 0.0, "given"), 1, 0)


def test_without_usage_the_whole_reservation_is_booked_and_counted() -> None:
    purse = Purse(None)
    purse.settle(purse.reserve(GPT_4, 1000, 500), 1000, None, 0)
    assert purse.spent_usd == pytest.approx(0.06)
    assert purse.unknown_requests == 1


def test_a_request_that_was_never_sent_costs_nothing() -> None:
    purse = Purse(1.0)
    price = Price(1.0, None, 1.0, "given", request_usd=0.01)
    purse.settle(purse.reserve(price, 1000, 500), 0, 0, 0)
    assert (purse.spent_usd, purse.reserved_usd, purse.unknown_requests) == (0, 0, 0)


def test_more_than_was_reserved_is_booked_as_it_is_and_ends_the_spending() -> None:
    purse = Purse(0.07)
    purse.settle(purse.reserve(GPT_4, 1000, 500), 5000, 500, 0)
    assert purse.spent_usd == pytest.approx(0.18)
    with pytest.raises(OverBudget):
        purse.reserve(GPT_4, 1, 1)


def test_a_reservation_is_settled_once() -> None:
    purse = Purse(None)
    held = purse.reserve(GPT_4, 1000, 500)
    purse.settle(held, 1, 1, 0)
    with pytest.raises(ValueError, match="settle a request once"):
        purse.settle(held, 1, 1, 0)


def test_a_limit_is_an_amount_and_what_has_no_price_costs_nothing() -> None:
    with pytest.raises(HarnessError, match="an amount of 0 or more"):
        Purse(math.nan)
    purse = Purse(None)
    purse.settle(purse.reserve(None, 10**9, 10**9), None, None, None)
    assert (purse.spent_usd, purse.unknown_requests) == (0, 0)


@settings(max_examples=40)
@given(_prices, st.floats(0, 1), st.data())
def test_spent_and_reserved_never_pass_the_limit_in_any_order(price: Price, limit: float, data: st.DataObject) -> None:
    purse = Purse(limit)
    flying: list[tuple[Reservation, int, int]] = []
    for _ in range(data.draw(st.integers(1, 30))):
        settles = data.draw(st.booleans())
        if flying and settles:
            held, prompt, output = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            counts = [data.draw(st.none() | st.integers(0, most)) for most in (prompt, output, prompt)]
            purse.settle(held, *counts)
        else:
            prompt, output = data.draw(st.integers(0, 999)), data.draw(st.integers(0, 999))
            try:
                flying.append((purse.reserve(price, prompt, output), prompt, output))
            except OverBudget:
                assert purse.spent_usd + purse.reserved_usd + price.worst_usd(prompt, output) >= limit * (1 - 1e-12)
        assert purse._spent + purse._reserved <= limit
        assert purse.spent_usd <= limit
    for held, *_ in flying:
        purse.settle(held, None, None, None)
    assert purse.reserved_usd == 0
    assert purse.spent_usd <= limit


def test_a_prompt_has_at_most_its_bytes_and_a_template_of_tokens() -> None:
    assert prompt_tokens_bound("") == 64
    assert prompt_tokens_bound("four") == 68
    assert prompt_tokens_bound("é") == 64 + 3, "decomposed: e, and an accent of two bytes"
    assert prompt_tokens_bound("\ufdfa") == 64 + 33, "one character of three bytes, eighteen letters in NFKC"
    assert prompt_tokens_bound("\ud800") == 64 + 3, "half a surrogate pair is sent as something"


def _bytes_of(text: str) -> int:
    return len(text.encode())


def _composed_bytes_of(text: str) -> int:
    return len(unicodedata.normalize("NFKC", text).encode())


@settings(max_examples=50)
@given(st.text(), st.sampled_from([_bytes_of, _composed_bytes_of]))
def test_a_tokenizer_that_makes_a_token_of_each_byte_stays_within_the_bound(
    text: str, tokens: Callable[[str], int]
) -> None:
    assert tokens(text) + 64 <= prompt_tokens_bound(text)


def test_a_plan_costs_the_sum_of_its_requests() -> None:
    assert plan_cost_usd(GPT_4, [(1000, 500, 10), (100, 0, 3)]) == pytest.approx(0.6 + 0.009)
    assert plan_cost_usd(GPT_4, []) == 0
