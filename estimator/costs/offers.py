"""Offers: what the same load costs at an API and on machines, by request, by million tokens and by month."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from estimator.amounts import LEAST_UTILISATION, are_amounts
from estimator.answer import Quantity
from estimator.costs.outlay import Outlay
from estimator.costs.serving import Serving, Unserved
from estimator.errors import EstimatorError
from estimator.price_list import Price
from estimator.specs import Workload
from estimator.theory.cost import (
    DAYS_PER_MONTH,
    SECONDS_PER_DAY,
    machine_requests_per_day,
    machines_needed,
    usd_per_million_tokens,
)

UNKNOWN = Quantity(None, basis="unknown")
OfferKind = Literal["api", "rented", "owned"]


@dataclass(frozen=True, slots=True)
class Load:
    """One request, and how many a day; None where nobody said (then prices are those of a machine in full use).

    cached_tokens    of the prompt that the API finds in its cache, and a machine in its own
    written_tokens   of the prompt that the API writes to its cache at a price of its own
    reasoning_tokens that the API's model thinks and bills as output, beside the answer; no machine is asked for them
    utilisation      the share of the day in which a machine can be kept busy
    """

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    written_tokens: int = 0
    reasoning_tokens: int = 0
    requests_per_day: float | None = None
    utilisation: float = 1.0

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise EstimatorError("a request needs at least 1 token of prompt and 1 of output")
        if min(self.cached_tokens, self.written_tokens, self.reasoning_tokens) < 0:
            raise EstimatorError("cached, cache-write and reasoning tokens must be at least 0")
        if self.cached_tokens + self.written_tokens > self.prompt_tokens:
            raise EstimatorError(
                f"{self.cached_tokens} cached and {self.written_tokens} written tokens are more than the "
                f"{self.prompt_tokens} of the prompt: they are parts of it"
            )
        if self.requests_per_day is not None and not 0 < self.requests_per_day <= 1e12:
            raise EstimatorError("the load must be above 0 and at most 1e12 requests a day")
        if not LEAST_UTILISATION <= self.utilisation <= 1:
            raise EstimatorError(
                "the utilisation must be above 0 and at most 1: it is a share of the time, a millionth at least"
            )

    @property
    def tokens(self) -> int:
        """Prompt and answer of one request; reasoning is not counted."""
        return self.prompt_tokens + self.output_tokens

    @property
    def work(self) -> Workload:
        """The request as a machine sees it: what is cached is its depth, and at least one token is new."""
        depth = min(self.cached_tokens, self.prompt_tokens - 1)
        return Workload(self.prompt_tokens - depth, self.output_tokens, depth_tokens=depth)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one way to serve the load costs, in US dollars. Quantities without a value are unknown.

    kind                    "api", "rented" or "owned"
    request_usd             a request at the load, idle hours included; without a load, of a machine in full use
    million_tokens_usd      the same per million tokens of prompt and answer together
    million_output_tokens_usd   the same per million tokens of the answer
    month_usd               730 h at the load; without a load, of one machine in full use; None for an API
    month_parts_usd         of which: hardware (rent or wear), electricity, idle_electricity
    machines                how many the load needs; None where that is unknown, and for an API
    busy_share              of their time in which they work on requests
    at_least                whether the figures are lower bounds, since theory is the fastest that the hardware allows
                            (of one device a copy: layers split over several could be worked on at the same time)
    prices                  where each price is from, with its date
    serving, obstacle       how a machine serves the requests, or why it cannot
    alone                   where that is theory: the same with one request at a time, by the reference, if it says
    """

    name: str
    kind: OfferKind
    request_usd: Quantity = UNKNOWN
    million_tokens_usd: Quantity = UNKNOWN
    million_output_tokens_usd: Quantity = UNKNOWN
    month_usd: Quantity = UNKNOWN
    month_parts_usd: dict[str, Quantity] = field(default_factory=dict)
    machines: int | None = None
    busy_share: float | None = None
    at_least: bool = False
    prices: tuple[str, ...] = ()
    serving: Serving | None = None
    obstacle: Unserved | None = None
    alone: Offer | None = None

    @property
    def mark(self) -> str:
        """ "≥" before lower bounds, "~" before what stands on theory and is none."""
        if self.at_least:
            return "≥"
        return "~" if self.serving is not None and self.serving.basis == "theory" else ""


def api_offer(name: str, price: Price | None, load: Load) -> Offer:
    """The bill of an API: every request at its price list, which is None where it is unknown."""
    if price is None:
        reason = "no such price is listed: state it with --price-in and --price-out (USD per million tokens)"
        return Offer(name, "api", prices=(reason,), obstacle=Unserved("price unknown", reason))
    usd = price.cost_usd(
        load.prompt_tokens, load.output_tokens, load.cached_tokens, load.written_tokens, load.reasoning_tokens
    )
    request = Quantity(usd, basis="stated")
    month = UNKNOWN if load.requests_per_day is None else request.scaled(load.requests_per_day * DAYS_PER_MONTH)
    return _with_tokens(Offer(name, "api", request_usd=request, month_usd=month, prices=(_listed(price, load),)), load)


