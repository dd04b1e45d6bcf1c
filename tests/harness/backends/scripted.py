"""A server that answers as a test says: for what the simulated engine does not do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from harness.simulated import http

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Got:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def prompt(self) -> str:
        """The user's message of a chat."""
        return str(json.loads(self.body)["messages"][0]["content"])


Answer = Callable[[Got], AsyncIterator[bytes]]


@asynccontextmanager
async def scripted(answer: Answer, models: Sequence[str] = ("mistral",)) -> AsyncIterator[str]:
    """The URL of a server that lists `models` under /v1/models and answers every POST as `answer` does."""
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await http.head(reader)
            if head is None:
                return
            body = await http.body(reader, head)
            if head.method == "GET" and models:
                writer.write(plain(200, {"data": [{"id": name} for name in models]}))
                return
            async for piece in answer(Got(head.method, head.path, head.headers, body or b"")):
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(converse(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plain(status: int, content: Any, *headers: str) -> bytes:
    """A whole answer of JSON."""
    body = json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def delta(text: str, **more: Any) -> bytes:
    """One event of a chat with text."""
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} | more)


def ending(prompt_tokens: int, output_tokens: int, **details: Any) -> bytes:
    """The last events of a chat: a finish reason, usage, [DONE]."""
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": output_tokens, **details}
    last = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
    return last + event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n"


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    named = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "mistral"} | content
    return b"data: " + json.dumps(named).encode() + b"\n\n"
