"""The stopwatch under the client libraries: what it notes of a request, and what it must not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import httpx2
import pytest

from harness.wire.tap import Tap, tapped
from harness.wire.transport import HTTPX, HTTPX2, Flavour, StampedTransport
from tests.harness.backends.scripted import STREAM, Got, plain, scripted

FLAVOURS = pytest.mark.parametrize("flavour", [HTTPX, HTTPX2], ids=["httpx", "httpx2"])
Story = Callable[[Any, str], Coroutine[Any, Any, None]]


def tell(flavour: Flavour, answer: Callable[[Got], AsyncIterator[bytes]], story: Story) -> Tap:
    """The tap after a story of a client and a server."""

    async def run() -> Tap:
        transport = StampedTransport(time.perf_counter_ns, flavour)
        async with scripted(answer, models=()) as url, flavour.http.AsyncClient(transport=transport) as client:
            with tapped() as tap:
                await story(client, url)
            return tap

    return asyncio.run(asyncio.wait_for(run(), 20))


async def three(_: Got) -> AsyncIterator[bytes]:
    yield STREAM
    for piece in (b"one", b"two", b"three"):
        await asyncio.sleep(0.02)
        yield piece


@FLAVOURS
def test_each_piece_is_noted_with_the_instant_it_came(flavour: Flavour) -> None:
    async def story(client: Any, url: str) -> None:
        assert (await client.post(url, content=b"x" * 200_000)).text == "onetwothree"

    begun_ns = time.perf_counter_ns()
    tap = tell(flavour, three, story)
    instants = [at_ns for at_ns, _ in tap.pieces]
    assert begun_ns < tap.sent_ns < instants[0]
    assert (tap.status, tap.body) == (200, b"onetwothree")
    assert [data for _, data in tap.pieces] == [b"one", b"two", b"three"]
    assert instants[-1] - instants[0] >= 0.03e9


@FLAVOURS
def test_of_the_headers_only_those_on_limits_are_kept(flavour: Flavour) -> None:
    async def answer(_: Got) -> AsyncIterator[bytes]:
        lines = ("Retry-After: 3", "X-RateLimit-Remaining-Tokens: 9", "Set-Cookie: a=secret", "X-Request-Id: 7")
        yield plain(429, {}, *lines, "X-RateLimit-Long: " + "z" * 500)

    async def story(client: Any, url: str) -> None:
        await client.get(url)

    tap = tell(flavour, answer, story)
    assert {name: len(value) for name, value in tap.limits.items()} == {
        "retry-after": 1, "x-ratelimit-remaining-tokens": 1, "x-ratelimit-long": 40,
    }  # fmt: skip
    assert (tap.status, tap.retry_after_s) == (429, 3.0)


@FLAVOURS
def test_where_a_library_sends_again_the_last_answer_counts(flavour: Flavour) -> None:
    count = 0

    async def answer(_: Got) -> AsyncIterator[bytes]:
        nonlocal count
        count += 1
        yield plain(503 if count == 1 else 200, {"try": count})

    async def story(client: Any, url: str) -> None:
        first = await client.get(url)
        assert first.status_code == 503
        await client.get(url)

    tap = tell(flavour, answer, story)
    assert (tap.status, tap.body) == (200, b'{"try": 2}')


@FLAVOURS
def test_a_body_that_is_left_keeps_what_was_read_and_the_next_request_is_whole(flavour: Flavour) -> None:
    async def story(client: Any, url: str) -> None:
        async with client.stream("GET", url) as response:
            async for _ in response.aiter_raw():
                break
        with tapped() as next_tap:
            assert (await client.get(url)).text == "onetwothree"
        assert next_tap.body == b"onetwothree"

    assert tell(flavour, three, story).body == b"one"


@FLAVOURS
def test_a_body_that_is_read_twice_is_noted_once(flavour: Flavour) -> None:
    async def story(client: Any, url: str) -> None:
        async with client.stream("GET", url) as response:
            await response.aread()
            assert await response.aread() == b"onetwothree"
            with pytest.raises(flavour.http.StreamError):
                _ = [piece async for piece in response.aiter_raw()]

    assert tell(flavour, three, story).body == b"onetwothree"


@FLAVOURS
def test_failures_are_the_clients_own_and_leave_the_status_open(flavour: Flavour) -> None:
    async def closes(_: Got) -> AsyncIterator[bytes]:
        yield b""

    async def story(client: Any, url: str) -> None:
        with pytest.raises(flavour.http.RemoteProtocolError):
            await client.get(url)
        with pytest.raises(flavour.http.ConnectError):
            await client.get("http://127.0.0.1:9/")

    tap = tell(flavour, closes, story)
    assert (tap.status, tap.pieces) == (0, [])
    assert tap.sent_ns > 0


def test_the_two_generations_fail_with_errors_of_their_own() -> None:
    assert not issubclass(httpx2.ConnectError, httpx.ConnectError)


@FLAVOURS
def test_requests_at_once_have_a_tap_each(flavour: Flavour) -> None:
    async def answer(got: Got) -> AsyncIterator[bytes]:
        yield STREAM
        for _ in range(3):
            await asyncio.sleep(0.002)
            yield got.path.encode()

    async def story(client: Any, url: str) -> None:
        async def one(name: str) -> bytes:
            with tapped() as tap:
                await client.get(f"{url}/{name}")
            return tap.body

        bodies = await asyncio.gather(*(one(str(number)) for number in range(8)))
        assert bodies == [f"/{number}".encode() * 3 for number in range(8)]

    assert tell(flavour, answer, story).pieces == []
