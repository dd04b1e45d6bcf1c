"""The models of an Ollama server: found, given, pulled, loaded and unloaded; the server is left as it was found."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from harness.backends import Call, NotThere
from harness.errors import HarnessError
from harness.plan import Plan
from harness.wire.tap import RequestFailed
from harness.wire.transport import HTTPX, StampedTransport

if TYPE_CHECKING:
    from ollama import AsyncClient

DEFAULT_HOST = "127.0.0.1:11434"
_CONTEXT_PAD = 256
# Ollama writes a model that stays for ever as one that expires in some centuries.
_FOREVER_S = 10 * 365 * 86400.0


@asynccontextmanager
async def client_of(call: Call, url: str) -> AsyncIterator[AsyncClient]:
    from ollama import AsyncClient

    client = AsyncClient(host=url, transport=StampedTransport(call.clock, HTTPX), timeout=3600.0)
    try:
        yield client
    finally:
        await client._client.aclose()


@asynccontextmanager
async def borrowed(call: Call, url: str) -> AsyncIterator[AsyncClient]:
    """A client of the server for the time of a run, which leaves the model as it was found: loaded for as long, or not.

    Raises NotThere where no server answers or the model is missing.
    """
    async with client_of(call, url) as client:
        before = await _loaded_before(client, url, call.target.served)
        await _require_model(client, url, call)
        try:
            yield client
        finally:
            await _restore(client, call.target.served, before)


def context_tokens(plan: Plan) -> int:
    """A context that holds the longest request of the plan, in whole pages."""
    longest = max(shape.longest_tokens for shape in plan.shapes)
    return -(-(longest + 1) // _CONTEXT_PAD) * _CONTEXT_PAD


def server_url(given: str | None) -> str:
    """The server's URL from an option, OLLAMA_HOST, or the default; `ollama serve` addresses like 0.0.0.0 are read.

    Raises HarnessError for what is no address, and for one with a password or key, since addresses are stored.
    """
    host = (given or os.environ.get("OLLAMA_HOST") or DEFAULT_HOST).strip().rstrip("/")
    scheme, _, rest = host.rpartition("://")
    shown = rest.rpartition("@")[2].partition("?")[0]  # without what may be a password or key
    place, slash, path = rest.partition("/")
    # IPv6 may stand without brackets, where no port follows.
    if place.count(":") > 1 and "[" not in place and "@" not in place:
        rest = f"[{place}]{slash}{path}"
    try:
        parts = urlsplit(f"{scheme or 'http'}://{rest}")
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 11434
        name = parts.hostname or "127.0.0.1"
        name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
        url = parts._replace(netloc=f"{f'[{name}]' if ':' in name else name}:{port}").geturl()
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise HarnessError(
            f"{shown!r} is no address of an Ollama server ({error}): write OLLAMA_HOST or the URL like {DEFAULT_HOST}"
        ) from error
    if "@" in parts.netloc or parts.query:
        raise HarnessError(f"the address of the Ollama server at {shown!r} must not hold a password: it is stored")
    if parts.scheme not in ("http", "https"):
        raise HarnessError(f"{shown!r} is no http address: write OLLAMA_HOST or the URL like {DEFAULT_HOST}")
    return url


async def _loaded_before(client: AsyncClient, url: str, model: str) -> float | None:
    """Seconds for which the server meant to keep `model` loaded, None where it is not. Raises NotThere."""
    try:
        running = await client.ps()
    except _failures() as error:
        raise NotThere(
            f"no Ollama server answers at {url}: start one with `ollama serve`, or name it with OLLAMA_HOST"
        ) from error
    for entry in running.models:
        if same(entry.model, model) and entry.expires_at is not None:
            return (entry.expires_at - datetime.now(UTC)).total_seconds()
    return None


@asynccontextmanager
async def given(call: Call, url: str) -> AsyncIterator[None]:
    """Our weight-free file as a model of the server, removed afterwards. Raises NotThere, RequestFailed."""
    name, path = call.target.served, call.target.path
    if path is None:
        raise HarnessError(f"{call.target.name} has no model file: prepare it first")
    async with client_of(call, url) as client:
        await _loaded_before(client, url, name)
        call.watcher.note(f"giving the weight-free {call.target.name} to the Ollama server for the time of this run")
        try:
            with named(url):
                # In a thread: it hashes gigabytes, and Ctrl-C is to be heard.
                digest = await asyncio.to_thread(_sent_blob, url, path)
                await client.create(
                    model=name, files={"model.gguf": digest}, parameters={"num_ctx": context_tokens(call.plan)}
                )
            yield
        finally:
            await _remove(client, name, call)


def _sent_blob(url: str, path: Path) -> str:
    """Uploads a file; its digest."""
    from ollama import Client

    client = Client(host=url, timeout=3600.0)
    try:
        return client.create_blob(path)
    finally:
        client._client.close()


async def _require_model(client: AsyncClient, url: str, call: Call) -> None:
    """Raises NotThere with the line that brings the model, where it is missing and may not be pulled."""
    name = call.target.served
    with named(url):
        installed = [entry.model or "" for entry in (await client.list()).models]
    if not any(same(entry, name) for entry in installed):
        if not call.door.pull:
            raise NotThere(
                f"the Ollama server at {url} has no model {name}: `ollama pull {name}`, or give --pull, or "
                "--weights synthetic to measure its shape without a download"
            )
        await _pull(client, url, call)


async def _remove(client: AsyncClient, name: str, call: Call) -> None:
    """Removes our model, however the run ended; where that fails the user is told."""
    try:
        with named(""):
            await client.delete(name)
    except RequestFailed:
        call.watcher.note(f"could not remove {name} from the Ollama server: `ollama rm {name}` does it")


async def _pull(client: AsyncClient, url: str, call: Call) -> None:
    """Downloads the model, with progress. Raises NotThere with the server's words."""
    name, last = call.target.served, None
    told: dict[str, Any] = {}
    try:
        with named(url):
            async for step in await client.pull(name, stream=True):
                if step.total and step.completed is not None:
                    wrote, done = told.get(step.digest or "", (call.watcher.building(name, step.total), 0))
                    wrote(step.completed - done)
                    told[step.digest or ""] = (wrote, step.completed)
                last = step.status
    except RequestFailed as error:
        raise NotThere(f"the Ollama server at {url} could not pull {name}: {error}") from error
    if last != "success":
        raise NotThere(f"the Ollama server at {url} could not pull {name}: {last}")


