"""A limit on requests per minute, as a hosted API has it: a bucket of permits that refills steadily."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.simulated.ask import Refused

# What is said to be the limit where there is none, and what is always said to be that on tokens.
UNLIMITED_REQUESTS = 1_000_000
UNLIMITED_TOKENS = 1_000_000_000


@dataclass(slots=True)
class RequestLimit:
    """A full bucket holds a minute's requests; None has no limit. `filled_s` is when it was last looked at."""

    per_minute: int | None = None
    permits: float = 0.0
    filled_s: float | None = None

    def take(self, now_s: float) -> None:
        """Take one permit, or Refused with the seconds after which there is one."""
        if self.per_minute is None:
            return
        self._fill(self.per_minute, now_s)
        if self.permits < 1:
            wait_s = (1 - self.permits) * 60 / self.per_minute
            headers = {"retry-after": str(math.ceil(wait_s)), "retry-after-ms": str(math.ceil(wait_s * 1e3))}
            message = f"Rate limit reached: Limit {self.per_minute} requests per min. Try again in {_words(wait_s)}."
            raise Refused(429, "", message, headers)
        self.permits -= 1

    def headers(self, now_s: float) -> dict[str, str]:
        """What a hosted API says of its limits with every answer."""
        limit, remaining, reset_s = UNLIMITED_REQUESTS, UNLIMITED_REQUESTS - 1, 0.0
        if self.per_minute is not None:
            self._fill(self.per_minute, now_s)
            limit, remaining = self.per_minute, math.floor(self.permits)
            reset_s = (self.per_minute - self.permits) * 60 / self.per_minute
        return {
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-limit-tokens": str(UNLIMITED_TOKENS),
            "x-ratelimit-remaining-requests": str(remaining),
            "x-ratelimit-remaining-tokens": str(UNLIMITED_TOKENS),
            "x-ratelimit-reset-requests": _words(reset_s),
            "x-ratelimit-reset-tokens": "0s",
        }

    def _fill(self, per_minute: int, now_s: float) -> None:
        since_s = math.inf if self.filled_s is None else now_s - self.filled_s
        self.permits = min(float(per_minute), self.permits + since_s * per_minute / 60)
        self.filled_s = now_s


def _words(duration_s: float) -> str:
    """As OpenAI writes a duration: 12ms, 8.64s, 6m0s."""
    if duration_s < 1:
        return f"{math.ceil(duration_s * 1e3)}ms" if duration_s else "0s"
    minutes, seconds = divmod(round(duration_s, 3), 60)
    return f"{minutes:.0f}m{seconds:g}s" if minutes else f"{seconds:g}s"