def machine_offer(name: str, kind: OfferKind, outlay: Outlay, serving: Serving | Unserved, load: Load) -> Offer:
    """The bill of machines that serve the load: whole machines, paid day and night, and their electricity.

    Where one request at a time needs no more machines than theory does with several at once, nobody has to wait for
    another, and the serving is that of the reference; else that of theory with the other beside it.
    """
    if isinstance(serving, Unserved):
        return Offer(name, kind, prices=outlay.origins, obstacle=serving)
    if serving.alone is not None:
        alone = machine_offer(name, kind, outlay, serving.alone, load)
        several = machine_offer(name, kind, outlay, replace(serving, alone=None), load)
        enough = load.requests_per_day is not None and (alone.machines or 0) <= (several.machines or 0)
        return alone if enough else replace(several, alone=alone)
    offer = _in_use(Offer(name, kind, prices=outlay.origins, serving=serving), load)
    if outlay.usd_per_hour is None:
        return replace(offer, obstacle=Unserved("price unknown", "; ".join(outlay.origins)))
    time = serving.machine_s
    bounded = serving.basis == "theory" and serving.devices == 1 and not (outlay.joules_per_request and outlay.idle_w)
    found = replace(
        offer,
        request_usd=_of(time, lambda s: sum(_day_usd(outlay, load, s)) / _served(load, s)),
        month_usd=_of(time, lambda s: sum(_day_usd(outlay, load, s)) * DAYS_PER_MONTH),
        month_parts_usd={
            "hardware": _of(time, lambda s: _day_usd(outlay, load, s)[0] * DAYS_PER_MONTH),
            "electricity": _of(time, lambda s: _day_usd(outlay, load, s)[1] * DAYS_PER_MONTH),
            "idle_electricity": _of(time, lambda s: _day_usd(outlay, load, s)[2] * DAYS_PER_MONTH),
        },
        at_least=bounded,
    )
    return _with_tokens(found, load)


def _in_use(offer: Offer, load: Load) -> Offer:
    """How many machines, and how busy they are; nothing where the speed is unknown."""
    machine_s = None if offer.serving is None else offer.serving.machine_s.value
    if machine_s is None:
        return offer
    count = _machines(load, machine_s)
    busy = _served(load, machine_s) * machine_s / (count * SECONDS_PER_DAY)
    return replace(offer, machines=count, busy_share=busy)


def _machines(load: Load, machine_s: float) -> int:
    if load.requests_per_day is None:
        return 1
    return machines_needed(load.requests_per_day, machine_s, load.utilisation)


def _served(load: Load, machine_s: float) -> float:
    """Requests a day: the load, else what one machine can carry."""
    if load.requests_per_day is None:
        return machine_requests_per_day(machine_s, load.utilisation)
    return load.requests_per_day


def _day_usd(outlay: Outlay, load: Load, machine_s: float) -> tuple[float, float, float]:
    """Hardware, electricity while working, electricity while waiting, of a day: machines x 24 h, requests, the rest."""
    count, served = _machines(load, machine_s), _served(load, machine_s)
    idle_s = max(0.0, count * SECONDS_PER_DAY - served * machine_s)
    return (
        count * 24 * (outlay.usd_per_hour or 0.0),
        served * outlay.working_usd(machine_s),
        outlay.waiting_usd(idle_s),
    )


def _of(time: Quantity, usd: Callable[[float], float]) -> Quantity:
    """`usd` of every number of a time; what it gives grows with the time, or its ends change places."""
    value, low, high, theory = (
        None if at is None else usd(at) for at in (time.value, time.low, time.high, time.theory)
    )
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return Quantity(value, low, high, theory, time.basis)


def _with_tokens(offer: Offer, load: Load) -> Offer:
    per_token, per_output = (usd_per_million_tokens(1.0, count) for count in (load.tokens, load.output_tokens))
    return replace(
        offer,
        million_tokens_usd=offer.request_usd.scaled(per_token),
        million_output_tokens_usd=offer.request_usd.scaled(per_output),
    )


def _listed(price: Price, load: Load) -> str:
    """The prices that the load meets, in words, with source and date."""
    tier = price.tier_of(load.prompt_tokens)
    kinds: list[tuple[float | None, str]] = [(tier.input_usd_per_mtok, "in"), (tier.output_usd_per_mtok, "out")]
    if load.cached_tokens:
        kinds.append((tier.cached_usd_per_mtok, "cached"))
    if load.written_tokens:
        kinds.append((tier.written_usd_per_mtok, "cache write"))
    if load.reasoning_tokens:
        kinds.append((tier.reasoning_usd_per_mtok, "reasoning"))
    said = ", ".join(f"{word} at no price of its own" if usd is None else f"${usd:g} {word}" for usd, word in kinds)
    since = "the list gives no date" if price.since is None else f"since {price.since}"
    when = "" if price.source == "as stated" else f", {since}"
    once = f", ${price.request_usd:g} a request" if price.request_usd else ""
    return f"{said} per million tokens{once} ({price.source}{when})"


def finite_price(price_in: float, price_out: float, price_cached: float | None, price_written: float | None) -> Price:
    """A price list as stated, in USD per million tokens. Raises EstimatorError."""
    if not are_amounts(price_in, price_out, price_cached, price_written):
        raise EstimatorError("prices must be at least 0 and at most 1e15 (USD per million tokens)")
    return Price(price_in, price_cached, price_out, "as stated", price_written)
