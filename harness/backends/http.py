"""Chat completions over plain HTTP: the same requests as through the official client, without it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from harness.backends import Ask, Call, Facts, NotThere, Opened
from harness.backends.chat import Chat, endpoint
from harness.record import Usage
from harness.wire.raw import Wire
from harness.wire.streams import openai_stream
from harness.wire.tap import RequestFailed, tapped


class PlainChat:
    """One model behind an OpenAI-compatible server, spoken to by hand."""

    stream = staticmethod(openai_stream)

    def __init__(self, wire: Wire, chat: Chat) -> None:
        self._wire = wire
        self._chat = chat
        self.learn = chat.learn

    async def describe(self) -> Facts:
        """What is known of the server."""
        return self._chat.facts(f"httpx {version('httpx')}")

    async def vocabulary(self) -> tuple[str, ...]:
        """Words."""
        return self._chat.vocabulary()

    async def generate(self, ask: Ask) -> AsyncGenerator[Usage | None, None]:
        """One chat completion, streamed. Raises RequestFailed."""
        rest = b""
        async with self._wire.post_stream("/chat/completions", self._chat.body(ask)) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data:") and _has_text(line[5:]):
                        yield None


def _has_text(data: bytes) -> bool:
    try:
        deltas = [choice.get("delta") or {} for choice in json.loads(data).get("choices") or ()]
        return any(delta.get(name) for delta in deltas for name in ("content", "reasoning_content", "reasoning"))
    except (ValueError, AttributeError, TypeError):
        # Said by the reader of the wire, with what was wrong.
        return False


@asynccontextmanager
async def open_http(call: Call) -> AsyncIterator[Opened]:
    """The endpoint of --base-url http=URL, OPENAI_BASE_URL, or OpenAI. Raises NotThere."""
    where = endpoint(call, "http")
    wire = Wire(where.url, call.clock, headers={"Authorization": f"Bearer {where.key}"})
    try:
        chat = Chat(call, where)
        chat.require_model(await _listed(wire))
        server = PlainChat(wire, chat)
        yield Opened(server, (await server.describe()).pid)
    finally:
        await wire.close()


async def _listed(wire: Wire) -> list[str]:
    """The models that the server lists; none where it does not know the path. Raises NotThere."""
    with tapped() as tap:
        try:
            listed = await wire.get_json("/models")
            return [str(entry["id"]) for entry in listed["data"]]
        except RequestFailed as error:
            # A server need not list its models.
            if tap.status == 404:
                return []
            raise NotThere(f"http: {error}") from error
        except (KeyError, TypeError) as error:
            raise NotThere(f"http: {wire.base_url}/models is no list of models: is that an OpenAI endpoint?") from error
