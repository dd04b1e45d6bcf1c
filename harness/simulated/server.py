"""The engine's connections: each request to the protocol of its path, each answer back."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from harness.simulated import blobs, http
from harness.simulated.ask import Refused
from harness.simulated.delivery import Wire, delivered
from harness.simulated.engine import Engine
from harness.simulated.protocols import protocol_of
from harness.simulated.protocols.base import Plain, Protocol, Request
from harness.simulated.queue_log import Entry


@dataclass(slots=True, eq=False)
class Server:
    """An engine on a socket: one conversation for each connection."""

    engine: Engine
    conversations: set[asyncio.Task[None]] = field(default_factory=set)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self.conversations.add(task)
        # Without it a small event waits up to 40 ms for the one before it to be acknowledged.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(self.engine, reader, writer)
        try:
            while (head := await http.head(reader)) is not None and await connection.answered(head):
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
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answered(self, head: http.Head) -> bool:
        """Answer a request; whether the connection is kept."""
        protocol = protocol_of(head.path)
        if head.headers.get("expect", "").lower() == "100-continue":
            self.writer.write(http.CONTINUE)
        if head.path.startswith(blobs.PREFIX):
            return await self._blob(protocol, head)
        body = await http.body(self.reader, head)
        if body is None:
            return False
        request = Request(head.method, head.path, body, self.engine.clock.now_s())
        if not protocol.asks_completion(head.method, head.path):
            return await self._plain(protocol, request, head.keep)
        entry = Entry(protocol.name, request.received_s)
        try:
            return await self._completed(protocol, request, head.keep, entry)
        finally:
            entry.ended_s = self.engine.clock.now_s()
            self.engine.log.add(entry)

    async def _completed(self, protocol: Protocol, request: Request, keep: bool, entry: Entry) -> bool:
        engine = self.engine
        try:
            engine.limit.take(engine.clock.now_s())
            faults = engine.next_faults()
            if faults.slow_header_s:
                request = Request(request.method, request.path, request.body, request.received_s + faults.slow_header_s)
                await engine.clock.until(request.received_s)
            if faults.http_status is not None:
                retry = {} if faults.retry_after_s is None else {"retry-after": f"{faults.retry_after_s:g}"}
                raise Refused(faults.http_status, "", "simulated fault", retry)
            exchange = protocol.exchange(engine, request)
            if exchange is None:
                return await self._plain(protocol, request, keep)
            wire = Wire(engine, protocol, self.reader, self.writer)
            return await delivered(wire, exchange, faults, request.received_s, keep, entry)
        except Refused as refused:
            entry.status, entry.end = refused.status, "refused"
            return self._refuse(protocol, refused)

    async def _plain(self, protocol: Protocol, request: Request, keep: bool) -> bool:
        try:
            plain = await protocol.plain(self.engine, request)
        except Refused as refused:
            return self._refuse(protocol, refused)
        self.writer.write(self._plain_bytes(protocol, plain, keep))
        return keep

    def _plain_bytes(self, protocol: Protocol, plain: Plain, keep: bool) -> bytes:
        lines, keeping = protocol.headers(self.engine), protocol.keeping(keep)
        if plain.lines is not None:
            return http.stream_header(lines, "application/x-ndjson", keeping) + http.ndjson_body(plain.lines)
        content = b"" if plain.content is None else http.json_bytes(plain.content)
        return http.whole_response(plain.status, lines, content, keeping)

    async def _blob(self, protocol: Protocol, head: http.Head) -> bool:
        try:
            status = await blobs.answered(self.engine.library, self.reader, head)
        except Refused as refused:
            if head.method != "HEAD":
                return self._refuse(protocol, refused)
            status = refused.status
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            return False
        self.writer.write(http.whole_response(status, "", b"", protocol.keeping(head.keep)))
        return head.keep

    def _refuse(self, protocol: Protocol, refused: Refused) -> bool:
        lines = protocol.headers(self.engine) + "".join(f"{name}: {text}\r\n" for name, text in refused.headers.items())
        body = http.json_bytes(protocol.refusal(refused))
        self.writer.write(http.whole_response(refused.status, lines, body, protocol.keeping(False)))
        return False
