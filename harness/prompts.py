"""Prompts drawn from a pool of ordinary token ids, or of words: a recipe of seed and length, not text."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompts:
    """Draws prompts from `pool`. The same seed gives the same prompts."""

    pool: tuple[int, ...] | tuple[str, ...]
    seed: int | str

    def context(self, depth_tokens: int) -> tuple[Any, ...]:
        """The fixed text that stands in the cache of every request at this depth."""
        return self._draw(f"context:{depth_tokens}", depth_tokens)

    def fresh(self, tokens: int, nonce: int) -> tuple[Any, ...]:
        """A prompt that no cache has seen: its first tokens spell the nonce, the rest is drawn with it."""
        first = self.pool[nonce % len(self.pool)]
        second = self.pool[nonce // len(self.pool) % len(self.pool)]
        return (first, second, *self._draw(f"prompt:{nonce}", max(0, tokens - 2)))[:tokens]

    def _draw(self, purpose: str, tokens: int) -> tuple[Any, ...]:
        rng = random.Random(f"{self.seed}:{purpose}")
        return tuple(rng.choices(self.pool, k=tokens))
