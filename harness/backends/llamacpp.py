"""llama.cpp's own server protocol: native `/completion` with token ids, per-slot prefix cache, `timings`.

Serves the embedded engine, a user's llama-server binary, a server that already runs, and the
simulated engine, which all speak it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

from harness.backends import Ask, Done, Event, Facts, Piece, Sent
from harness.record import ServerTimings, Usage
from harness.weights.vocabulary import words
from harness.wire import RequestFailed, Wire, first_line

_POOL_WORDS = 4000
# Parameters may differ by what a file adds (rope factors) or a catalogue leaves out.
_SAME_SIZE = 0.02
# The model id of a simulated server.
SIMULATED = "simulated"


class LlamaServer:
    """A llama.cpp server at the other end of `wire`. `known` holds what the opener knows beyond what it says."""

    def __init__(self, wire: Wire, known: Facts) -> None:
        self._wire = wire
        self._known = known

    async def describe(self) -> Facts:
        """The opener's facts, completed by the server's `/props`. Raises RequestFailed."""
        props = await self._wire.get_json("/props")
        known = self._known
        _require_same_model(known.model, await self._wire.get_json("/v1/models"))
        settings = props.get("default_generation_settings", {})
        return Facts(
            engine=known.engine,
            engine_version=known.engine_version or str(props.get("build_info", "unknown")),
            system_info=known.system_info,
            options=known.options,
            model=known.model,
            memory=known.memory,
            pid=known.pid,
            slots=int(props.get("total_slots", 1)),
            context_tokens=int(settings.get("n_ctx", 0)),
        )

    async def vocabulary(self) -> tuple[int, ...]:
        """Distinct token ids of a text of short words, sorted. Raises RequestFailed."""
        answer = await self._wire.post_json("/tokenize", {"content": " ".join(islice(words(), _POOL_WORDS))})
        ids = tuple(sorted({int(token) for token in answer["tokens"]}))
        if len(ids) < 10:
            raise RequestFailed(
                f"/tokenize knows only {len(ids)} tokens of {_POOL_WORDS} words: not a usable tokenizer"
            )
        return ids

    async def generate(self, ask: Ask) -> AsyncIterator[Event]:
        """Greedy decoding of exactly `output_tokens` tokens, streamed. Raises RequestFailed."""
        body = {
            "prompt": list(ask.prompt),
            "n_predict": ask.output_tokens,
            "id_slot": ask.slot,
            "cache_prompt": ask.keep > 0,
            "temperature": 0.0,
            "ignore_eos": True,
            "return_tokens": True,
            "stream": True,
        }
        async with self._wire.post_stream("/completion", body) as (socket, pieces):
            yield Sent(socket.sent_ns)
            async for event in _events(pieces):
                if event.get("tokens") or event.get("content"):
                    tokens = event.get("tokens")
                    yield Piece(socket.read_ns, len(tokens) if tokens else None)
                if event.get("stop"):
                    yield Done(_usage(event), _timings(event))
                    return
        raise RequestFailed("the stream ended before its last event: the server died or closed the connection")


def _require_same_model(facts: dict[str, Any], told: dict[str, Any]) -> None:
    """Raises RequestFailed where the server's model is not the one that was named; a simulated server has none."""
    meta = (told.get("data") or [{}])[0].get("meta") or {}
    size, expected = meta.get("n_params"), (facts.get("model") or {}).get("parameters")
    if not size or not expected or (told.get("data") or [{}])[0].get("id") == SIMULATED:
        return
    if abs(size / expected - 1) > _SAME_SIZE:
        raise RequestFailed(
            f"the server runs a model of {size:,} parameters, the one named has {expected:,}: name the right --model"
        )


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    buffer = b""
    async for piece in pieces:
        buffer += piece
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                yield _event(line[6:])
            elif line.startswith(b"error: "):
                raise RequestFailed(f"the server reports: {first_line(line[7:].decode('utf-8', 'replace'))}")


def _event(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise RequestFailed(
            f"an event of the stream is not JSON: {first_line(data.decode('utf-8', 'replace'), 60)}"
        ) from error
    if not isinstance(event, dict):
        raise RequestFailed(f"an event of the stream is no JSON object: {event!r}")
    if "error" in event:
        raise RequestFailed(f"the server reports: {event['error']}")
    return event


def _usage(event: dict[str, Any]) -> Usage:
    timings = event.get("timings", {})
    return Usage(
        prompt_tokens=event.get("tokens_evaluated"),
        output_tokens=event.get("tokens_predicted"),
        cached_tokens=timings.get("cache_n"),
    )


def _timings(event: dict[str, Any]) -> ServerTimings:
    timings = event.get("timings")
    if not timings:
        return ServerTimings()
    return ServerTimings(prefill_s=timings["prompt_ms"] / 1e3, decode_s=timings["predicted_ms"] / 1e3)
