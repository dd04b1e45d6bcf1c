"""What a stream said, read from the bytes on the wire: OpenAI's, Ollama's and llama.cpp's.

Read after the request has ended, so that reading costs nothing while chunks still come, and from
the wire, so that no client library stands between the server's words and the record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from harness.record import ServerTimings, Usage
from harness.wire.raw import first_line
from harness.wire.tap import RequestFailed, Tap

Pieces = Iterable[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """Generated text came off the wire: `tokens` as the server counts them (None: it does not say), its length."""

    wire_ns: int
    tokens: int | None
    characters: int


@dataclass(slots=True)
class Told:
    """What a stream said. `complete` is whether its closing words came; `error` what was wrong with it.

    `thoughts` is whether reasoning was streamed.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    timings: ServerTimings = field(default_factory=ServerTimings)
    complete: bool = False
    error: str | None = None
    thoughts: bool = False


# A protocol: takes one event into account.
Reader = Callable[[Told, int, dict[str, Any]], None]


def told(tap: Tap, reader: Reader) -> Told:
    """What the server said; a refusal, a cut or an unreadable stream is its `error`."""
    found = Told()
    if tap.status not in (0, 200):
        found.error = f"HTTP {tap.status}: {error_text(tap.body)}"
        return found
    try:
        with shaped():
            for at_ns, line in _lines(tap.pieces):
                if (event := _event(line)) is not None:
                    reader(found, at_ns, event)
    except RequestFailed as failure:
        found.error = str(failure)
        return found
    if not found.complete:
        found.error = (
            "the stream ended before its last event: the server died or closed the connection"
            if tap.pieces
            else "no answer came"
        )
    return found


@contextmanager
def shaped() -> Iterator[None]:
    """Where the block reads JSON of another shape than a protocol's, ourselves or a client library: RequestFailed."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise RequestFailed(f"the answer has another shape than its protocol says ({type(error).__name__})") from error


def error_text(body: bytes) -> str:
    """The message in the body of a refusal, in one line."""
    text = body.decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return first_line(text)
    return first_line(str(error.get("message", error)) if isinstance(error, dict) else str(error))


def openai_stream(found: Told, at_ns: int, event: dict[str, Any]) -> None:
    """Chat completions: deltas with text or reasoning, `usage` on any event, [DONE] or a finish reason at the end.

    The server does not say how many tokens a delta holds.
    """
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        text = choice.get("text") or delta.get("content") or ""
        found.thoughts = found.thoughts or bool(thought)
        if text or thought:
            found.arrivals.append(Arrival(at_ns, None, len(text) + len(thought)))
        if choice.get("finish_reason"):
            found.complete = True
    if usage := event.get("usage"):
        found.usage = openai_usage(usage)
        if found.usage.reasoning_tokens and not found.thoughts:
            found.usage = replace(found.usage, hidden_tokens=found.usage.reasoning_tokens)


def openai_usage(usage: dict[str, Any]) -> Usage:
    """The `usage` object of OpenAI's protocol."""
    return Usage(
        prompt_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
    )


def ollama_stream(found: Told, at_ns: int, event: dict[str, Any]) -> None:
    """Ollama's generate and chat: text or thinking, then a last event with counts and durations in ns."""
    message = event.get("message") or event
    text = (message.get("response") or message.get("content") or "") + (message.get("thinking") or "")
    if text:
        found.arrivals.append(Arrival(at_ns, None, len(text)))
    if event.get("done"):
        found.complete = True
        found.usage = Usage(prompt_tokens=event.get("prompt_eval_count"), output_tokens=event.get("eval_count"))
        found.timings = ServerTimings(
            load_s=_seconds(event.get("load_duration")),
            prefill_s=_seconds(event.get("prompt_eval_duration")),
            decode_s=_seconds(event.get("eval_duration")),
        )


def llamacpp_stream(found: Told, at_ns: int, event: dict[str, Any]) -> None:
    """llama.cpp's `/completion` with `return_tokens`: token ids with each event, `timings` with the last."""
    if event.get("tokens") or event.get("content"):
        tokens = event.get("tokens")
        found.arrivals.append(Arrival(at_ns, len(tokens) if tokens else None, len(event.get("content") or "")))
    if event.get("stop"):
        timings = event.get("timings") or {}
        found.complete = True
        found.usage = Usage(event.get("tokens_evaluated"), event.get("tokens_predicted"), timings.get("cache_n"))
        if timings:
            found.timings = ServerTimings(prefill_s=timings["prompt_ms"] / 1e3, decode_s=timings["predicted_ms"] / 1e3)


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds * 1e-9


def _lines(pieces: Pieces) -> Iterator[tuple[int, bytes]]:
    """Whole lines, each with the instant of the piece that completed it; a last line needs no end."""
    rest, at_ns = b"", 0
    for at_ns, piece in pieces:
        rest += piece
        if b"\n" in piece:
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield at_ns, line
    if rest.strip():
        yield at_ns, rest


def _event(line: bytes) -> dict[str, Any] | None:
    """The JSON of a line of NDJSON or of server-sent events; None for comments, names and [DONE]."""
    data = line.strip()
    if data.startswith(b"data:"):
        data = data[5:].strip()
    elif data.startswith(b"error:"):
        raise RequestFailed(f"the server reports: {error_text(data[6:].strip())}")
    elif not data.startswith(b"{"):
        return None
    if not data or data == b"[DONE]":
        return None
    try:
        event = json.loads(data)
    except ValueError as error:
        raise RequestFailed(f"an event of the stream is not JSON ({len(data)} bytes, {error.args[0]})") from error
    if not isinstance(event, dict):
        raise RequestFailed("an event of the stream is no JSON object")
    if event.get("error"):
        raise RequestFailed(f"the server reports: {error_text(data)}")
    return event
