"""What every way to OpenAI's chat completions shares: the endpoint, its key, the body of a request, its facts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harness.backends import Ask, Call, Facts, NotThere
from harness.backends.local import is_local, listening_pid
from harness.backends.text import WordCount, word_pool
from harness.record import Usage

OPENAI_URL = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
# Keeps a real model talking until the limit; its tokens are counted with the template's.
_MORE = "\nContinue this list with as many more words as you can."
# Models that take no temperature and spend tokens on reasoning.
_REASONING = ("o1", "o3", "o4", "gpt-5")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server: its URL up to /v1, and the key that goes there (never stored)."""

    url: str
    key: str

    @property
    def host(self) -> str:
        """Host and port, as a record names it."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI itself."""
        return urlsplit(self.url).hostname == "api.openai.com"


def endpoint(call: Call, backend: str) -> Endpoint:
    """Where `backend` sends its requests: --base-url, OPENAI_BASE_URL, or OpenAI. Raises NotThere without a key."""
    url = (call.door.base_urls.get(backend) or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).rstrip("/")
    if "@" in urlsplit(url).netloc:
        raise NotThere(f"{backend}: OPENAI_BASE_URL must not hold a password: put the key in {KEY}")
    key = os.environ.get(KEY, "")
    if not key and not is_local(url):
        raise NotThere(f"{backend}: no API key for {urlsplit(url).netloc}: set {KEY} in the environment")
    return Endpoint(url, key or "none")


class Chat:
    """The words and bodies of requests to one model behind an endpoint."""

    def __init__(self, call: Call, where: Endpoint) -> None:
        self._call = call
        self._where = where
        self._count = WordCount()
        self._local = is_local(where.url)

    @property
    def model(self) -> str:
        """The model as the server knows it."""
        return self._call.target.served

    def vocabulary(self) -> tuple[str, ...]:
        """Words."""
        return word_pool(self._call.target)

    def learn(self, ask: Ask, usage: Usage) -> None:
        """How many tokens the server counted for so many words."""
        self._count.learn(ask, usage.prompt_tokens)

    def text(self, ask: Ask) -> str:
        """The user's message."""
        words = self._count.cut(ask)
        return words if self._call.target.model is not None else words + _MORE

    def body(self, ask: Ask) -> dict[str, Any]:
        """The request as JSON. Servers of our own are asked not to stop early, others would refuse the word."""
        settings: dict[str, Any] = {
            "max_completion_tokens" if self._where.is_openai else "max_tokens": ask.output_tokens
        }
        if not self.model.startswith(_REASONING):
            settings |= {"temperature": 0, "seed": self._call.plan.seed}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": self.text(ask)}],
            "stream": True,
            "stream_options": {"include_usage": True},
            **settings,
            **self.extensions,
        }

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self._where.host

    @property
    def is_compatible(self) -> bool:
        """Whether the server speaks OpenAI's protocol without being OpenAI."""
        return not self._where.is_openai

    @property
    def extensions(self) -> dict[str, Any]:
        """Fields beyond OpenAI's."""
        return {"ignore_eos": True} if self._local else {}

    def require_model(self, listed: Sequence[str]) -> None:
        """Raises NotThere where the server lists models and this one is not among them."""
        known = {name for entry in listed for name in (entry, entry.removesuffix(":latest"))}
        if listed and self.model not in known and "simulated" not in known:
            some = ", ".join(list(listed)[:5]) + (", ..." if len(listed) > 5 else "")
            raise NotThere(f"{self._where.host} has no model {self.model}; it has {some}: name one with --model")

    def facts(self, client: str) -> Facts:
        """What is known of a server that says nothing of itself."""
        target = self._call.target
        return Facts(
            engine=self._where.host,
            engine_version="unknown",
            options={"temperature": 0, **self.extensions},
            model=target.facts,
            pid=listening_pid(self._where.url) if self._local else None,
            client=client,
            remote=not self._local,
            exact=target.model is not None,
        )
