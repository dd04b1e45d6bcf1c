"""Money: whose price list a request is charged by, and a purse that never gives out more than its limit.

Prices are the caller's, or those of the package genai-prices (estimator/price_list.py). Amounts are US dollars;
inside the purse they are exact fractions, so that no sum of roundings passes the limit.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from threading import Lock

from estimator.errors import UnknownName
from estimator.price_list import Price, listed_price
from harness.errors import HarnessError

# What a chat template puts around a message: roles and separators (4 to 10 tokens in most), a default system prompt.
TEMPLATE_TOKENS = 64


class OverBudget(HarnessError):
    """A request that could cost more than what is left of the money."""

    exit_status = 9


def price_of(model: str, provider: str | None, price_in: float | None, price_out: float | None) -> Price | None:
    """The price given (USD per million tokens of input and output), else that of genai-prices, else None.

    A price that changes with the time of day (DeepSeek's) is the one at the moment of asking.
    """
    if (price_in is None) != (price_out is None):
        raise HarnessError("a price needs both sides: give USD per million tokens of input and of output, or neither")
    if price_in is None or price_out is None:
        return _listed_price(model, provider)
    if not all(math.isfinite(price) and price >= 0 for price in (price_in, price_out)):
        raise HarnessError(f"{price_in:g} and {price_out:g} USD per million tokens are no prices: give 0 or more")
    return Price(price_in, None, price_out, "given")


def _listed_price(model: str, provider: str | None) -> Price | None:
    try:
        return listed_price(model, provider)
    except UnknownName:
        return None


@dataclass(frozen=True, slots=True)
class Reservation:
    """USD held for one request, and the price list they were reckoned with (None: it costs nothing)."""

    usd: float
    price: Price | None


class Purse:
    """Money for requests in flight: reserve the worst before a request is sent, settle what it was after its end.

    `spent_usd + reserved_usd` never passes `limit_usd`, however many requests are in flight and from however many
    threads, as long as no request uses more than was reserved for it (then the truth is booked, and nothing more
    is given out).
    """

    def __init__(self, limit_usd: float | None) -> None:
        """Raises HarnessError for a limit that is no amount."""
        if limit_usd is not None and not (math.isfinite(limit_usd) and limit_usd >= 0):
            raise HarnessError(f"{limit_usd:g} USD is no limit: give an amount of 0 or more")
        self.limit_usd, self.unknown_requests = limit_usd, 0
        self._spent, self._reserved, self._lock = Fraction(0), Fraction(0), Lock()

    @property
    def spent_usd(self) -> float:
        """USD booked; never below what usage says at the list's prices (`Price.booked_usd`)."""
        return float(self._spent)

    @property
    def reserved_usd(self) -> float:
        """USD held for requests that have not ended."""
        return float(self._reserved)

    def book(self, usd: float) -> None:
        """Counts money that was spent before, in an earlier sitting of the run."""
        with self._lock:
            self._spent += Fraction(usd)

    def reserve(self, price: Price | None, worst_prompt_tokens: int, worst_output_tokens: int) -> Reservation:
        """What is now held for one request of at most these tokens; give it back to `settle`. Raises OverBudget."""
        if price is None:
            return Reservation(0.0, None)
        worst_usd = price.worst_usd(worst_prompt_tokens, worst_output_tokens)
        with self._lock:
            held = self._reserved + Fraction(worst_usd)
            if self.limit_usd is not None and self._spent + held > Fraction(self.limit_usd):
                raise OverBudget(
                    f"the next request could cost {worst_usd:.4f} USD, with {self.spent_usd:.4f} spent and "
                    f"{self.reserved_usd:.4f} reserved of {self.limit_usd:.4f}: raise --max-cost, or ask for fewer or "
                    "shorter requests"
                )
            self._reserved = held
        return Reservation(worst_usd, price)

    def settle(
        self, reserved: Reservation, prompt_tokens: int | None, output_tokens: int | None, cached_tokens: int | None
    ) -> None:
        """End of one request: its reservation is released and its usage booked, all of it where usage is missing.

        Without a count of cached tokens none were. A request that was never sent has usage (0, 0, 0), which costs 0.
        Raises ValueError for more than is reserved: a reservation is settled once.
        """
        if reserved.price is None:
            return
        known = prompt_tokens is not None and output_tokens is not None
        booked_usd = reserved.usd
        if prompt_tokens is not None and output_tokens is not None:
            sent = prompt_tokens > 0 or output_tokens > 0
            booked_usd = reserved.price.booked_usd(prompt_tokens, output_tokens, cached_tokens or 0) if sent else 0.0
        with self._lock:
            if Fraction(reserved.usd) > self._reserved:
                raise ValueError(f"{reserved.usd} USD settled of {self.reserved_usd} reserved: settle a request once")
            self._reserved -= Fraction(reserved.usd)
            self._spent += Fraction(booked_usd)
            self.unknown_requests += not known


def prompt_tokens_bound(text: str) -> int:
    """Tokens of a prompt at most, whatever the tokenizer: bytes of its UTF-8 + 64 for the chat template.

    A token of a byte-level or byte-fallback vocabulary stands for at least one byte. Of the Unicode normal forms
    that tokenizers apply first the longest counts (NFKC turns one U+FDFA of 3 bytes into 33). A template that adds
    more than 64 tokens of its own (a long default system prompt) is not covered.
    """
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD"))]
    return max(len(form.encode("utf-8", "surrogatepass")) for form in forms) + TEMPLATE_TOKENS


def plan_cost_usd(price: Price, requests: Iterable[tuple[int, int, int]]) -> float:
    """USD of (prompt tokens, output tokens, how many requests of it), nothing found in a cache."""
    return math.fsum(price.cost_usd(prompt, output) * count for prompt, output, count in requests)
