"""Who runs in which slot, and who waits."""

from __future__ import annotations

import asyncio

from harness.simulated.slots import Slot, Slots, common_prefix_tokens
from tests.harness.simulated.client import run


def two_slots() -> Slots:
    return Slots([Slot(0), Slot(1)], context_tokens=256)


def test_the_common_prefix_ends_at_the_first_difference_or_with_the_shorter() -> None:
    assert common_prefix_tokens([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix_tokens([1, 2, 3], [1, 2]) == 2
    assert common_prefix_tokens([], [1]) == 0


def test_a_request_gets_the_slot_it_names_and_one_that_does_not_exist_means_any() -> None:
    async def story() -> None:
        assert (await two_slots().taken(1, [5])).number == 1
        assert (await two_slots().taken(7, [5])).number == 0

    run(story())


def test_a_request_that_names_no_slot_gets_the_one_that_holds_its_beginning() -> None:
    async def story() -> None:
        slots = two_slots()
        slots.slots[1].tokens = [5, 6]
        slots.slots[1].free_since_s = 9.0
        assert (await slots.taken(-1, [5, 6, 7])).number == 1

    run(story())


def test_a_new_prompt_gets_the_slot_that_is_free_for_longest() -> None:
    async def story() -> None:
        slots = two_slots()
        slots.slots[0].free_since_s = 9.0
        assert (await slots.taken(-1, [5, 6, 7])).number == 1

    run(story())


def test_whoever_waits_for_a_slot_is_served_in_order() -> None:
    async def story() -> None:
        slots = two_slots()
        first, second = await slots.taken(0, []), await slots.taken(-1, [])
        waiting = [asyncio.create_task(slots.taken(number, [])) for number in (0, -1, 0)]
        await asyncio.sleep(0)
        slots.give_back(second, 1.0)
        assert await waiting[1] is second
        slots.give_back(first, 2.0)
        assert await waiting[0] is first
        slots.give_back(second, 3.0)
        assert not second.busy
        slots.give_back(first, 4.0)
        assert await waiting[2] is first
        assert first.busy

    run(story())


def test_one_who_gave_up_waiting_is_passed_over() -> None:
    async def story() -> None:
        slots = Slots([Slot(0)], context_tokens=256)
        only = await slots.taken(0, [])
        waiting = [asyncio.create_task(slots.taken(0, [])) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        slots.give_back(only, 1.0)
        assert await waiting[1] is only

    run(story())
