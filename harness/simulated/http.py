"""HTTP/1.1, as little of it as an engine needs: a request read, the bytes of an answer.

Written by hand because the instant at which bytes leave is what a simulated engine is for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = "application/json; charset=utf-8"

# A body that is read as a whole is a prompt: more than this is not one.
BODY_BYTES = 2**26
PIECE_BYTES = 2**18

_ENCODER = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Head:
    """A request but for its body."""

    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int

    @property
    def keep(self) -> bool:
        """Whether the client wants the connection kept."""
        return self.headers.get("connection", "").lower() != "close"

    @property
    def is_chunked(self) -> bool:
        """Whether the body says its length piece by piece."""
        return self.headers.get("transfer-encoding", "").lower() == "chunked"


async def head(reader: asyncio.StreamReader) -> Head | None:
    """The next request of a connection, None where the client sends none or no HTTP."""
    try:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Head(method, target.partition("?")[0], headers, int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        return None


async def pieces(reader: asyncio.StreamReader, request: Head) -> AsyncIterator[bytes]:
    """The body, as it comes in. Raises IncompleteReadError or ValueError where it is not what its head says."""
    if not request.is_chunked:
        async for piece in _exactly(reader, request.body_bytes):
            yield piece
        return
    while length := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        async for piece in _exactly(reader, length):
            yield piece
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


async def body(reader: asyncio.StreamReader, request: Head) -> bytes | None:
    """The whole body, None where the client breaks off or sends more than a prompt can be."""
    received = bytearray()
    try:
        async for piece in pieces(reader, request):
            received += piece
            if len(received) > BODY_BYTES:
                return None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        return None
    return bytes(received)


async def _exactly(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    while length > 0:
        piece = await reader.read(min(length, PIECE_BYTES))
        if not piece:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(piece)
        yield piece


def json_bytes(value: Any) -> bytes:
    """Compact JSON."""
    return _ENCODER.encode(value).encode()


def whole_response(status: int, lines: str, content: bytes, keeping: str, content_type: str = JSON) -> bytes:
    """A whole response. `lines` are the headers before the usual ones, `keeping` the one after them."""
    start = f"{_status_line(status)}{lines}"
    about = f"Content-Type: {content_type}\r\nContent-Length: {len(content)}\r\n"
    return f"{start}{about}{keeping}\r\n\r\n".encode() + content


def stream_header(lines: str, content_type: str, keeping: str) -> bytes:
    """What goes before a body that comes in chunks."""
    about = f"Content-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n"
    return f"{_status_line(200)}{lines}{about}{keeping}\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def sse(event: bytes) -> bytes:
    """A server-sent event as one chunk."""
    return chunk(b"data: %b\n\n" % event)


def ndjson(event: bytes) -> bytes:
    """A line of newline-delimited JSON as one chunk."""
    return chunk(event + b"\n")


def ndjson_body(events: Iterable[Any]) -> bytes:
    """A whole body of lines of JSON, each a chunk, and its end."""
    return b"".join(ndjson(json_bytes(event)) for event in events) + LAST_CHUNK


def _status_line(status: int) -> str:
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Error"
    return f"HTTP/1.1 {status} {phrase}\r\n"
