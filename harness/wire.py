"""The stopwatch: an HTTP transport that stamps bytes as they leave and reach the socket.

It sits below every client library, so that what a library costs is measured and not mixed in. The
transport is httpx's door to httpcore with a network stream of our own in between; HTTP itself stays
theirs. The clock is an argument.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import httpx

from harness.errors import HarnessError

Clock = Callable[[], int]

_HOLD_BYTES = 64 * 1024
_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.ConnectionNotAvailable,
    httpcore.UnsupportedProtocol,
)


class RequestFailed(HarnessError):
    """One request that failed; it is recorded with this text and the run goes on."""

    exit_status = 6


class StampedStream(httpcore.AsyncNetworkStream):
    """A socket that remembers when a request began to leave and when the last bytes came.

    Headers and a small body leave in one piece, as a plain client would send them: writes are held
    until the answer is read or 64 KiB are there. `sent_ns` is the instant before the first piece of
    a request leaves, `read_ns` the instant the last read returned.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._held = bytearray()
        self._sending = False
        self.sent_ns = 0
        self.read_ns = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await self._flush(timeout)
        self._sending = False
        data = await self._inner.read(max_bytes, timeout)
        self.read_ns = self._clock()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._held += buffer
        if len(self._held) >= _HOLD_BYTES:
            await self._flush(timeout)

    async def _flush(self, timeout: float | None) -> None:
        if not self._held:
            return
        if not self._sending:
            self._sending = True
            self.sent_ns = self._clock()
        held, self._held = bytes(self._held), bytearray()
        await self._inner.write(held, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return StampedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _StampedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, clock: Clock) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._clock = clock

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        inner = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return StampedStream(inner, self._clock)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


class StampedTransport(httpx.AsyncBaseTransport):
    """An httpx transport whose responses carry their StampedStream as extension `network_stream`."""

    def __init__(self, clock: Clock) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            keepalive_expiry=60.0,
            network_backend=_StampedBackend(clock),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        response = await self._pool.handle_async_request(
            httpcore.Request(
                request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
            )
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class Wire:
    """HTTP to one server. Network failures become RequestFailed with a line that says what happened."""

    def __init__(self, base_url: str, clock: Clock, timeout_s: float = 3600.0) -> None:
        self.base_url = base_url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=self.base_url, transport=StampedTransport(clock), timeout=httpx.Timeout(timeout_s, connect=10.0)
        )

    async def get_json(self, path: str) -> Any:
        """The JSON answer of a GET. Raises RequestFailed."""
        return await self._json("GET", path, None)

    async def post_json(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON answer of a POST. Raises RequestFailed."""
        return await self._json("POST", path, body)

    async def _json(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with _named_failures(f"{self.base_url}{path}"):
            response = await self._client.request(method, path, json=body)
            if response.status_code != 200:
                raise RequestFailed(f"{path} answered HTTP {response.status_code}: {first_line(response.text)}")
            return response.json()

    @asynccontextmanager
    async def post_stream(
        self, path: str, body: dict[str, Any]
    ) -> AsyncIterator[tuple[StampedStream, AsyncIterator[bytes]]]:
        """Opens a streamed POST: the stamped socket, and the body's pieces as they come.

        A piece is yielded before the next read of the socket, so `read_ns` is the instant of the
        piece's last byte. Raises RequestFailed for a status other than 200 and for a broken stream.
        """
        with _named_failures(f"{self.base_url}{path}"):
            async with self._client.stream("POST", path, json=body) as response:
                if response.status_code != 200:
                    text = (await response.aread()).decode("utf-8", "replace")
                    raise RequestFailed(f"HTTP {response.status_code}: {first_line(text)}")
                yield response.extensions["network_stream"], response.aiter_raw()

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.aclose()


class _named_failures:
    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (*_FAILURES, httpx.TransportError)):
            raise RequestFailed(f"{self._where}: {type(error).__name__} {error}".strip()) from error
        if isinstance(error, ValueError):
            raise RequestFailed(f"{self._where} answered what is not JSON: {error}") from error


def first_line(text: str, limit: int = 200) -> str:
    """The first line of a server's error text, shortened for a one-line message."""
    lines = text.strip().splitlines()
    return lines[0][:limit] if lines else "(empty)"
