"""What a protocol is to the server: a request as an Exchange, an exchange's answer as bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.simulated import http
from harness.simulated.ask import Ask, Refused
from harness.simulated.completion import Completion
from harness.simulated.engine import Engine
from harness.simulated.library import NAMELESS

Answer = dict[str, Any]

COMMENT = http.chunk(b": keep-alive\n\n")


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its body."""

    method: str
    path: str
    body: bytes
    received_s: float


@dataclass(frozen=True, slots=True)
class Plain:
    """The answer to a request that generates nothing: one JSON value, or lines of them as a stream."""

    content: Answer | None = None
    lines: list[Answer] | None = None
    status: int = 200


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of a stream: due so long after the start, with so many tokens out when it is sent."""

    at_s: float
    done_tokens: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Exchange(ABC):
    """One request for a completion, and how its answer reads.

    `header_first`: the header of a stream leaves when a slot takes the request up, not with the
    first token.
    """

    ask: Ask
    model: str = NAMELESS
    keep_alive_s: float | None = None

    stream_type: ClassVar[str] = "text/event-stream"
    stream_lines: ClassVar[str] = ""
    header_first: ClassVar[bool] = True
    closes_stream: ClassVar[bool] = False
    has_comments: ClassVar[bool] = True

    @abstractmethod
    def token_event(self, plan: Completion, begin: int, end: int) -> Answer:
        """The event that brings the answer's tokens from `begin` to `end`."""

    @abstractmethod
    def empty_event(self, plan: Completion, number: int) -> Answer:
        """The `number`-th event that brings no token."""

    @abstractmethod
    def last_events(self, plan: Completion) -> list[Answer]:
        """What comes after the last token."""

    @abstractmethod
    def whole(self, plan: Completion) -> Answer:
        """The answer in one piece."""

    @staticmethod
    def framed(event: bytes) -> bytes:
        """One event as a chunk."""
        return http.sse(event)

    def first_events(self, plan: Completion) -> list[Answer]:
        """What comes before the first token, with the header."""
        return []

    def opening(self, plan: Completion) -> bytes:
        """What is sent with the header."""
        return self.framed_events(self.first_events(plan))

    def frames(self, plan: Completion, chunk_tokens: int) -> Iterator[Frame]:
        """The stream from the first token on. Each piece is made when it is asked for: before it is due."""
        faults = plan.faults
        done_tokens, before_s = 0, 0.0
        ends = plan.chunk_ends(chunk_tokens)
        for number, end in enumerate(ends):
            if end > plan.living_tokens:
                return
            at_s = plan.timeline.token_at_s[end - 1]
            between_s = (before_s + at_s) / 2
            if faults.keep_alive_comments and self.has_comments:
                yield Frame(between_s, done_tokens, COMMENT)
            if faults.empty_deltas:
                empty = http.json_bytes(self.empty_event(plan, number))
                yield Frame(between_s, done_tokens, self.framed(empty))
            event = http.json_bytes(self.token_event(plan, done_tokens, end))
            if faults.broken_json and number == min(1, len(ends) - 1):
                event = event[: len(event) // 2]
            done_tokens, before_s = end, at_s
            yield Frame(at_s, end, self.framed(event))

    def closing(self, plan: Completion) -> bytes:
        """The end of a stream."""
        return self.framed_events(self.last_events(plan)) + http.LAST_CHUNK

    def framed_events(self, events: list[Answer]) -> bytes:
        """Events as they go over the wire."""
        return b"".join(self.framed(http.json_bytes(event)) for event in events)


class Protocol(ABC):
    """One protocol: its paths, its words for what goes wrong, its headers."""

    name: ClassVar[str]

    @abstractmethod
    def exchange(self, engine: Engine, request: Request) -> Exchange | None:
        """The request for a completion, None where it asks for none (then it is a plain one), or Refused."""

    @abstractmethod
    async def plain(self, engine: Engine, request: Request) -> Plain:
        """The answer to any other request, or Refused."""

    @abstractmethod
    def refusal(self, refused: Refused) -> Answer:
        """The body that goes with an HTTP error."""

    @abstractmethod
    def asks_completion(self, method: str, path: str) -> bool:
        """Whether that is a request for a completion."""

    def headers(self, engine: Engine) -> str:
        """The lines that every answer begins with."""
        return ""

    def keeping(self, keep: bool) -> str:
        """The line that says whether the connection is kept."""
        return "Connection: keep-alive" if keep else "Connection: close"
