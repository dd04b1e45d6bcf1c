"""Transports for httpx and httpx2 that stamp bytes as they leave and reach the socket.

A transport is the client's own door to its HTTP core with a network stream of ours in between; HTTP
itself stays theirs. httpx2 is httpx under another name (openai 3 speaks it), so one class serves
both; the modules are arguments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpcore
import httpcore2
import httpx
import httpx2

from harness.wire.connections import Connections
from harness.wire.tap import LIMIT_HEADERS, Clock, current_tap


@dataclass(frozen=True, slots=True)
class Flavour:
    """A generation of httpx: the client's module and its core's."""

    http: Any
    core: Any


HTTPX = Flavour(httpx, httpcore)
HTTPX2 = Flavour(httpx2, httpcore2)


class _Body(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    """A response's body, which may be read on after a pause; each piece is noted before it is passed on.

    `ended` is called once, when nothing more will be read.
    """

    def __init__(
        self, response: Any, failures: dict[type[Exception], type[Exception]], ended: Callable[[], Awaitable[None]]
    ) -> None:
        self._response = response
        self._failures = failures
        self._ended: Callable[[], Awaitable[None]] | None = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        socket = self._response.extensions.get("network_stream")
        note = current_tap().pieces.append
        with _translated(self._failures):
            async for piece in self._response.stream:
                note((socket.read_ns, piece))
                yield piece

    async def aclose(self) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        try:
            await self._response.aclose()
        finally:
            await ended()


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
        self._connections = Connections(core, clock, flavour.http.create_ssl_context())

    async def handle_async_request(self, request: Any) -> Any:
        """Sends the request; the answer's body fills the tap as it is read.

        A compressed stream could not be read off the wire, so none is asked for.
        """
        request.headers["accept-encoding"] = "identity"
        core = self._core
        url = core.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        sent = core.Request(
            request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        with _translated(self._failures):
            connection = await self._connections.taken(url)
            try:
                response = await connection.handle_async_request(sent)
            except BaseException:
                await self._connections.give_back(connection, url)
                raise
        tap = current_tap()
        tap.status = response.status
        tap.limits = _limits(response.headers)
        tap.pieces.clear()
        return self._http.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, self._failures, partial(self._connections.give_back, connection, url)),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._connections.aclose()


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
