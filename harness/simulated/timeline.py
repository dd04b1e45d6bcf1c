"""When each token of one answer is ready: the law, applied. Pure: no clock, no socket."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import accumulate

from harness.simulated.law import Law


@dataclass(frozen=True, slots=True)
class Timeline:
    """Instants are seconds after the engine took the request up; one per token."""

    prefill_s: float
    token_at_s: tuple[float, ...]

    @property
    def decode_s(self) -> float:
        """From the first token to the last, as llama.cpp counts it."""
        return self.token_at_s[-1] - self.token_at_s[0]

    def chunk_ends(self, chunk_tokens: int, split_tokens: int = 0) -> list[int]:
        """How many tokens are out after each event of the stream; no event reaches across the split."""
        output_tokens = len(self.token_at_s)
        before = [*range(chunk_tokens, split_tokens, chunk_tokens), split_tokens] if split_tokens else []
        after = [*range(split_tokens + chunk_tokens, output_tokens, chunk_tokens), output_tokens]
        return before + [end for end in after if end > split_tokens]


@dataclass(frozen=True, slots=True)
class Work:
    """What one request costs: tokens found in the cache, tokens to prefill, tokens to generate."""

    past_tokens: int
    new_tokens: int
    output_tokens: int


def timeline(law: Law, work: Work, first_gap: int) -> Timeline:
    """The timeline of an answer whose first gap is the engine's `first_gap`-th since its start."""
    prefill_s = law.prefill_s(work.past_tokens, work.new_tokens)
    context_tokens = work.past_tokens + work.new_tokens
    gaps_s = _gaps_s(law, context_tokens, work.output_tokens - 1, first_gap)
    return Timeline(prefill_s, tuple(accumulate(gaps_s, initial=prefill_s)))


def stalled_gaps(law: Law, first_gap: int, count: int) -> set[int]:
    """Which of the gaps numbered from `first_gap` stall: one of each 1/share, at a seeded place among them.

    So any long run of gaps holds the share exactly, not by luck.
    """
    share = law.stall_share
    if share == 0:
        return set()
    stalled = set()
    for block in range(max(0, math.floor(first_gap * share) - 1), math.ceil((first_gap + count) * share) + 1):
        begin, end = math.ceil(block / share), math.ceil((block + 1) / share)
        stalled.add(begin + int(random.Random(f"{law.seed} stall {block}").random() * (end - begin)))
    return stalled & set(range(first_gap, first_gap + count))


def _gaps_s(law: Law, context_tokens: int, count: int, first_gap: int) -> list[float]:
    stalled = stalled_gaps(law, first_gap, count)
    chance = random.Random(f"{law.seed} jitter {first_gap}")
    sigma = math.sqrt(math.log1p(law.jitter**2))
    gaps_s = []
    for step in range(count):
        factor = chance.lognormvariate(-(sigma**2) / 2, sigma) if sigma else 1.0
        if first_gap + step in stalled:
            factor *= law.stall_factor
        gaps_s.append(factor * law.decode_gap_s(context_tokens + step))
    return gaps_s
