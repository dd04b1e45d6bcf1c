"""A client of the simulated engine, and a clock that does not wait."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, Unpack

import httpx

from harness.simulated.law import NO_FAULTS, Faults, Law
from harness.simulated.options import Setup
from harness.simulated.serving import serving

T = TypeVar("T")

PROMPT = [10, 11, 12, 13, 14]


class InstantClock:
    """Time passes only by waiting, and waiting takes no time: what the engine waited for is its schedule."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []
        self.present_s = 0.0

    def now_s(self) -> float:
        return self.present_s

    async def until(self, instant_s: float) -> None:
        self.waited_s.append(instant_s)
        self.present_s = max(self.present_s, instant_s)
        await asyncio.sleep(0)


def instant(
    law: Law | None = None, faults: Faults = NO_FAULTS, *, clock: InstantClock | None = None, **setup: Unpack[Setup]
) -> AbstractAsyncContextManager[str]:
    """An engine that keeps its law without taking any time for it."""
    setup.setdefault("context_tokens", 256)
    return serving(law or Law(), faults, clock=clock or InstantClock(), **setup)


def client(url: str) -> httpx.AsyncClient:
    """An HTTP client for one engine."""
    return httpx.AsyncClient(base_url=url, trust_env=False, verify=False)


async def asked(url: str, **ask: object) -> httpx.Response:
    """The response to a request for a completion."""
    async with client(url) as connection:
        return await connection.post("/completion", json={"prompt": PROMPT, "n_predict": 4} | ask)


async def whole(url: str, **ask: object) -> dict[str, Any]:
    """An answer in one piece."""
    answer: dict[str, Any] = (await asked(url, **ask)).json()
    return answer


async def streamed(url: str, **ask: object) -> list[dict[str, Any]]:
    """All events of a stream; one that is no JSON is {}."""
    return events((await asked(url, stream=True, **ask)).text)


def events(text: str) -> list[dict[str, Any]]:
    """The events in the text of a stream; one that is no JSON is {}."""
    parsed = []
    for line in text.split("\n\n"):
        if line.strip():
            try:
                parsed.append(json.loads(line.removeprefix("data: ")))
            except ValueError:
                parsed.append({})
    return parsed


async def raw(url: str, *requests: bytes) -> bytes:
    """Every byte that comes back on one connection until the engine closes it."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"".join(requests))
    received = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return received


def post(path: str, body: object, *headers: str) -> bytes:
    """The bytes of a POST."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it, and no longer than ten seconds."""
    return asyncio.run(asyncio.wait_for(work, 10))
