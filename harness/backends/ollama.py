"""Ollama's native API through its official client: raw prompts, its own durations, loading measured apart.

A model of the server's own, or our weight-free file for the time of the run. What was loaded before
is loaded afterwards for as long as it would have been.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.backends import Ask, Call, Facts, NotThere, Opened
from harness.backends.local import is_local, listening_pid
from harness.backends.text import WordCount, word_pool
from harness.errors import HarnessError
from harness.plan import Plan
from harness.record import Usage
from harness.wire.streams import ollama_stream
from harness.wire.tap import RequestFailed
from harness.wire.transport import HTTPX, StampedTransport

if TYPE_CHECKING:
    from ollama import AsyncClient

DEFAULT_HOST = "127.0.0.1:11434"
# For the time of the run; restored afterwards.
_KEEP_ALIVE = "30m"
_CONTEXT_PAD = 256
# Ollama writes a model that stays for ever as one that expires in some centuries.
_FOREVER_S = 10 * 365 * 86400.0


class OllamaServer:
    """One model of an Ollama server."""

    stream = staticmethod(ollama_stream)

    def __init__(self, client: AsyncClient, call: Call, url: str) -> None:
        self._client = client
        self._call = call
        self._url = url
        self._count = WordCount()
        self._context = context_tokens(call.plan)
        # Another client of the same server cannot say a context length through OpenAI's protocol, and the server
        # loads the model again whenever it changes: then all take the model's own.
        self._says_context = not _is_shared(call, url)

    @property
    def _model(self) -> str:
        return self._call.target.served

    async def describe(self) -> Facts:
        """Version, architecture and options. Raises RequestFailed."""
        with _said(self._url):
            shown = await self._client.show(self._model)
            version_answer = await self._client._client.get("/api/version")
            running = await self._client.ps()
        details = shown.details.model_dump(exclude_none=True) if shown.details else {}
        details.pop("parent_model", None)
        info = {name: value for name, value in (shown.modelinfo or {}).items() if _plain(value)}
        target = self._call.target
        return Facts(
            engine="ollama",
            engine_version=str(version_answer.json().get("version", "unknown")),
            options={
                "num_ctx": self._context if self._says_context else "the model's own",
                "temperature": 0,
                "raw": True,
                "weights": self._call.door.weights,
            },
            model=target.facts or {"details": details, "info": info},
            memory=next((_said_memory(entry) for entry in running.models if _same(entry.model, self._model)), {}),
            pid=listening_pid(self._url) if is_local(self._url) else None,
            context_tokens=self._context if self._says_context else 0,
            client=f"ollama {version('ollama')}",
            remote=not is_local(self._url),
            exact=target.model is not None,
            cold=True,
        )

    async def vocabulary(self) -> tuple[str, ...]:
        """Words."""
        return word_pool(self._call.target)

    async def generate(self, ask: Ask) -> AsyncGenerator[Usage | None, None]:
        """Greedy decoding of a raw prompt, streamed. Raises RequestFailed."""
        prompt = self._count.cut(ask)
        with _said(self._url):
            stream: Any = await self._client.generate(
                model=self._model,
                prompt=prompt,
                raw=True,
                stream=True,
                keep_alive=_KEEP_ALIVE,
                options={
                    **({"num_ctx": self._context} if self._says_context else {}),
                    "num_predict": ask.output_tokens,
                    "temperature": 0,
                    "seed": self._call.plan.seed,
                },
            )
            async with aclosing(stream):
                async for part in stream:
                    if part.response or part.thinking:
                        yield None
                    if part.done:
                        yield Usage(part.prompt_eval_count, part.eval_count)

    def learn(self, ask: Ask, usage: Usage) -> None:
        """How many tokens the server counted for so many words."""
        self._count.learn(ask, usage.prompt_tokens)


@asynccontextmanager
async def open_ollama(call: Call) -> AsyncIterator[Opened]:
    """The server at --base-url ollama=URL, OLLAMA_HOST or 127.0.0.1:11434, its model there and not loaded.

    Raises NotThere with the line that would bring what is missing.
    """
    from ollama import AsyncClient

    url = server_url(call.door.base_urls.get("ollama"))
    client = AsyncClient(host=url, transport=StampedTransport(call.clock, HTTPX), timeout=3600.0)
    try:
        before = await _loaded_before(client, url, call.target.served)
        async with _model_there(client, url, call):
            try:
                with _said(url):
                    await _unload(client, call.target.served)
                server = OllamaServer(client, call, url)
                facts = await server.describe()
                yield Opened(server, facts.pid)
            finally:
                await _restore(client, call.target.served, before)
    finally:
        await client._client.aclose()


def context_tokens(plan: Plan) -> int:
    """A context that holds the longest request of the plan, in whole pages."""
    longest = max(shape.longest_tokens for shape in plan.shapes)
    return -(-(longest + 1) // _CONTEXT_PAD) * _CONTEXT_PAD


def _is_shared(call: Call, url: str) -> bool:
    """Whether another back end of the run speaks to the same server through OpenAI's protocol."""
    here = urlsplit(url).netloc
    return any(urlsplit(other).netloc == here for name, other in call.door.base_urls.items() if name != "ollama")


