"""Chat models of LangChain: whatever `init_chat_model` builds, streamed with usage.

The default profile is a 13B model behind an OpenAI-compatible endpoint. Providers that speak
OpenAI's protocol or Ollama's are stamped on the wire; others only as LangChain delivers, which the
record says.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from harness.backends import Ask, Call, Facts, NotThere, Opened
from harness.backends.chat import Chat, Endpoint, endpoint
from harness.backends.ollama_models import borrowed, context_tokens, server_url
from harness.backends.openai import openai_client, require_there, stamped_client
from harness.record import Usage
from harness.wire.raw import first_line
from harness.wire.streams import Reader, ollama_stream, openai_stream, shaped
from harness.wire.tap import RequestFailed
from harness.wire.transport import HTTPX, StampedTransport

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

# Nothing is sent anywhere but to the model.
_QUIET = {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false"}


class LangChainChat:
    """One chat model of LangChain. A model object is built for each answer length."""

    def __init__(self, provider: str, chat: Chat, settings: dict[str, Any], stream: Reader | None) -> None:
        self._provider = provider
        self._chat = chat
        self._settings = settings
        self._models: dict[int, BaseChatModel] = {}
        self.stream = stream
        self.learn = chat.learn

    async def describe(self) -> Facts:
        """What is known of the server."""
        try:
            package = f"langchain-{self._provider.replace('_', '-')}"
            client = f"{package} {version(package)}"
        except ImportError:
            client = f"langchain {version('langchain')} ({self._provider})"
        facts = self._chat.facts(client)
        options = facts.options | {"provider": self._provider, "wire_seen": self.stream is not None}
        return replace(facts, options=options)

    async def vocabulary(self) -> tuple[str, ...]:
        """Words."""
        return self._chat.vocabulary()

    async def generate(self, ask: Ask) -> AsyncGenerator[Usage | None, None]:
        """One answer, streamed. Raises RequestFailed."""
        async with aclosing(_streamed(self._model(ask.output_tokens), self._chat.text(ask))) as stream:
            async for chunk in stream:
                if chunk.content or chunk.additional_kwargs.get("reasoning_content"):
                    yield None
                usage = getattr(chunk, "usage_metadata", None)
                if usage:
                    with shaped():
                        cached = (usage.get("input_token_details") or {}).get("cache_read")
                        claimed = Usage(usage["input_tokens"], usage["output_tokens"], cached)
                    yield claimed

    def _model(self, output_tokens: int) -> BaseChatModel:
        if output_tokens not in self._models:
            from langchain.chat_models import init_chat_model

            limit = "num_predict" if self._provider == "ollama" else "max_tokens"
            settings: dict[str, Any] = {**self._settings, limit: output_tokens}
            if self._provider == "openai" and self._chat.is_compatible:
                # LangChain says max_completion_tokens, which compatible servers (Ollama) do not know: no limit at all.
                settings["extra_body"] = {"max_tokens": output_tokens, **self._chat.extensions}
            self._models[output_tokens] = init_chat_model(self._chat.model, model_provider=self._provider, **settings)
        return self._models[output_tokens]


async def _streamed(model: BaseChatModel, text: str) -> AsyncGenerator[Any, None]:
    """The answer's pieces. Raises RequestFailed for what the provider's package raises: each has errors of its own."""
    stream: Any = model.astream(text)
    async with aclosing(stream):
        while True:
            try:
                chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except Exception as error:
                raise RequestFailed(f"{type(error).__name__}: {error}".splitlines()[0][:200]) from error
            yield chunk


@asynccontextmanager
async def open_langchain(call: Call) -> AsyncIterator[Opened]:
    """The model `PROVIDER:NAME`, or a name behind --base-url langchain=URL. Raises NotThere with what is missing."""
    os.environ.update(_QUIET)
    provider, name = provider_and_name(call.target.served)
    call = replace(call, target=replace(call.target, served=name))
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"temperature": 0}
        stream: Reader | None = None
        if provider == "openai":
            where = await _openai(call, stack, settings)
            stream = openai_stream
        elif provider == "ollama":
            where = Endpoint(server_url(call.door.base_urls.get("langchain")), "")
            await stack.enter_async_context(borrowed(call, where.url))
            settings |= _ollama_settings(call, where, stack)
            stream = ollama_stream
        else:
            where = Endpoint(f"https://{provider}", "")
            # A retry that nobody sees would cost twice.
            settings["max_retries"] = 0
        server = LangChainChat(provider, Chat(call, where), settings, stream)
        _require_built(server, provider)
        yield Opened(server, (await server.describe()).pid)


def provider_and_name(model: str) -> tuple[str, str]:
    """The provider before the colon, where LangChain knows it; else an OpenAI-compatible endpoint."""
    from langchain.chat_models.base import _BUILTIN_PROVIDERS

    first, colon, rest = model.partition(":")
    return (first, rest) if colon and first in _BUILTIN_PROVIDERS else ("openai", model)


async def _openai(call: Call, stack: AsyncExitStack, settings: dict[str, Any]) -> Endpoint:
    where = endpoint(call, "langchain")
    client = await stack.enter_async_context(openai_client(where, call.clock))
    await require_there("langchain", client, Chat(call, where))
    http = await stack.enter_async_context(stamped_client(call.clock))
    settings |= {
        "base_url": where.url,
        "api_key": where.key,
        "stream_usage": True,
        "max_retries": 0,
        "http_async_client": http,
        "seed": call.plan.seed,
    }
    return where


def _ollama_settings(call: Call, where: Endpoint, stack: AsyncExitStack) -> dict[str, Any]:
    # Its clients have no way to be closed: their connections are the transport's.
    transport = StampedTransport(call.clock, HTTPX)
    stack.push_async_callback(transport.aclose)
    return {
        "base_url": where.url,
        "num_ctx": context_tokens(call.plan),
        "keep_alive": "30m",
        "seed": call.plan.seed,
        "async_client_kwargs": {"transport": transport, "timeout": 3600.0},
    }


def _require_built(server: LangChainChat, provider: str) -> None:
    """Raises NotThere where LangChain cannot build the model: a package or a key is missing."""
    try:
        server._model(16)
    except ImportError as error:
        raise NotThere(f"langchain: {first_line(str(error))}") from error
    except Exception as error:  # each provider's package has errors of its own
        said = f"{type(error).__name__} {first_line(str(error))}"
        raise NotThere(f"langchain cannot build a chat model of {provider}: {said}") from error
