"""Ollama's native API through its official client: raw prompts, its own durations, loading measured apart.

A model of the server's own, or our weight-free file for the time of the run. What was loaded before
is loaded afterwards for as long as it would have been.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.backends import Ask, Call, Facts, Opened
from harness.backends.local import is_local, listening_pid
from harness.backends.ollama_models import borrowed, context_tokens, given, named, same, server_url, unload
from harness.backends.text import WordCount, word_pool
from harness.record import Usage
from harness.wire.streams import ollama_stream, shaped

if TYPE_CHECKING:
    from ollama import AsyncClient

# For the time of the run; restored afterwards.
_KEEP_ALIVE = "30m"


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
        with named(self._url):
            shown = await self._client.show(self._model)
            version_answer = await self._client._client.get("/api/version")
            running = await self._client.ps()
        details = shown.details.model_dump(exclude_none=True) if shown.details else {}
        details.pop("parent_model", None)
        info = {name: value for name, value in (shown.modelinfo or {}).items() if _plain(value)}
        target = self._call.target
        return Facts(
            engine="ollama",
            engine_version=_version(version_answer.json()),
            options={
                "num_ctx": self._context if self._says_context else "the model's own",
                "temperature": 0,
                "raw": True,
                "weights": self._call.door.weights,
            },
            model=target.facts or {"details": details, "info": info},
            memory=next((_said_memory(entry) for entry in running.models if same(entry.model, self._model)), {}),
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
        with named(self._url), shaped():
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
    url = server_url(call.door.base_urls.get("ollama"))
    async with AsyncExitStack() as stack:
        if call.door.weights == "synthetic":
            await stack.enter_async_context(given(call, url))
        client = await stack.enter_async_context(borrowed(call, url))
        with named(url):
            await unload(client, call.target.served)
        server = OllamaServer(client, call, url)
        facts = await server.describe()
        yield Opened(server, facts.pid)


def _is_shared(call: Call, url: str) -> bool:
    """Whether another back end of the run speaks to the same server through OpenAI's protocol."""
    here = _place(url)
    return any(_place(other) == here for name, other in call.door.base_urls.items() if name != "ollama")


def _place(url: str) -> tuple[str, int | None]:
    parts = urlsplit(url)
    return "here" if is_local(url) else parts.hostname or "", parts.port


def _said_memory(entry: Any) -> dict[str, int]:
    """The server's own account of a loaded model: an estimate made before loading, not a measurement."""
    return {"said_bytes": int(entry.size or 0), "said_vram_bytes": int(entry.size_vram or 0)}


def _version(told: Any) -> str:
    return str(told.get("version", "unknown")) if isinstance(told, dict) else "unknown"


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