def server_url(given: str | None) -> str:
    """The server's URL from an option, OLLAMA_HOST, or the default; `ollama serve` addresses like 0.0.0.0 are read."""
    host = (given or os.environ.get("OLLAMA_HOST") or DEFAULT_HOST).strip().rstrip("/")
    host = host if "://" in host else f"http://{host}"
    scheme, _, rest = host.partition("://")
    rest = rest.replace("0.0.0.0", "127.0.0.1")
    name, _, port = rest.partition(":")
    return f"{scheme}://{name or '127.0.0.1'}:{port or ('443' if scheme == 'https' else '11434')}"


async def _loaded_before(client: AsyncClient, url: str, model: str) -> float | None:
    """Seconds for which the server meant to keep `model` loaded, None where it is not. Raises NotThere."""
    try:
        running = await client.ps()
    except _failures() as error:
        raise NotThere(
            f"no Ollama server answers at {url}: start one with `ollama serve`, or name it with OLLAMA_HOST"
        ) from error
    for entry in running.models:
        if _same(entry.model, model) and entry.expires_at is not None:
            return (entry.expires_at - datetime.now(UTC)).total_seconds()
    return None


@asynccontextmanager
async def _model_there(client: AsyncClient, url: str, call: Call) -> AsyncIterator[None]:
    """The model, created from our weight-free file and removed afterwards, pulled, or simply there."""
    name = call.target.served
    if call.door.weights == "synthetic":
        if call.target.path is None:
            raise HarnessError(f"{call.target.name} has no model file: prepare it first")
        call.watcher.note(f"giving the weight-free {call.target.name} to the Ollama server for the time of this run")
        try:
            with _said(url):
                digest = await client.create_blob(call.target.path)
                await client.create(
                    model=name, files={"model.gguf": digest}, parameters={"num_ctx": context_tokens(call.plan)}
                )
            yield
        finally:
            await _remove(client, name, call)
        return
    with _said(url):
        installed = [entry.model or "" for entry in (await client.list()).models]
    if not any(_same(entry, name) for entry in installed):
        if not call.door.pull:
            raise NotThere(
                f"the Ollama server at {url} has no model {name}: `ollama pull {name}`, or give --pull, or "
                "--weights synthetic to measure its shape without a download"
            )
        await _pull(client, url, call)
    yield


async def _remove(client: AsyncClient, name: str, call: Call) -> None:
    """Removes our model, however the run ended; where that fails the user is told."""
    try:
        with _said(""):
            await client.delete(name)
    except RequestFailed:
        call.watcher.note(f"could not remove {name} from the Ollama server: `ollama rm {name}` does it")


async def _pull(client: AsyncClient, url: str, call: Call) -> None:
    """Downloads the model, with progress. Raises NotThere with the server's words."""
    name, last = call.target.served, None
    told: dict[str, Any] = {}
    try:
        with _said(url):
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


async def _unload(client: AsyncClient, model: str) -> None:
    """Frees the model, so that its first request shows a cold load."""
    await client.generate(model=model, prompt="", keep_alive=0)


async def _restore(client: AsyncClient, model: str, before_s: float | None) -> None:
    """Leaves the model as it was found: loaded for as long, or not."""
    with suppress(*_failures()):
        if before_s is None or before_s <= 0:
            await _unload(client, model)
        else:
            await client.generate(model=model, prompt="", keep_alive=-1 if before_s > _FOREVER_S else before_s)


def _said_memory(entry: Any) -> dict[str, int]:
    """The server's own account of a loaded model: an estimate made before loading, not a measurement."""
    return {"said_bytes": int(entry.size or 0), "said_vram_bytes": int(entry.size_vram or 0)}


def _same(one: str | None, other: str) -> bool:
    return _full(one or "") == _full(other)


def _full(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _failures() -> tuple[type[Exception], ...]:
    """What the client library raises for a server that does not answer as it should."""
    import httpx
    from ollama import RequestError, ResponseError

    return httpx.HTTPError, ResponseError, RequestError, ConnectionError, ValueError


class _said:
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
            raise RequestFailed(f"{self._url}: {type(error).__name__} {error}".strip()) from error
