"""What a request to an API costs at a price list: prices by tier, as stated or as the package genai-prices has them.

genai-prices (https://github.com/pydantic/genai-prices) carries its list with it and asks nobody. Amounts are exact
fractions of US dollars until they are answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from estimator.errors import UnknownName
from estimator.nearest import did_you_mean

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices of a request with more than `above_tokens` prompt tokens, in USD per million tokens.

    All of its tokens are charged at them, not only those above. None: no price of its own, charged as input (tokens
    found in a cache or written to one) or as output (reasoning tokens).
    """

    above_tokens: int
    input_usd_per_mtok: float
    cached_usd_per_mtok: float | None
    output_usd_per_mtok: float
    written_usd_per_mtok: float | None = None
    reasoning_usd_per_mtok: float | None = None

    def cost_usd(
        self, prompt_tokens: int, output_tokens: int, cached_tokens: int, written_tokens: int = 0, reasoning: int = 0
    ) -> Fraction:
        """(prompt - cached - written) p_in + cached p_cached + written p_written + output p_out + reasoning p_think.

        Per million, in USD; `reasoning` tokens come on top of `output_tokens`. No token is charged twice: one that is
        written to a cache costs p_written in place of p_in (as genai-prices and Anthropic count).
        """
        cached = min(max(cached_tokens, 0), prompt_tokens)
        written = min(max(written_tokens, 0), prompt_tokens - cached)
        priced = (
            (prompt_tokens - cached - written, self.input_usd_per_mtok),
            (cached, _else(self.cached_usd_per_mtok, self.input_usd_per_mtok)),
            (written, _else(self.written_usd_per_mtok, self.input_usd_per_mtok)),
            (output_tokens, self.output_usd_per_mtok),
            (reasoning, _else(self.reasoning_usd_per_mtok, self.output_usd_per_mtok)),
        )
        return sum((tokens * Fraction(price) for tokens, price in priced), Fraction(0)) / 10**6

    def dearest(self) -> Tier:
        """These prices with every prompt token at the dearest of read, written to a cache and found in it.

        What is not found in a cache may be written to it at a price of its own (OpenAI, Anthropic), which usage
        in a record does not tell.
        """
        written = max(self.input_usd_per_mtok, self.written_usd_per_mtok or 0.0)
        return Tier(self.above_tokens, written, self.cached_usd_per_mtok, self.output_usd_per_mtok)


@dataclass(frozen=True, slots=True)
class Price:
    """A price list in USD per million tokens, and whose it is; None as in `Tier`.

    `request_usd` comes on top of each request. `tiers`, ascending, replace the prices for long prompts. `since` is the
    day from which on the list says that the price holds, None where it gives none.
    """

    input_usd_per_mtok: float
    cached_usd_per_mtok: float | None
    output_usd_per_mtok: float
    source: str
    written_usd_per_mtok: float | None = None
    request_usd: float = 0.0
    tiers: tuple[Tier, ...] = ()
    reasoning_usd_per_mtok: float | None = None
    since: str | None = None

    def cost_usd(
        self,
        prompt_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        written_tokens: int = 0,
        reasoning: int = 0,
    ) -> float:
        """USD of one request: `Tier.cost_usd` at the prices of its length, and `request_usd`."""
        tier = self.tier_of(prompt_tokens)
        usd = tier.cost_usd(prompt_tokens, output_tokens, cached_tokens, written_tokens, reasoning)
        return float(usd + Fraction(self.request_usd))

    def booked_usd(self, prompt_tokens: int, output_tokens: int, cached_tokens: int = 0) -> float:
        """USD of one request at most, where its usage is known: tokens not found in a cache may have been written."""
        tier = self.tier_of(prompt_tokens).dearest()
        return float(tier.cost_usd(prompt_tokens, output_tokens, cached_tokens) + Fraction(self.request_usd))

    def worst_usd(self, prompt_tokens: int, output_tokens: int) -> float:
        """USD of one request with up to these tokens, at most: no usage within them is booked above it.

        The dearest over the tiers that it can reach, with all of its prompt found in a cache or none of it.
        """
        worst = max(
            tier.dearest().cost_usd(prompt_tokens, output_tokens, cached)
            for tier in self._reached(prompt_tokens)
            for cached in (0, prompt_tokens)
        )
        return float(worst + Fraction(self.request_usd))

    def tier_of(self, prompt_tokens: int) -> Tier:
        """The prices of a request with that many prompt tokens."""
        return self._reached(prompt_tokens)[-1]

    def _reached(self, prompt_tokens: int) -> list[Tier]:
        """The tiers that a prompt of up to this length passes, the last one its own."""
        base = Tier(
            -1,
            self.input_usd_per_mtok,
            self.cached_usd_per_mtok,
            self.output_usd_per_mtok,
            self.written_usd_per_mtok,
            self.reasoning_usd_per_mtok,
        )
        return [base, *(tier for tier in self.tiers if prompt_tokens > tier.above_tokens)]


