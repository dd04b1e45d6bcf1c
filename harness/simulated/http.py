"""HTTP/1.1, as little of it as an engine needs: a request read, the bytes of an answer.

Written by hand because the instant at which bytes leave is what a simulated engine is for.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

LAST_CHUNK = b"0\r\n\r\n"
STREAM_HEADER = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\nX-Accel-Buffering: no\r\n"
    b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5, max=100\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request: `keep` is whether the client wants the connection kept."""

    method: str
    path: str
    body: bytes
    keep: bool


async def http_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    """The next request of a connection, None where the client sends none or no HTTP."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        return None
    return HttpRequest(method, target.partition("?")[0], body, headers.get("connection", "").lower() != "close")


def json_bytes(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def json_response(status: int, body: bytes, keep: bool) -> bytes:
    """A whole response with a JSON body."""
    phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Error"
    keeping = "Keep-Alive: timeout=5, max=100" if keep else "Connection: close"
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n{keeping}\r\n\r\n"
    )
    return head.encode() + body


def event_chunk(event: bytes) -> bytes:
    """A server-sent event as one chunk of a stream."""
    data = b"data: " + event + b"\n\n"
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
