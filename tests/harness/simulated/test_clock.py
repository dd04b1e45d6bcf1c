"""The real clock: order and cancellation. Its precision is a matter for benchmarks."""

from __future__ import annotations

import asyncio

from harness.simulated.clock import RealClock
from tests.harness.simulated.client import run


def test_whoever_waits_is_woken_in_the_order_of_instants_and_never_early() -> None:
    async def story() -> list[int]:
        clock, woken = RealClock(), []
        begun_s = clock.now_s()

        async def wait(milliseconds: int) -> None:
            await clock.until(begun_s + milliseconds / 1e3)
            assert clock.now_s() >= begun_s + milliseconds / 1e3
            woken.append(milliseconds)

        await asyncio.gather(*(wait(milliseconds) for milliseconds in (40, 5, 20, 0, 10)))
        return woken

    assert run(story()) == [0, 5, 10, 20, 40]


def test_one_who_gave_up_keeps_nobody_from_waking() -> None:
    async def story() -> None:
        clock = RealClock()
        waiting = [asyncio.create_task(clock.until(clock.now_s() + wait_s)) for wait_s in (0.01, 0.02)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await waiting[1]

    run(story())
