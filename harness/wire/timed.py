"""A plain socket that knows from the kernel when its bytes came, whatever Python was busy with meanwhile (Linux).

The kernel stamps each packet as it comes in (SO_TIMESTAMPNS, socket(7)), so that a client library that works on
one stream for milliseconds does not make the chunks of the others late. Of packets that were read in one piece it
is the last one's stamp; therefore a Lookout reads all sockets whenever any stream is worked on, not only once a
round of the event loop, which under many streams takes as long as several tokens. Elsewhere, and inside TLS,
asyncio's transport does, with stamps from when it reads.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import sys
import time
from typing import Any, Protocol

from harness.wire.tap import Clock

# asm-generic/socket.h; Python has no name for it.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_NOTE_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
_READ_BYTES = 256 * 1024
# No stamp is believed to be older: the date was set meanwhile.
_OLDEST_NS = 10_000_000_000
_EVERY_NS = 500_000


class Listener(Protocol):
    """What hears of a timed socket: an asyncio protocol that takes instants."""

    def arrived(self, at_ns: int, data: bytes) -> None:
        """Bytes have come at that instant of the clock."""

    def eof_received(self) -> bool:
        """The other side has said its last."""

    def connection_lost(self, error: Exception | None) -> None:
        """It is over."""

    def pause_writing(self) -> None:
        """The system takes no more for now."""

    def resume_writing(self) -> None:
        """It does again."""


def keeps_time(connection: socket.socket) -> bool:
    """Asks the kernel to stamp what comes on a connection; whether it will."""
    if sys.platform != "linux" or struct.calcsize("@l") != 8:
        return False
    try:
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


class Lookout:
    """Reads the timed sockets on which something came, when told to: at most once in half a millisecond."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._poll: Any = select.epoll() if hasattr(select, "epoll") else None
        self._watched: dict[int, TimedTransport] = {}
        self._looked_ns = 0

    def watch(self, number: int, transport: TimedTransport) -> None:
        """From now on the transport with this file number is read too."""
        if number not in self._watched:
            self._poll.register(number, select.EPOLLIN)
        self._watched[number] = transport

    def forget(self, number: int) -> None:
        """It is not."""
        if self._watched.pop(number, None) is not None:
            self._poll.unregister(number)

    def look(self) -> None:
        """Read what has come."""
        now_ns = self._clock()
        if len(self._watched) < 2 or 0 <= now_ns - self._looked_ns < _EVERY_NS:
            return
        self._looked_ns = now_ns
        for number, _ in self._poll.poll(0):
            if (transport := self._watched.get(number)) is not None:
                transport.read()


class TimedTransport:
    """The part of asyncio's transport that a stream uses, over a connected socket that does not block."""

    def __init__(self, connection: socket.socket, listener: Listener, clock: Clock, lookout: Lookout) -> None:
        self._socket = connection
        self._listener = listener
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._closing = False
        self._finished = False
        self._lookout = lookout
        self.resume_reading()

    def read(self) -> None:
        """Takes what is there off the socket."""
        try:
            data, notes, _, _ = self._socket.recvmsg(_READ_BYTES, _NOTE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(error)
            return
        if data:
            self._listener.arrived(self._clock() - _age_ns(notes, time.time_ns()), data)
        else:
            self._listener.eof_received()
            self.close()

    def write(self, data: bytes) -> None:
        """Sends what the system takes, and the rest when it takes more."""
        if self._closing:
            return
        if not self._unsent:
            data = data[self._sent(data) :]
            if not data or self._closing:
                return
            self._loop.add_writer(self._socket.fileno(), self._writable)
            self._listener.pause_writing()
        self._unsent += data

    def _writable(self) -> None:
        del self._unsent[: self._sent(bytes(self._unsent[:_READ_BYTES]))]
        if not self._unsent and not self._finished:
            self._loop.remove_writer(self._socket.fileno())
            self._listener.resume_writing()
            if self._closing:
                self._finish(None)

    def _sent(self, data: bytes) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._finish(error)
            return 0

    def pause_reading(self) -> None:
        """Leaves what comes to the system."""
        self._lookout.forget(self._socket.fileno())
        self._loop.remove_reader(self._socket.fileno())

    def resume_reading(self) -> None:
        """Reads on."""
        if not self._closing:
            self._loop.add_reader(self._socket.fileno(), self.read)
            self._lookout.watch(self._socket.fileno(), self)

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._closing

    def close(self) -> None:
        """Sends what is left, then closes."""
        if self._closing:
            return
        self._closing = True
        self.pause_reading()
        if not self._unsent:
            self._finish(None)

    def abort(self) -> None:
        """Closes at once."""
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        if not self._finished:
            self.detached().close()
            self._listener.connection_lost(error)

    def detached(self) -> socket.socket:
        """The socket, of which this transport knows nothing from now on."""
        self._closing = self._finished = True
        self.pause_reading()
        self._loop.remove_writer(self._socket.fileno())
        self._unsent.clear()
        return self._socket

    def get_extra_info(self, name: str) -> Any:
        """The socket, or an address of it, as asyncio's transports give them."""
        if name == "socket":
            return self._socket
        if name in ("sockname", "peername") and not self._finished:
            return self._socket.getsockname() if name == "sockname" else self._socket.getpeername()
        return None


def _age_ns(notes: list[tuple[int, int, bytes]], now_ns: int) -> int:
    """How long ago the kernel took the bytes in, in ns of the system's date; 0 where it does not say."""
    for level, kind, data in notes:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) >= _TIMESPEC.size:
            seconds, rest_ns = _TIMESPEC.unpack_from(data)
            age_ns: int = now_ns - seconds * 1_000_000_000 - rest_ns
            return age_ns if 0 <= age_ns < _OLDEST_NS else 0
    return 0
