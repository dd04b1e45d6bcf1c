"""The engine's slots: who may run, who waits, and which tokens each slot still holds in its cache."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

# llama.cpp's --slot-prompt-similarity: a slot that holds less of a prompt is not preferred for it.
SIMILARITY = 0.1


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence of the engine. `tokens` stand in its cache; it is free since `free_since_s`."""

    number: int
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    free_since_s: float = 0.0


@dataclass(slots=True, eq=False)
class Slots:
    """All slots, independent of each other, each with room for `context_tokens`."""

    slots: list[Slot]
    context_tokens: int
    waiting: list[tuple[Slot | None, asyncio.Future[Slot]]] = field(default_factory=list)

    async def taken(self, number: int, prompt: Sequence[int]) -> Slot:
        """The slot of that number, else (no such number) the best free one; whoever comes first is served first."""
        wanted = self.slots[number] if 0 <= number < len(self.slots) else None
        free = [slot for slot in ([wanted] if wanted else self.slots) if not slot.busy]
        if free:
            slot = _best(free, prompt)
            slot.busy = True
            return slot
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self.waiting.append((wanted, turn))
        return await turn

    def forget(self) -> None:
        """Empty every cache, as when the model is loaded anew."""
        for slot in self.slots:
            slot.tokens = []

    def give_back(self, slot: Slot, now_s: float) -> None:
        """Free the slot, or pass it on to the first that waits for it."""
        slot.free_since_s = now_s
        for waiter in [waiter for waiter in self.waiting if waiter[0] in (None, slot)]:
            self.waiting.remove(waiter)
            if not waiter[1].cancelled():
                waiter[1].set_result(slot)
                return
        slot.busy = False


def common_prefix_tokens(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens the two have in common at their beginning."""
    same, length = 0, min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    # The first `same` are equal, the first `length` are not.
    while length - same > 1:
        middle = (same + length) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            length = middle
    return same


def _best(free: Sequence[Slot], prompt: Sequence[int]) -> Slot:
    if len(free) == 1:
        return free[0]
    best = max(free, key=lambda slot: common_prefix_tokens(slot.tokens, prompt))
    if common_prefix_tokens(best.tokens, prompt) > SIMILARITY * len(prompt):
        return best
    return min(free, key=lambda slot: slot.free_since_s)
