"""What became of a request: its chunks, its cost, whether it did the work it was sent for. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from estimator.price_list import Price
from harness.backends import Ask
from harness.purse import prompt_tokens_bound
from harness.record import Chunk, Phase, Usage
from harness.wire.streams import Arrival, Told
from harness.wire.tap import EndedByUs

# What a chat template and our closing sentence may add to the text of a prompt, in bytes.
_FRAME_BYTES = 128
# Pieces beyond the tokens asked after which an answer is cut off.
_OVERRUN = 16


def require_end(pieces: int, ask: Ask) -> None:
    """Raises EndedByUs where a server goes on and on: each piece is at least a token."""
    if pieces > ask.output_tokens + _OVERRUN:
        raise EndedByUs(f"the server did not stop after the {ask.output_tokens} tokens that were asked")


def worst_prompt_tokens(ask: Ask) -> int:
    if isinstance(ask.prompt[0], int):
        return len(ask.prompt)
    return prompt_tokens_bound(" ".join(map(str, ask.prompt))) + _FRAME_BYTES


def cost_usd(price: Price | None, usage: Usage) -> float | None:
    if price is None or usage.prompt_tokens is None or usage.output_tokens is None:
        return None
    return price.cost_usd(usage.prompt_tokens, usage.output_tokens, usage.cached_tokens or 0)


def chunks_of(arrivals: Sequence[Arrival], delivered: Sequence[int], wire_seen: bool) -> tuple[Chunk, ...]:
    """Each arrival with the instant of its delivery.

    Where the library passed on as many events as arrived they belong together one by one; where it
    merged or swallowed some, an arrival belongs to the first delivery that is not before it.
    """
    if not wire_seen:
        return tuple(Chunk(at_ns, None, None) for at_ns in delivered)
    if len(arrivals) == len(delivered):
        pairs = zip(arrivals, delivered, strict=True)
        return tuple(Chunk(a.wire_ns, max(d, a.wire_ns), a.tokens, a.characters) for a, d in pairs)
    chunks: list[Chunk] = []
    at = 0
    for arrival in arrivals:
        while at < len(delivered) and delivered[at] < arrival.wire_ns:
            at += 1
        late = delivered[at] if at < len(delivered) else None
        chunks.append(Chunk(arrival.wire_ns, late, arrival.tokens, arrival.characters))
    return tuple(chunks)


def wrong_count(said: Told, ask: Ask, exact: bool, phase: Phase) -> str | None:
    """A request that did not do the work it was sent for does not count.

    Answers of a real model may end early, and its prompt has about the length that was meant.
    """
    usage, asked = said.usage, ask.output_tokens
    got = usage.output_tokens
    if got is not None and (got > asked or (exact and got != asked)):
        return f"the server generated {got} tokens where {asked} were asked"
    if got is not None and got < len(said.arrivals):
        return f"the server counts {got} tokens and sent {len(said.arrivals)} pieces of text"
    told_prompt = usage.prompt_tokens
    if exact and phase not in ("load", "warmup") and told_prompt is not None and told_prompt != len(ask.prompt):
        return f"the server counts {told_prompt} prompt tokens where {len(ask.prompt)} were sent"
    if not said.arrivals:
        return "the answer holds no text"
    return None
