"""HTTP without a client library: what a request costs when nobody parses more than must be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from harness.wire.tap import Clock, RequestFailed
from harness.wire.transport import StampedTransport


class Wire:
    """HTTP to one server. Network failures become RequestFailed with a line that says what happened."""

    def __init__(
        self, base_url: str, clock: Clock, timeout_s: float = 3600.0, headers: dict[str, str] | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._client = httpx.AsyncClient(
            transport=StampedTransport(clock), timeout=httpx.Timeout(timeout_s, connect=10.0), headers=headers
        )

    async def get_json(self, path: str) -> Any:
        """The JSON answer of a GET. Raises RequestFailed."""
        return await self._json("GET", path, None)

    async def post_json(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON answer of a POST. Raises RequestFailed."""
        return await self._json("POST", path, body)

    async def _json(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        with named_failures(f"{self.base_url}{path}"):
            response = await self._client.request(method, f"{self.base_url}{path}", json=body)
            if response.status_code != 200:
                raise RequestFailed(f"{path} answered HTTP {response.status_code}: {first_line(response.text)}")
            return response.json()

    @asynccontextmanager
    async def post_stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Opens a streamed POST: the body's pieces as they come.

        Raises RequestFailed for a status other than 200 and for a broken stream.
        """
        with named_failures(f"{self.base_url}{path}"):
            async with self._client.stream("POST", f"{self.base_url}{path}", json=body) as response:
                if response.status_code != 200:
                    text = (await response.aread()).decode("utf-8", "replace")
                    raise RequestFailed(f"HTTP {response.status_code}: {first_line(text)}")
                yield response.aiter_raw()

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.aclose()


class named_failures:
    """Network errors of a block, and addresses that are none, as RequestFailed, with `where` it was."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, httpx.InvalidURL):
            raise RequestFailed(f"{self._where} is no URL: {error}") from error
        if isinstance(error, httpx.TransportError):
            raise RequestFailed(f"{self._where}: {type(error).__name__} {error}".strip()) from error
        if isinstance(error, ValueError):
            raise RequestFailed(f"{self._where} answered what is not JSON: {error}") from error


def first_line(text: str, limit: int = 200) -> str:
    """The first line of a server's error text, shortened for a one-line message."""
    lines = text.strip().splitlines()
    return lines[0][:limit] if lines else "(empty)"
