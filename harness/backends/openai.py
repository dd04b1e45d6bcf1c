"""OpenAI's chat completions through the official client: GPT-4 and any compatible server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from harness.backends import Ask, Call, Facts, NotThere, Opened
from harness.backends.chat import Chat, Endpoint, endpoint
from harness.record import Usage
from harness.wire.streams import openai_stream, openai_usage, shaped
from harness.wire.tap import Clock, RequestFailed
from harness.wire.transport import HTTPX2, StampedTransport

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI


# Where servers put text; reasoning is no field of OpenAI's own.
_TEXTS = ("content", "reasoning_content", "reasoning")


class OpenAIChat:
    """One model behind the official client."""

    stream = staticmethod(openai_stream)

    def __init__(self, client: AsyncOpenAI, chat: Chat) -> None:
        self._client = client
        self._chat = chat
        self.learn = chat.learn

    async def describe(self) -> Facts:
        """What is known of the server."""
        return self._chat.facts(f"openai {version('openai')}")

    async def vocabulary(self) -> tuple[str, ...]:
        """Words."""
        return self._chat.vocabulary()

    async def generate(self, ask: Ask) -> AsyncGenerator[Usage | None, None]:
        """One chat completion, streamed with usage. Raises RequestFailed."""
        body = self._chat.body(ask)
        extensions = {name: body.pop(name) for name in self._chat.extensions}
        with _said(), shaped():
            created: Any = await self._client.chat.completions.create(**body, extra_body=extensions or None)
            async with created as stream:
                async for event in stream:
                    delta = getattr(event.choices[0], "delta", None) if event.choices else None
                    if delta is not None and any(getattr(delta, name, None) for name in _TEXTS):
                        yield None
                    if event.usage is not None:
                        yield openai_usage(event.usage.model_dump())


@asynccontextmanager
async def open_openai(call: Call) -> AsyncIterator[Opened]:
    """The endpoint of --base-url openai=URL, OPENAI_BASE_URL, or OpenAI. Raises NotThere."""
    where = endpoint(call, "openai")
    async with openai_client(where, call.clock) as client:
        chat = Chat(call, where)
        await require_there("openai", client, chat)
        server = OpenAIChat(client, chat)
        yield Opened(server, (await server.describe()).pid)


@asynccontextmanager
async def stamped_client(clock: Clock) -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP client to hand to libraries that speak httpx2."""
    import httpx2

    timeout = httpx2.Timeout(3600.0, connect=10.0)
    async with httpx2.AsyncClient(transport=StampedTransport(clock, HTTPX2), timeout=timeout) as client:
        yield client


@asynccontextmanager
async def openai_client(where: Endpoint, clock: Clock) -> AsyncIterator[AsyncOpenAI]:
    """The official client on the stamped transport; it tries nothing twice."""
    from openai import AsyncOpenAI

    async with stamped_client(clock) as http:
        yield AsyncOpenAI(base_url=where.url, api_key=where.key, http_client=http, max_retries=0)


async def require_there(backend: str, client: AsyncOpenAI, chat: Chat) -> None:
    """Raises NotThere where the endpoint does not answer, refuses the key, or lacks the model."""
    from openai import NotFoundError

    try:
        with _said(), shaped():
            listed = [str(entry.id) async for entry in client.models.list()]
    except RequestFailed as error:
        # A server need not list its models.
        if isinstance(error.__cause__, NotFoundError):
            return
        raise NotThere(f"{backend}: {chat.host}: {error}") from error
    chat.require_model(listed)


class _said:
    """The client library's errors as RequestFailed."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        import httpx2
        from openai import APIStatusError, OpenAIError

        if isinstance(error, APIStatusError):
            raise RequestFailed(f"HTTP {error.status_code}: {error.message[:200]}") from error
        if isinstance(error, OpenAIError | httpx2.HTTPError | ValueError):
            cause = error.__cause__ or error
            raise RequestFailed(f"{type(cause).__name__} {cause}".strip()[:200]) from error
