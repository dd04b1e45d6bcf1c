"""Transports for httpx and httpx2 that stamp bytes as they leave and reach the socket.

A transport is the client's own door to its HTTP core with a network stream of ours in between; HTTP
itself stays theirs. httpx2 is httpx under another name (openai 3 speaks it), so one class serves
both; the modules are arguments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
import httpcore2
import httpx
import httpx2

from harness.wire.tap import LIMIT_HEADERS, Clock, current_tap

_HOLD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Flavour:
    """A generation of httpx: the client's module and its core's."""

    http: Any
    core: Any


HTTPX = Flavour(httpx, httpcore)
HTTPX2 = Flavour(httpx2, httpcore2)


class StampedStream:
    """A socket that remembers when a request began to leave and when the last bytes came.

    Headers and a small body leave in one piece, as a plain client would send them: writes are held
    until the answer is read or 64 KiB are there. `sent_ns` is the instant before the first piece of
    a request leaves, `read_ns` the instant the last read returned.
    """

    def __init__(self, inner: Any, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self._held = bytearray()
        self._sending = False
        self.sent_ns = 0
        self.read_ns = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes, stamped."""
        await self._flush(timeout)
        self._sending = False
        data: bytes = await self._inner.read(max_bytes, timeout)
        self.read_ns = self._clock()
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
        await self._inner.write(held, timeout)

    async def aclose(self) -> None:
        """Closes the socket."""
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> StampedStream:
        """The stream inside TLS: stamps are of the plain bytes."""
        return StampedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._clock)

    def get_extra_info(self, info: str) -> Any:
        """What the inner stream says."""
        return self._inner.get_extra_info(info)


class _StampedNetwork:
    def __init__(self, inner: Any, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> StampedStream:
        inner = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return StampedStream(inner, self._clock)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Body(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    """A response's body, which may be read on after a pause; each piece is noted before it is passed on."""

    def __init__(self, response: Any, failures: dict[type[Exception], type[Exception]]) -> None:
        self._response = response
        self._failures = failures

    async def __aiter__(self) -> AsyncIterator[bytes]:
        socket = self._response.extensions.get("network_stream")
        note = current_tap().pieces.append
        with _translated(self._failures):
            async for piece in self._response.stream:
                note((socket.read_ns, piece))
                yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


class _translated:
    """The core's errors as the client's own, which its users catch."""

    def __init__(self, failures: dict[type[Exception], type[Exception]]) -> None:
        self._failures = failures

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception) and (translated := self._failures.get(type(error))):
            raise translated(str(error)) from error


class StampedTransport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
    """A transport for either generation's AsyncClient that fills the current tap."""

    def __init__(self, clock: Clock, flavour: Flavour = HTTPX) -> None:
        self._http, core = flavour.http, flavour.core
        self._core = core
        self._failures = {
            kind: getattr(flavour.http, name)
            for name in _FAILURES
            if (kind := getattr(core, name, None)) is not None and hasattr(flavour.http, name)
        }
        self._pool = core.AsyncConnectionPool(
            ssl_context=flavour.http.create_ssl_context(),
            max_connections=None,
            keepalive_expiry=60.0,
            network_backend=_StampedNetwork(core.AnyIOBackend(), clock),
        )

    async def handle_async_request(self, request: Any) -> Any:
        """Sends the request; the answer's body fills the tap as it is read.

        A compressed stream could not be read off the wire, so none is asked for.
        """
        request.headers["accept-encoding"] = "identity"
        core = self._core
        url = core.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        with _translated(self._failures):
            response = await self._pool.handle_async_request(
                core.Request(
                    request.method,
                    url,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        tap = current_tap()
        tap.status = response.status
        tap.limits = _limits(response.headers)
        tap.pieces.clear()
        return self._http.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, self._failures),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()


_FAILURES = (
    "ConnectError", "ConnectTimeout", "LocalProtocolError", "NetworkError", "PoolTimeout", "ProtocolError",
    "ReadError", "ReadTimeout", "RemoteProtocolError", "TimeoutException", "UnsupportedProtocol", "WriteError",
    "WriteTimeout",
)  # fmt: skip


def _limits(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found = {}
    for raw, value in headers:
        name = raw.decode("latin-1").lower()
        if name.startswith(LIMIT_HEADERS):
            found[name] = value.decode("latin-1")[:40]
    return found
