"""The engine's clock: what time it is, and waiting for an instant. Tests pass one of their own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

# asyncio rounds a sleep up to the next millisecond and wakes some tens of microseconds after it, so
# the last stretch before an instant is spent looking at the clock.
SPIN_S = 0.0015


class Clock(Protocol):
    """What the engine knows of time."""

    def now_s(self) -> float:
        """The present instant."""

    async def until(self, instant_s: float) -> None:
        """Return at that instant, at once if it has passed; let other requests run meanwhile."""


class RealClock:
    """`time.perf_counter`, to some tens of microseconds."""

    def now_s(self) -> float:
        """The present instant."""
        return time.perf_counter()

    async def until(self, instant_s: float) -> None:
        """Sleep until shortly before the instant, then look again and again."""
        rest_s = instant_s - SPIN_S - time.perf_counter()
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        while time.perf_counter() < instant_s:
            await asyncio.sleep(0)
