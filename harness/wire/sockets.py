"""Streams for an HTTP core (httpcore, httpcore2) whose bytes are stamped when they come, not when they are asked for.

So that under many streams a stamp does not wait for a client library's work on the others' chunks: the kernel
stamps them where it can (timed.py), else the event loop as it takes them off the socket.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from harness.wire.tap import Clock, current_tap
from harness.wire.timed import Lookout, TimedTransport, keeps_time

_HOLD_BYTES = 64 * 1024
# More than this that nobody has read yet stops the reading.
_AHEAD_BYTES = 1024 * 1024


class StampedStream(asyncio.Protocol):
    """A socket that remembers when a request began to leave and when the bytes came that were read last.

    Headers and a small body leave in one piece, as a plain client would send them: writes are held
    until the answer is read or 64 KiB are there. `sent_ns` is the instant before the first piece of
    a request leaves, `read_ns` the instant at which what `read` returned last was taken off the socket.
    `core` is the module whose exceptions are raised, `look` is called before anything is sent or waited for.
    """

    def __init__(self, clock: Clock, core: Any, look: Callable[[], None]) -> None:
        self._clock = clock
        self._core = core
        self._look = look
        self._transport: Any = None
        self._held = bytearray()
        self._sending = False
        self._arrived: deque[tuple[int, bytes]] = deque()
        self._ahead_bytes = 0
        self._ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._full = False
        self.sent_ns = 0
        self.read_ns = 0

    # What the event loop calls.

    def connection_made(self, transport: Any) -> None:
        """The socket, or TLS on it, is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes have come off the socket, now."""
        self.arrived(self._clock(), data)

    def arrived(self, at_ns: int, data: bytes) -> None:
        """Bytes have come off the socket, at that instant of the clock."""
        self._arrived.append((at_ns, data))
        self._ahead_bytes += len(data)
        if self._ahead_bytes > _AHEAD_BYTES:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        """The server has said its last."""
        self._ended = True
        _wake(self._reader)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing comes or goes any more."""
        self._ended, self._error = True, error
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        """The system takes no more for now."""
        self._full = True

    def resume_writing(self) -> None:
        """It does again."""
        self._full = False
        _wake(self._writer)

    # What the HTTP core calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes that came in one piece; b"" at the end."""
        self._look()
        await self._flush(timeout)
        self._sending = False
        while not self._arrived:
            if self._error is not None:
                raise self._core.ReadError(str(self._error)) from self._error
            if self._ended or self._transport.is_closing():
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            await self._waited(self._reader, timeout, self._core.ReadTimeout)
        self.read_ns, data = self._arrived.popleft()
        if len(data) > max_bytes:
            self._arrived.appendleft((self.read_ns, data[max_bytes:]))
            data = data[:max_bytes]
        paused = self._ahead_bytes > _AHEAD_BYTES
        self._ahead_bytes -= len(data)
        if paused and self._ahead_bytes <= _AHEAD_BYTES and not self._ended:
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Holds the bytes until they are worth a packet."""
        self._held += buffer
        if len(self._held) >= _HOLD_BYTES:
            await self._flush(timeout)

    async def _flush(self, timeout: float | None) -> None:
        if not self._held:
            return
        if not self._sending:
            self._sending = True
            self.sent_ns = self._clock()
            current_tap().sent_ns = self.sent_ns
        held, self._held = bytes(self._held), bytearray()
        if self._error is None and not self._transport.is_closing():
            self._transport.write(held)
        while self._full and self._error is None:
            self._writer = asyncio.get_running_loop().create_future()
            await self._waited(self._writer, timeout, self._core.WriteTimeout)
        # A server may answer and close before it has read everything: then what it said counts.
        if self._error is not None and not self._arrived:
            raise self._core.WriteError(str(self._error)) from self._error

    @staticmethod
    async def _waited(turn: asyncio.Future[None], timeout: float | None, failure: type[Exception]) -> None:
        """Returns when `turn` has come. Raises `failure` after `timeout` seconds."""
        if timeout is None:
            await turn
            return
        handle = turn.get_loop().call_later(timeout, _expire, turn, failure)
        try:
            await turn
        finally:
            handle.cancel()

    async def aclose(self) -> None:
        """Closes the socket; what is not out by then is dropped."""
        self._transport.close()
        await asyncio.sleep(0)
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> StampedStream:
        """The stream inside TLS: stamps are of the plain bytes."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                if isinstance(self._transport, TimedTransport):
                    await loop.create_connection(
                        lambda: self, ssl=ssl_context, sock=self._transport.detached(), server_hostname=server_hostname
                    )
                else:
                    self._transport = await loop.start_tls(
                        self._transport, self, ssl_context, server_hostname=server_hostname
                    )
        except TimeoutError as error:
            self._transport.abort()
            raise self._core.ConnectTimeout(str(error)) from error
        except OSError as error:
            # ssl.SSLError is one.
            self._transport.abort()
            raise self._core.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        """What the HTTP core asks of a socket; readable is one that has something to say, if only that it closed."""
        if info == "is_readable":
            # What the event loop has not seen yet counts too: servers close kept connections without a word.
            return self._arrived or self._ended or self._transport.is_closing() or _is_readable(self._transport)
        return self._transport.get_extra_info({"client_addr": "sockname", "server_addr": "peername"}.get(info, info))


class _Waits(asyncio.Protocol):
    """Has a connection wait for the stream that will read from it."""

    def connection_made(self, transport: Any) -> None:
        transport.pause_reading()


class StampedNetwork:
    """Opens such streams for an HTTP core; with `kernel` False none is stamped by the kernel."""

    def __init__(self, clock: Clock, core: Any, kernel: bool = True) -> None:
        self._clock = clock
        self._core = core
        self._kernel = kernel
        self._lookout = Lookout(clock)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> StampedStream:
        """A connection; without delay for small packets, as asyncio opens them."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                transport, _ = await loop.create_connection(
                    _Waits,
                    host,
                    port,
                    local_addr=(local_address, 0) if local_address else None,
                    happy_eyeballs_delay=0.25,
                )
        except TimeoutError as error:
            raise self._core.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise self._core.ConnectError(str(error)) from error
        for option in socket_options or ():
            transport.get_extra_info("socket").setsockopt(*option)
        return self._stream_on(transport)

    def _stream_on(self, transport: Any) -> StampedStream:
        """A stream on a connection that asyncio has opened and not read from; a timed one takes over its socket."""
        stream = StampedStream(self._clock, self._core, self._lookout.look)
        connection = transport.get_extra_info("socket").dup()
        if self._kernel and keeps_time(connection):
            connection.setblocking(False)
            transport.abort()
            stream.connection_made(TimedTransport(connection, stream, self._clock, self._lookout))
        else:
            connection.close()
            stream.connection_made(transport)
            transport.set_protocol(stream)
            transport.resume_reading()
        return stream

    async def sleep(self, seconds: float) -> None:
        """The core waits between tries."""
        await asyncio.sleep(seconds)


def _is_readable(transport: Any) -> bool:
    number = transport.get_extra_info("socket").fileno()
    if number < 0 or not hasattr(select, "poll"):
        return number < 0 or bool(select.select([number], [], [], 0)[0])
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


def _wake(turn: asyncio.Future[None] | None) -> None:
    if turn is not None and not turn.done():
        turn.set_result(None)


def _expire(turn: asyncio.Future[None], failure: type[Exception]) -> None:
    if not turn.done():
        turn.set_exception(failure("timed out"))
