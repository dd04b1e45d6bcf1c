"""The engine's clock: what time it is, and waiting for an instant. Tests pass one of their own."""

from __future__ import annotations

import asyncio
import time
from heapq import heappop, heappush
from typing import Protocol

# asyncio rounds a sleep up by as much as two milliseconds, and a virtual machine that was idle wakes
# some tenths later: the last stretch before an instant is spent looking at the clock.
SPIN_S = 0.003


class Clock(Protocol):
    """What the engine knows of time."""

    def now_s(self) -> float:
        """The present instant."""

    async def until(self, instant_s: float) -> None:
        """Return at that instant, at once if it has passed; let other requests run meanwhile."""


class RealClock:
    """`time.perf_counter`, to some tens of microseconds, for any number of waiters at once.

    All wait in one heap, and one callback of the event loop looks at the clock for all of them: what
    it costs does not depend on how many wait.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._looking_at_s: float | None = None
        self._look_later: asyncio.TimerHandle | None = None

    def now_s(self) -> float:
        """The present instant."""
        return time.perf_counter()

    async def until(self, instant_s: float) -> None:
        """Wait in the heap; one whose instant has passed lets the others run first."""
        if instant_s <= time.perf_counter():
            await asyncio.sleep(0)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heappush(self._waiting, (instant_s, self._count, turn))
        if self._looking_at_s is None or instant_s < self._looking_at_s:
            self._plan_look()
        await turn

    def _look(self) -> None:
        """Wake everybody whose instant has come."""
        self._looking_at_s = None
        self._look_later = None
        waiting = self._waiting
        now_s = time.perf_counter()
        while waiting and (waiting[0][0] <= now_s or waiting[0][2].done()):
            turn = heappop(waiting)[2]
            if not turn.done():
                turn.set_result(None)
        if waiting:
            self._plan_look()

    def _plan_look(self) -> None:
        """Look again in time for the first in the heap: asleep while it is far, in every round of the loop if not."""
        if self._look_later is not None:
            self._look_later.cancel()
            self._look_later = None
        loop = asyncio.get_running_loop()
        first_s = self._waiting[0][0]
        rest_s = first_s - SPIN_S - time.perf_counter()
        if rest_s > 0:
            self._looking_at_s = first_s
            self._look_later = loop.call_later(rest_s, self._look)
        else:
            # Whoever comes now needs no look of its own: there is one in every round.
            self._looking_at_s = 0.0
            loop.call_soon(self._look)
