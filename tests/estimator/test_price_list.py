"""Price lists: every kind of token by hand and against genai-prices, batch and unknown prices, never a token twice."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.errors import EstimatorError, UnknownName
from estimator.limits import Limits, limits_in
from estimator.price_list import Price, Tier, listed_price

PRICE = Price(3.0, 0.3, 15.0, "stated", written_usd_per_mtok=3.75)
_usd = st.floats(0, 1000)
_tokens = st.integers(0, 10**6)


def test_each_token_of_a_prompt_is_charged_once() -> None:
    # 500 x 3 + 400 x 0.3 + 100 x 3.75 + 300 x 15 USD per million.
    assert PRICE.cost_usd(1000, 300, cached_tokens=400, written_tokens=100) == pytest.approx(0.006495, rel=1e-12)


def test_tokens_without_a_price_of_their_own_cost_as_others() -> None:
    plain = Price(3.0, None, 15.0, "stated")
    assert plain.cost_usd(1000, 300, 400, 100) == plain.cost_usd(1000, 300)
    assert plain.cost_usd(1000, 200, reasoning=100) == plain.cost_usd(1000, 300)
    thinking = replace(plain, reasoning_usd_per_mtok=5.0)
    assert thinking.cost_usd(0, 200, reasoning=100) == pytest.approx((200 * 15 + 100 * 5) / 1e6)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    ("model", "provider"),
    [("claude-sonnet-4-5", "anthropic"), ("gpt-4-turbo", "openai"), ("o3", "openai"), ("gemini-2.5-pro", "google")],
)
def test_a_listed_price_costs_what_the_list_says_itself(model: str, provider: str, batch: bool) -> None:
    import genai_prices

    price = listed_price(model, provider, batch)
    assert price is not None
    context = {"processing": "batch"} if batch else None
    for prompt in (1000, 300_000):
        written = 100 if price.written_usd_per_mtok is not None else 0
        cached = 400 if price.cached_usd_per_mtok is not None else 0
        usage = genai_prices.Usage(
            input_tokens=prompt, cache_read_tokens=cached, cache_write_tokens=written, output_tokens=300
        )
        theirs = genai_prices.calc_price(usage, model, provider_id=provider, price_context=context).total_price
        assert price.cost_usd(prompt, 200, cached, written, reasoning=100) == pytest.approx(float(theirs), rel=1e-12)


def test_reasoning_tokens_have_the_price_that_the_list_gives_them() -> None:
    price = listed_price("sonar-deep-research", "perplexity")
    assert price is not None
    assert price.reasoning_usd_per_mtok == 3.0


def test_a_batch_price_that_is_not_listed_is_unknown_and_not_half() -> None:
    assert listed_price("deepseek-chat", "deepseek") is not None
    assert listed_price("deepseek-chat", "deepseek", batch=True) is None


def test_a_price_says_since_when_it_holds_if_the_list_does() -> None:
    batch, undated = listed_price("gpt-4-turbo", "openai", batch=True), listed_price("gpt-4-turbo", "openai")
    assert batch is not None
    assert undated is not None
    assert (batch.since, undated.since) == ("2026-10-14", None)
    assert (batch.input_usd_per_mtok, batch.output_usd_per_mtok) == (5.0, 15.0)


@pytest.mark.parametrize(
    ("model", "provider", "message"),
    [
        ("gpt-4-tubro", "openai", "no price of 'gpt-4-tubro' is listed at openai; did you mean gpt-4-turbo"),
        ("gpt-4", "opnai", "unknown provider 'opnai'; did you mean openai"),
    ],
)
def test_an_unknown_name_says_which_ones_are_near(model: str, provider: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        listed_price(model, provider)


@given(st.builds(Tier, st.just(-1), _usd, st.none() | _usd, _usd, st.none() | _usd, st.none() | _usd), st.data())
def test_more_tokens_never_cost_less(tier: Tier, data: st.DataObject) -> None:
    prompt, output, thought, more = (data.draw(_tokens) for _ in range(4))
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached))
    base = tier.cost_usd(prompt, output, cached, written, thought)
    assert tier.cost_usd(prompt + more, output, cached, written, thought) >= base
    assert tier.cost_usd(prompt, output + more, cached, written, thought) >= base
    assert tier.cost_usd(prompt, output, cached, written, thought + more) >= base


@given(_usd, _usd, _usd, st.floats(1, 10), _tokens, _tokens)
def test_a_dearer_list_never_costs_less(
    fresh: float, output: float, cached: float, factor: float, tokens: int, out: int
) -> None:
    cheap = Price(fresh, cached, output, "stated")
    for dear in (
        replace(cheap, input_usd_per_mtok=fresh * factor),
        replace(cheap, cached_usd_per_mtok=cached * factor),
        replace(cheap, output_usd_per_mtok=output * factor),
    ):
        assert dear.cost_usd(tokens, out, tokens // 3) >= cheap.cost_usd(tokens, out, tokens // 3)


def test_limits_are_read_with_their_unit() -> None:
    assert limits_in("ttft=500ms, TPOT=0.05s") == Limits(0.5, 0.05)
    assert limits_in("tpot=50ms") == Limits(None, 0.05)


@pytest.mark.parametrize("text", ["", "ttft", "ttft=1", "e2e=1s", "ttft=-1s", "ttft=1s,"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(EstimatorError, match="is no limit: write --slo"):
        limits_in(text)