async def unload(client: AsyncClient, model: str) -> None:
    """Frees the model, so that its first request shows a cold load."""
    await client.generate(model=model, prompt="", keep_alive=0)


async def _restore(client: AsyncClient, model: str, before_s: float | None) -> None:
    """Leaves the model as it was found: loaded for as long, or not."""
    with suppress(*_failures()):
        if before_s is None or before_s <= 0:
            await unload(client, model)
        else:
            await client.generate(model=model, prompt="", keep_alive=-1 if before_s > _FOREVER_S else before_s)


def same(one: str | None, other: str) -> bool:
    return _full(one or "") == _full(other)


def _full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _failures() -> tuple[type[Exception], ...]:
    """What the client library raises for a server that does not answer as it should."""
    from ollama import RequestError, ResponseError

    # TypeError: it takes any JSON for an object, ClientResponse(**[1]).
    return httpx.HTTPError, httpx.InvalidURL, ResponseError, RequestError, ConnectionError, TypeError, ValueError


class named:
    """The client library's errors as RequestFailed."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        from ollama import ResponseError

        if isinstance(error, ResponseError):
            raise RequestFailed(f"{self._url}: HTTP {error.status_code}: {error.error}") from error
        if isinstance(error, _failures()):
            raise RequestFailed(f"{self._url}: {type(error).__name__} {error}".partition("\n")[0].strip()) from error
