"""An answer on its way out: each event at its planned instant.

Every instant is the start of the work plus the timeline's, so that lateness does not add up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from harness.simulated import http
from harness.simulated.completion import Completion
from harness.simulated.engine import Engine
from harness.simulated.law import Faults
from harness.simulated.protocols.base import Exchange, Protocol
from harness.simulated.queue_log import Entry


@dataclass(frozen=True, slots=True)
class Wire:
    """A connection, and what is spoken on it."""

    engine: Engine
    protocol: Protocol
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_left(self) -> bool:
        """Whether the client has closed it."""
        return self.reader.at_eof() or self.writer.is_closing()


async def delivered(
    wire: Wire, exchange: Exchange, faults: Faults, received_s: float, keep: bool, entry: Entry
) -> bool:
    """Load the model, take a slot, send the answer; whether the connection is kept."""
    engine, ask = wire.engine, exchange.ask
    entry.prompt_tokens = len(ask.prompt)
    arrival = await engine.arrival(exchange.model, ask.context_tokens, received_s)
    with engine.library.in_use(exchange.model, exchange.keep_alive_s):
        slot = await engine.slots.taken(ask.id_slot, ask.prompt)
        entry.started_s = engine.clock.now_s()
        try:
            if wire.is_left:
                entry.end = "left"
                return False
            plan = engine.completion(ask, slot, faults, arrival)
            keep = keep and not plan.dies and not (ask.stream and exchange.closes_stream)
            send = _streamed if ask.stream else _whole
            await send(wire, exchange, plan, keep, entry)
            slot.tokens = ask.prompt + plan.generated[: max(0, entry.output_tokens - 1)]
            if plan.dies:
                entry.end = "died"
            return keep and entry.end == "complete"
        finally:
            engine.slots.give_back(slot, engine.clock.now_s())


async def _streamed(wire: Wire, exchange: Exchange, plan: Completion, keep: bool, entry: Entry) -> None:
    """Send event after event, until the last one or until the client leaves."""
    clock, writer = wire.engine.clock, wire.writer
    unsent = _stream_header(wire, exchange, keep) + exchange.opening(plan)
    if exchange.header_first:
        writer.write(unsent)
        unsent = b""
    closing = exchange.closing(plan)
    for frame in exchange.frames(plan, wire.engine.law.chunk_tokens):
        data = unsent + frame.data
        due_s = plan.start_s + frame.at_s
        await clock.until(due_s)
        if wire.is_left:
            entry.end = "left"
            return
        writer.write(data)
        unsent = b""
        sent_s = clock.now_s()
        entry.late_s = max(entry.late_s, sent_s - due_s)
        entry.output_tokens = frame.done_tokens
        if entry.first_token_s is None and frame.done_tokens:
            entry.first_token_s = sent_s
    if plan.dies:
        writer.write(unsent)
    else:
        writer.write(closing)


async def _whole(wire: Wire, exchange: Exchange, plan: Completion, keep: bool, entry: Entry) -> None:
    """Send the answer in one piece when its last token is ready."""
    body = http.json_bytes(exchange.whole(plan))
    if plan.faults.broken_json:
        body = body[: len(body) // 2]
    lines, keeping = wire.protocol.headers(wire.engine), wire.protocol.keeping(keep)
    response = http.whole_response(200, lines, body, keeping)
    due_s = plan.start_s + plan.timeline.token_at_s[max(0, plan.living_tokens - 1)]
    await wire.engine.clock.until(due_s)
    if not plan.dies:
        wire.writer.write(response)
    entry.late_s = max(0.0, wire.engine.clock.now_s() - due_s)
    entry.output_tokens = plan.living_tokens
    if plan.living_tokens:
        entry.first_token_s = plan.start_s + plan.timeline.token_at_s[0]


def _stream_header(wire: Wire, exchange: Exchange, keep: bool) -> bytes:
    lines = wire.protocol.headers(wire.engine) + exchange.stream_lines
    # A stream that llama.cpp closes says nothing of it.
    keeping = wire.protocol.keeping(keep or exchange.closes_stream)
    return http.stream_header(lines, exchange.stream_type, keeping)
