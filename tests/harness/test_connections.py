"""Stamped sockets and the connections on them, against servers that do one thing each."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import httpx2
import pytest

from harness.wire.sockets import StampedNetwork
from harness.wire.tap import tapped
from harness.wire.transport import HTTPX, HTTPX2, Flavour, StampedTransport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FLAVOURS = pytest.mark.parametrize("flavour", [HTTPX, HTTPX2], ids=["httpx", "httpx2"])
pytestmark = pytest.mark.anyio
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of these tests."""
    return "asyncio"


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port, which it yields."""
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        with suppress(ConnectionError):
            await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*conversations), 5.0)


@asynccontextmanager
async def client_of(flavour: Flavour, timeout_s: float = 5.0) -> AsyncIterator[httpx.AsyncClient | httpx2.AsyncClient]:
    """A client on the stamped transport."""
    transport = StampedTransport(lambda: 1, flavour)
    async with flavour.http.AsyncClient(transport=transport, timeout=timeout_s) as client:
        yield client


class Greeter:
    """Says hi to each request; counts connections. With `leaves` it closes after an answer without saying so."""

    def __init__(self, leaves: bool = False) -> None:
        self.connections = 0
        self.together = 0
        self.most = 0
        self._leaves = leaves

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await _request_came(reader):
            self.together += 1
            self.most = max(self.most, self.together)
            await asyncio.sleep(0.01)
            self.together -= 1
            writer.write(HELLO)
            if self._leaves:
                break


async def _greeted(client: httpx.AsyncClient | httpx2.AsyncClient, port: int) -> None:
    assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hi"


async def _request_came(reader: asyncio.StreamReader) -> bool:
    try:
        await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return False
    return True


@FLAVOURS
async def test_a_connection_is_kept_for_the_next_request(flavour: Flavour) -> None:
    greeter = Greeter()
    async with serving(greeter) as port, client_of(flavour) as client:
        for _ in range(5):
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hi"
    assert greeter.connections == 1


@FLAVOURS
async def test_requests_at_once_have_connections_of_their_own_and_those_are_kept(flavour: Flavour) -> None:
    greeter = Greeter()
    async with serving(greeter) as port, client_of(flavour) as client:
        for _ in range(3):
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(_greeted(client, port))
    assert greeter.most == 20
    assert greeter.connections == 20


@FLAVOURS
async def test_a_connection_that_the_server_left_is_not_used_again(flavour: Flavour) -> None:
    greeter = Greeter(leaves=True)
    async with serving(greeter) as port, client_of(flavour) as client:
        for _ in range(20):
            assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hi"
            # The close has reached the machine, not the event loop.
            await asyncio.sleep(0.001)
    assert greeter.connections == 20


@FLAVOURS
async def test_a_body_that_is_not_read_to_its_end_costs_its_connection_and_no_other(flavour: Flavour) -> None:
    greeter = Greeter()
    async with serving(greeter) as port, client_of(flavour) as client:
        async with client.stream("GET", f"http://127.0.0.1:{port}/"):
            pass
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hi"
    assert greeter.connections == 2


@FLAVOURS
async def test_a_request_that_is_cancelled_leaves_the_others_alone(flavour: Flavour) -> None:
    greeter = Greeter()
    async with serving(greeter) as port, client_of(flavour) as client:
        doomed = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
        await asyncio.sleep(0.005)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hi"


@FLAVOURS
async def test_failures_are_the_clients_own(flavour: Flavour) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def cuts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_came(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi")
        await writer.drain()
        writer.transport.abort()

    async with client_of(flavour, timeout_s=0.2) as client:
        async with serving(silent) as port:
            with pytest.raises(flavour.http.ReadTimeout):
                await client.get(f"http://127.0.0.1:{port}/")
        async with serving(cuts) as port:
            with pytest.raises((flavour.http.ReadError, flavour.http.RemoteProtocolError)):
                await client.get(f"http://127.0.0.1:{port}/")
        with pytest.raises(flavour.http.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/")


async def says_one(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks a little after the connection is there."""
    await asyncio.sleep(0.05)
    writer.write(b"one")


@FLAVOURS
@pytest.mark.parametrize("kernel", [True, False])
async def test_a_stamp_is_of_the_arrival_and_not_of_the_reading(flavour: Flavour, kernel: bool) -> None:
    async with serving(says_one) as port:
        stream = await StampedNetwork(time.perf_counter_ns, flavour.core, kernel).connect_tcp("127.0.0.1", port)
        while not stream.get_extra_info("is_readable"):
            await asyncio.sleep(0)
        came_ns = time.perf_counter_ns()
        await asyncio.sleep(0.3)
        assert await stream.read(65536) == b"one"
        assert abs(stream.read_ns - came_ns) < 150_000_000
        await stream.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux's")
async def test_a_stamp_does_not_wait_for_a_busy_event_loop() -> None:
    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof() and not writer.is_closing():
            await asyncio.sleep(0.05)
            writer.write(b"one")

    async with serving(talks) as port:
        stream = await StampedNetwork(time.perf_counter_ns, HTTPX.core).connect_tcp("127.0.0.1", port)
        ages_ns = list[int]()
        # The kernel begins to stamp a little after it was asked to.
        while len(ages_ns) < 40 and max(ages_ns, default=0) < 100_000_000:
            while not stream.get_extra_info("is_readable"):
                await asyncio.sleep(0)
            # A client library at work on other streams.
            time.sleep(0.15)
            await stream.read(65536)
            ages_ns.append(time.perf_counter_ns() - stream.read_ns)
        assert max(ages_ns) >= 100_000_000
        await stream.aclose()


@FLAVOURS
async def test_a_large_body_comes_whole_to_a_slow_reader(flavour: Flavour) -> None:
    size = 20_000_000

    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request_came(reader)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(size))

    async with serving(pours) as port, client_of(flavour) as client:
        with tapped() as tap:
            async with client.stream("GET", f"http://127.0.0.1:{port}/") as response:
                await asyncio.sleep(0.2)
                assert sum([len(piece) async for piece in response.aiter_raw()]) == size
    assert len(tap.body) == size


@FLAVOURS
async def test_a_large_body_goes_out_whole(flavour: Flavour) -> None:
    size, taken = 5_000_000, 0

    async def takes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal taken
        await _request_came(reader)
        while taken < size:
            taken += len(await reader.read(65536))
            await asyncio.sleep(0)
        writer.write(HELLO)

    async with serving(takes) as port, client_of(flavour) as client:
        assert (await client.post(f"http://127.0.0.1:{port}/", content=bytes(size))).text == "hi"
    assert taken == size


@FLAVOURS
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
async def test_tls(flavour: Flavour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate),
         "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    greeter = Greeter()
    async with serving(greeter, context) as port:
        async with client_of(flavour) as client:
            with pytest.raises(flavour.http.ConnectError, match="certificate"):
                await client.get(f"https://127.0.0.1:{port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with client_of(flavour) as client:
            with tapped() as tap:
                for _ in range(3):
                    assert (await client.get(f"https://127.0.0.1:{port}/")).text == "hi"
    assert tap.body == b"hi"
    assert tap.sent_ns == 1
    assert greeter.connections == 1
