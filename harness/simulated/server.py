"""The engine's connections: each request to its answer, each event at its planned instant.

Every instant is the start of the work plus the timeline's, so that lateness does not add up. As in
llama.cpp the header of a stream leaves when a slot takes the request up, plain answers keep the
connection, and the end of a stream closes it.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from harness.simulated import answers, http
from harness.simulated.answers import Completion
from harness.simulated.ask import Refused, ask
from harness.simulated.clock import Clock
from harness.simulated.engine import Engine

_REFUSALS = {429: "rate_limit_error", 503: "unavailable_error"}


@dataclass(slots=True, eq=False)
class Server:
    """An engine on a socket: one conversation for each connection."""

    engine: Engine
    clock: Clock
    conversations: set[asyncio.Task[None]] = field(default_factory=set)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self.conversations.add(task)
        # Without it a small event waits up to 40 ms for the one before it to be acknowledged.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(self.engine, self.clock, reader, writer)
        try:
            while (request := await http.http_request(reader)) is not None and await connection.answered(request):
                pass
        except asyncio.CancelledError:
            # The engine stops: whatever is under way is dropped, as when a process ends.
            writer.transport.abort()
        finally:
            self.conversations.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def stop(self) -> None:
        """End all conversations."""
        conversations = list(self.conversations)
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Connection:
    engine: Engine
    clock: Clock
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answered(self, request: http.HttpRequest) -> bool:
        """Answer a request; whether the connection is kept."""
        received_s = self.clock.now_s()
        try:
            if (request.method, request.path) == ("POST", "/completion"):
                return await self._completed(request, received_s)
            body = http.json_bytes(self.engine.plain(request.method, request.path, request.body))
        except Refused as refused:
            body = http.json_bytes(answers.error(refused))
            self.writer.write(http.json_response(refused.status, body, keep=False))
            return False
        self.writer.write(http.json_response(200, body, request.keep))
        return request.keep

    async def _completed(self, request: http.HttpRequest, received_s: float) -> bool:
        slots = self.engine.slots
        faults = self.engine.next_faults()
        if faults.slow_header_s:
            received_s += faults.slow_header_s
            await self.clock.until(received_s)
        if faults.http_status is not None:
            kind = _REFUSALS.get(faults.http_status, "server_error")
            raise Refused(faults.http_status, kind, "simulated fault")
        asked = ask(request.body, slots.context_tokens)
        slot = await slots.taken(asked.id_slot, asked.prompt)
        try:
            start_s = max(received_s, slot.free_since_s)
            if asked.stream:
                self.writer.write(http.STREAM_HEADER)
            planned = self.engine.completion(asked, slot, faults)
            keep = request.keep and not asked.stream and not planned.dies
            if asked.stream:
                done_tokens = await self._streamed(planned, start_s)
            else:
                done_tokens = await self._whole(planned, start_s, keep)
            slot.tokens = asked.prompt + planned.generated[: max(0, done_tokens - 1)]
            return keep
        finally:
            slots.give_back(slot, self.clock.now_s())

    async def _streamed(self, planned: Completion, start_s: float) -> int:
        """Send event after event; how many tokens were out when the last event or the connection was."""
        generated = planned.generated
        last = http.json_bytes(answers.last_event(planned, []))
        ends = planned.timeline.chunk_ends(self.engine.law.chunk_tokens)
        done_tokens = 0
        for number, end in enumerate(ends):
            if end > planned.living_tokens:
                break
            event = http.json_bytes(answers.token_event(planned, generated[done_tokens:end], end))
            if planned.faults.broken_json and number == min(1, len(ends) - 1):
                event = event[: len(event) // 2]
            await self.clock.until(start_s + planned.timeline.token_at_s[end - 1])
            if self.reader.at_eof() or self.writer.is_closing():
                return done_tokens
            self.writer.write(http.event_chunk(event))
            done_tokens = end
        if not planned.dies:
            self.writer.write(http.event_chunk(last) + http.LAST_CHUNK)
        return done_tokens

    async def _whole(self, planned: Completion, start_s: float, keep: bool) -> int:
        """Send the answer in one piece when its last token is ready; how many tokens there were then."""
        body = http.json_bytes(answers.last_event(planned, planned.generated))
        if planned.faults.broken_json:
            body = body[: len(body) // 2]
        await self.clock.until(start_s + planned.timeline.token_at_s[max(0, planned.living_tokens - 1)])
        if not planned.dies:
            self.writer.write(http.json_response(200, body, keep))
        return planned.living_tokens
