"""Load shapes: who sends when. Closed loads keep streams busy, open ones send on schedule whatever the server does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from harness.arrivals import due_s
from harness.purse import OverBudget
from harness.record import Cell
from harness.saturation import Backlog
from harness.wire.tap import Clock

# How long a saturated server may still work off what it has.
_DRAIN_S = 10.0
# How long any other may take for the last requests at least; else as long as the load itself lasted.
_LEAST_DRAIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """How long one visit to a loaded cell lasts: so many requests, or so many seconds."""

    requests: int | None
    seconds: float

    def count(self, rate_per_s: float) -> int:
        """Requests of an open load."""
        return self.requests if self.requests is not None else max(1, round(rate_per_s * self.seconds))


# Sends one request on a stream; the instant it was due, None where that is now.
Send = Callable[[int, int | None], Awaitable[None]]


async def closed_load(streams: int, stretch: Stretch, send: Send, clock: Clock) -> None:
    """Each of `streams` sends its next request when its last one has ended.

    Raises OverBudget after the requests under way have ended: they are paid for.
    """
    end_ns = clock() + round(stretch.seconds * 1e9)
    left = stretch.requests
    over: OverBudget | None = None

    async def work(stream: int) -> None:
        nonlocal left, over
        while over is None:
            if left is None:
                if clock() >= end_ns:
                    return
            elif left <= 0:
                return
            else:
                left -= 1
            try:
                await send(stream, None)
            except OverBudget as error:
                over = error

    await together([work(stream) for stream in range(streams)])
    if over is not None:
        raise over


async def open_load(
    cell: Cell, stretch: Stretch, send: Send, clock: Clock, seed: str, give_up: Callable[[], None] = lambda: None
) -> str | None:
    """Sends on schedule; None, or why it stopped before the end: the server is saturated.

    A request is due at an instant fixed beforehand, so that a slow server or client cannot thin the
    load (MLPerf LoadGen's server scenario). Where it is saturated `give_up` is called before the requests under way
    are cancelled. Raises OverBudget after they have ended: they are paid for.
    """
    assert cell.rate_per_s is not None
    count = stretch.count(cell.rate_per_s)
    start_ns, backlog = clock(), Backlog()
    running: set[asyncio.Task[None]] = set()

    async def one(due_ns: int) -> None:
        try:
            await send(0, due_ns)
        finally:
            backlog.ended((clock() - start_ns) * 1e-9)

    verdict: str | None = None
    try:
        for due in due_s(cell.arrival, cell.rate_per_s, count, seed):
            due_ns = start_ns + round(due * 1e9)
            while (wait_s := (due_ns - clock()) * 1e-9) > 0:
                await asyncio.sleep(wait_s)
            for task in [task for task in running if task.done()]:
                running.discard(task)
                task.result()
            backlog.arrived(due)
            running.add(asyncio.create_task(one(due_ns)))
            verdict = backlog.verdict()
            if verdict is not None:
                give_up()
                break
        lasted_s = (clock() - start_ns) * 1e-9
        drain_s = _DRAIN_S if verdict is not None else max(_LEAST_DRAIN_S, lasted_s)
        done, late = await asyncio.wait(running, timeout=drain_s) if running else (set(), set())
        if late and verdict is None:
            verdict = f"{len(late)} requests had not ended {drain_s:.0f} s after the last was due: lower --rate"
            give_up()
        for task in done:
            task.result()
    except OverBudget:
        if running:
            await asyncio.wait(running)
        raise
    finally:
        await _cancelled(running)
    return verdict


async def together(work: list[Coroutine[Any, Any, None]]) -> None:
    """Runs all; the first error ends the others and is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _cancelled(tasks)


async def _cancelled(tasks: set[asyncio.Task[None]] | list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
