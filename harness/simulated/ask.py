"""What a client asks for, whatever protocol it speaks, and the checks of values that all protocols share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):
    """A request that is answered with an HTTP error. `kind` and `facts` are the protocol's words for it."""

    def __init__(
        self, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None, **facts: int | str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a completion, of a model that holds `context_tokens`.

    `n_predict` below 0 is as much as there is room for; slot -1 is any. `separates_reasoning` is
    whether its protocol can tell reasoning from the answer proper.
    """

    prompt: list[int]
    n_predict: int
    context_tokens: int
    stream: bool = False
    cache_prompt: bool = True
    id_slot: int = -1
    ignore_eos: bool = False
    separates_reasoning: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def most_tokens(self) -> int:
        """How long the answer may be. As llama.cpp: at least one token, no more than the context holds."""
        room_tokens = self.context_tokens - len(self.prompt)
        return room_tokens if self.n_predict < 0 else min(max(1, self.n_predict), room_tokens)


@dataclass(frozen=True, slots=True)
class Fields:
    """The JSON object of a request's body; what is not as it must be is Refused with status 400."""

    values: dict[str, Any]

    @classmethod
    def of_body(cls, body: bytes) -> Fields:
        """The object in a body."""
        try:
            values = json.loads(body)
        except ValueError as error:
            raise bad(f"parse error: {error}") from error
        if not isinstance(values, dict):
            raise bad("the body must be a JSON object")
        return cls(values)

    def number(self, name: str, default: float) -> float:
        """A number; null is the default."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "number")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false; null is the default."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, "boolean")
        return value

    def text(self, name: str) -> str:
        """A text; null and nothing are an empty one."""
        value = self.values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(name, "string")
        return value

    def part(self, name: str) -> Fields:
        """An object within; null and nothing are an empty one."""
        value = self.values.get(name)
        if value is None:
            return Fields({})
        if not isinstance(value, dict):
            raise self._wrong(name, "object")
        return Fields(value)

    def messages(self) -> list[tuple[str, str]]:
        """The (role, text) of each message; of one in parts the text of all parts."""
        messages = self.values.get("messages")
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise self._wrong("messages", "array of objects")
        return [(str(message.get("role", "user")), _content(message)) for message in messages]

    def _wrong(self, name: str, wanted: str) -> Refused:
        return bad(f"Field '{name}': type must be {wanted}, but is {type(self.values.get(name)).__name__}")


def bad(message: str, **facts: int | str) -> Refused:
    """A request that makes no sense."""
    return Refused(400, "invalid_request_error", message, None, **facts)


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return " ".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    raise bad("Field 'messages': content must be a string or a list of parts")
