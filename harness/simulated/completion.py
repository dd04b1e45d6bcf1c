"""One request under way in a slot: what was asked, what it costs and when, what goes wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.simulated.ask import Ask
from harness.simulated.law import Faults
from harness.simulated.timeline import Timeline, Work

# What a wrong usage claims beyond what was generated.
EXTRA_TOKENS = 3


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a request had come in, and when the model that it asks for was loaded."""

    received_s: float
    loaded_s: float

    @property
    def load_s(self) -> float:
        """How long the request waited for the model."""
        return self.loaded_s - self.received_s


@dataclass(frozen=True, slots=True)
class Completion:
    """Instants are of the engine's clock. `number` counts requests; `wall_offset_s` makes an instant a date."""

    number: int
    ask: Ask
    slot: int
    work: Work
    timeline: Timeline
    generated: list[int]
    faults: Faults
    arrival: Arrival
    start_s: float
    wall_offset_s: float

    @property
    def dies(self) -> bool:
        """Whether the connection is closed before the answer is complete."""
        limit = self.faults.die_after_tokens
        return limit is not None and limit <= self.work.output_tokens

    @property
    def living_tokens(self) -> int:
        """How many tokens are generated before the end, be it good or bad."""
        return (self.faults.die_after_tokens or 0) if self.dies else self.work.output_tokens

    @property
    def claimed_tokens(self) -> int:
        """How many tokens the engine says it generated."""
        return self.work.output_tokens + (EXTRA_TOKENS if self.faults.wrong_usage else 0)

    @property
    def reasoning_tokens(self) -> int:
        """How many of the answer's tokens are reasoning: the first ones."""
        return min(self.faults.reasoning_tokens, self.work.output_tokens) if self.ask.separates_reasoning else 0

    @property
    def stopped(self) -> bool:
        """Whether the model ended by itself, not at a limit."""
        return self.work.output_tokens < self.ask.most_tokens

    @property
    def truncated(self) -> bool:
        """Whether the context is what ends the answer."""
        return len(self.ask.prompt) + self.work.output_tokens >= self.ask.context_tokens

    @property
    def end_s(self) -> float:
        """When the last token is ready."""
        return self.start_s + self.timeline.token_at_s[-1]

    def chunk_ends(self, chunk_tokens: int) -> list[int]:
        """How many tokens are out after each event of the stream; none has both reasoning and answer."""
        return self.timeline.chunk_ends(chunk_tokens, self.reasoning_tokens)

    def wall_s(self, done_tokens: int) -> float:
        """Seconds since 1970 when so many tokens are out."""
        return self.wall_offset_s + self.start_s + self.timeline.token_at_s[max(0, done_tokens - 1)]
