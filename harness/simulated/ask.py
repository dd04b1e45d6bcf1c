"""What a client asks of /completion: the body of its request, checked as llama.cpp checks it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from harness.simulated.tokens import token_ids


class Refused(Exception):
    """A request that is answered with an HTTP error; `kind` and `facts` are llama.cpp's words for it."""

    def __init__(self, status: int, kind: str, message: str, **facts: int) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a completion. `n_predict` below 0 is as much as there is room for; slot -1 is any."""

    prompt: list[int]
    n_predict: int
    stream: bool
    cache_prompt: bool
    id_slot: int
    temperature: float
    ignore_eos: bool

    def output_tokens(self, context_tokens: int) -> int:
        """As llama.cpp: at least one, and no more than the context holds."""
        room_tokens = context_tokens - len(self.prompt)
        return room_tokens if self.n_predict < 0 else min(max(1, self.n_predict), room_tokens)

    def is_truncated(self, context_tokens: int) -> bool:
        """Whether the context is what ends the answer."""
        return len(self.prompt) + self.output_tokens(context_tokens) >= context_tokens


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body."""
    try:
        values = json.loads(body)
    except ValueError as error:
        raise _bad(f"parse error: {error}") from error
    if not isinstance(values, dict):
        raise _bad("the body must be a JSON object")
    return values


def ask(body: bytes, context_tokens: int) -> Ask:
    """The request in a body, or Refused."""
    values = json_object(body)
    prompt = _prompt(values)
    if len(prompt) >= context_tokens:
        raise Refused(
            400,
            "exceed_context_size_error",
            f"request ({len(prompt)} tokens) exceeds the available context size ({context_tokens} tokens), "
            "try increasing it",
            n_prompt_tokens=len(prompt),
            n_ctx=context_tokens,
        )
    return Ask(
        prompt=prompt,
        n_predict=int(_number(values, "n_predict", -1)),
        stream=_flag(values, "stream", False),
        cache_prompt=_flag(values, "cache_prompt", True),
        id_slot=int(_number(values, "id_slot", -1)),
        temperature=_number(values, "temperature", 0.8),
        ignore_eos=_flag(values, "ignore_eos", False),
    )


def _bad(message: str) -> Refused:
    return Refused(400, "invalid_request_error", message)


def _prompt(values: dict[str, Any]) -> list[int]:
    if "prompt" not in values:
        raise _bad("key 'prompt' not found")
    prompt = values["prompt"]
    if isinstance(prompt, str):
        prompt = token_ids(prompt)
    if not isinstance(prompt, list) or not all(type(token) is int for token in prompt):
        raise _bad('"prompt" must be a string or a list of token ids')
    if not prompt:
        raise _bad('"prompt" must not be empty')
    return prompt


def _number(values: dict[str, Any], name: str, default: float) -> float:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(f"Field '{name}': type must be number, but is {type(value).__name__}")
    return value


def _flag(values: dict[str, Any], name: str, default: bool) -> bool:
    value = values.get(name, default)
    if not isinstance(value, bool):
        raise _bad(f"Field '{name}': type must be boolean, but is {type(value).__name__}")
    return value
