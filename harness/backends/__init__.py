"""Back ends: what each engine or API looks like to the runner. One file each; none looks at the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from harness.record import ServerTimings, Usage


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: `prompt` as token ids; `keep` of them are expected in the cache of `slot` already.

    With `keep` 0 the engine must prefill everything.
    """

    prompt: tuple[int, ...]
    output_tokens: int
    keep: int
    slot: int


@dataclass(frozen=True, slots=True)
class Sent:
    """The request began to leave at `sent_ns`."""

    sent_ns: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Generated tokens came off the wire at `wire_ns`; `tokens` as the server counts them, if it does."""

    wire_ns: int
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Done:
    """The server's closing words."""

    usage: Usage
    timings: ServerTimings


Event = Sent | Piece | Done


@dataclass(frozen=True, slots=True)
class Facts:
    """What a running engine says of itself; see record.Subject for the fields."""

    engine: str
    engine_version: str
    system_info: str
    options: dict[str, Any]
    model: dict[str, Any]
    memory: dict[str, int]
    pid: int | None
    slots: int
    context_tokens: int


class Backend(Protocol):
    """A running engine with one model. Made by an opener in `harness.open`, closed by it."""

    async def describe(self) -> Facts:
        """What the engine says of itself. Raises RequestFailed."""

    async def vocabulary(self) -> tuple[int, ...]:
        """Ids of ordinary tokens, from which prompts are drawn. Raises RequestFailed."""

    def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """Sent, then a Piece for each part of the stream, then Done. Raises RequestFailed."""