def listed_price(model: str, provider: str | None, batch: bool = False) -> Price | None:
    """The price of genai-prices at this moment; None where it has none. Raises UnknownName for names that it lacks.

    With `batch` the one of requests that may wait (up to a day), None where the list has no such price: the usual
    half is not assumed. A price that changes with the time of day (DeepSeek's) is the one at the moment of asking.
    """
    import genai_prices  # 0.25 s

    context = {"processing": "batch"} if batch else None
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), model, provider_id=provider, price_context=context)
    except LookupError:
        raise UnknownName(_unknown(model, provider)) from None
    listed = found.model_price
    if listed.input_mtok is None or listed.output_mtok is None or (batch and not _has_batch(found.model)):
        return None
    starts = sorted({tier.start for price in vars(listed).values() for tier in getattr(price, "tiers", ())})
    base = _tier(listed, -1)
    return Price(
        base.input_usd_per_mtok,
        base.cached_usd_per_mtok,
        base.output_usd_per_mtok,
        f"genai-prices {genai_prices.__version__} ({found.provider.id}, {found.model.id})",
        base.written_usd_per_mtok,
        _usd(listed, "requests_kcount", 0) / 1000,
        tuple(_tier(listed, start) for start in starts),
        base.reasoning_usd_per_mtok,
        _since(found.model, listed, batch),
    )


def _else(price: float | None, other: float) -> float:
    return other if price is None else price


def _tier(listed: ModelPrice, above_tokens: int) -> Tier:
    def own(name: str) -> float | None:
        return None if getattr(listed, name, None) is None else _usd(listed, name, above_tokens)

    return Tier(
        above_tokens,
        _usd(listed, "input_mtok", above_tokens),
        own("cache_read_mtok"),
        _usd(listed, "output_mtok", above_tokens),
        own("cache_write_mtok"),
        own("output_reasoning_mtok"),
    )


def _usd(listed: ModelPrice, name: str, above_tokens: int) -> float:
    """The price of that name for prompts of just over `above_tokens`; 0 where the list has none."""
    price = getattr(listed, name, None)
    for tier in getattr(price, "tiers", ()):
        if tier.start <= above_tokens:
            price = tier.price
    return float(getattr(price, "base", price) or 0)


def _has_batch(model: ModelInfo) -> bool:
    return any(variant.when == {"processing": "batch"} for variant in model.price_variants or ())


def _since(model: ModelInfo, listed: ModelPrice, batch: bool) -> str | None:
    """The start of the price, as the list gives it: of its batch variant, else of the period that it is of."""
    variants = [variant for variant in model.price_variants or () if variant.when == {"processing": "batch"}]
    periods = [period for period in model.prices if period.prices == listed] if isinstance(model.prices, list) else []
    starts = [getattr(entry.constraint, "start_date", None) for entry in (variants if batch else periods)]
    return max((start.isoformat() for start in starts if start is not None), default=None)


def _unknown(model: str, provider: str | None) -> str:
    """That no list has the name, and which ones are near: of providers, else of the provider's models."""
    from genai_prices.data_snapshot import get_snapshot

    providers = get_snapshot().providers
    if provider is not None and all(known.id != provider for known in providers):
        return f"unknown provider {provider!r}{did_you_mean(provider, [known.id for known in providers])}"
    names = [name for known in providers if provider in (None, known.id) for name in _ids(known.models)]
    return f"no price of {model!r} is listed{'' if provider is None else f' at {provider}'}{did_you_mean(model, names)}"


def _ids(models: Iterable[ModelInfo]) -> Iterator[str]:
    return (model.id for model in models)
