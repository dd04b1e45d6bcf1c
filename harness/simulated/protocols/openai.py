"""OpenAI's protocol: chat completions, and the older completions of a prompt.

As there a chat's stream begins with an event that has a role and no content: it leaves when a slot
takes the request up, long before the first token. Usage comes in an event of its own, without
choices, and only where `stream_options.include_usage` asks for it. Connections are kept.
"""

from __future__ import annotations

import time
import uuid
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.simulated import http
from harness.simulated.ask import Ask, Fields, Refused, bad
from harness.simulated.completion import Completion
from harness.simulated.engine import Engine
from harness.simulated.protocols.base import Answer, Exchange, Plain, Protocol, Request
from harness.simulated.protocols.llamacpp import model_entry
from harness.simulated.tokens import chat_tokens, text_of, text_tokens

FINGERPRINT = "fp_simulated"

# (type, code) that go with a status.
_KINDS = {
    401: ("invalid_request_error", "invalid_api_key"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("server_error", None),
}


class OpenAI(Protocol):
    """The protocol of api.openai.com, as far as chat and completions go."""

    name = "openai"

    def asks_completion(self, method: str, path: str) -> bool:
        """POST /v1/chat/completions and POST /v1/completions."""
        return method == "POST" and path in ("/v1/chat/completions", "/v1/completions")

    def exchange(self, engine: Engine, request: Request) -> Exchange:
        """The request in a body."""
        fields = Fields.of_body(request.body)
        model = fields.text("model")
        if not model:
            raise bad("you must provide a model parameter", param="model")
        if not engine.library.knows(model):
            message = f"The model `{model}` does not exist or you do not have access to it."
            raise Refused(404, "invalid_request_error", message, code="model_not_found")
        if fields.number("n", 1) != 1:
            raise bad("n: this engine gives one choice only", param="n")
        chat = request.path == "/v1/chat/completions"
        prompt = chat_tokens(fields.messages()) if chat else text_tokens(_prompt(fields))
        ask = _ask(fields, prompt, engine.slots.context_tokens, chat)
        usage = fields.part("stream_options").flag("include_usage", False)
        return ChatExchange(ask, model, None, usage) if chat else TextExchange(ask, model, None, usage)

    async def plain(self, engine: Engine, request: Request) -> Plain:
        """GET /v1/models: the nameless one, as llama.cpp describes it, and all that are installed."""
        if request.method == "GET" and request.path == "/v1/models":
            entries = [_entry(model.name, model.modified_wall_s) for model in engine.library.installed.values()]
            return Plain({"object": "list", "data": [model_entry(engine.slots.context_tokens), *entries]})
        message = f"Invalid URL ({request.method} {request.path})"
        raise Refused(404, "invalid_request_error", message, code="unknown_url")

    def refusal(self, refused: Refused) -> Answer:
        """A message, a type, a parameter, a code."""
        kind, code = _KINDS.get(refused.status, ("server_error" if refused.status >= 500 else "api_error", None))
        error = {
            "message": str(refused),
            "type": refused.kind or kind,
            "param": refused.facts.get("param"),
            "code": refused.facts.get("code", None if refused.kind else code),
        }
        return {"error": error}

    def headers(self, engine: Engine) -> str:
        """A number for the request, and what is left of the limits."""
        limits = engine.limit.headers(engine.clock.now_s())
        lines = {"x-request-id": f"req_{uuid.uuid4().hex}", "openai-version": "2020-10-01"} | limits
        return "".join(f"{name}: {value}\r\n" for name, value in lines.items())


@dataclass(frozen=True, slots=True)
class OpenAIExchange(Exchange):
    """What chats and texts have in common."""

    include_usage: bool = False

    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    kind: ClassVar[str] = ""
    stream_kind: ClassVar[str] = ""
    prefix: ClassVar[str] = ""

    @abstractmethod
    def choice(self, text: Answer, finish_reason: str | None) -> Answer:
        """The one choice of an event."""

    def event(self, plan: Completion, choices: list[Answer]) -> Answer:
        """An event of a stream: with a usage of null where one will come."""
        event = self._named(plan, self.stream_kind) | {"choices": choices}
        return event | {"usage": None} if self.include_usage else event

    def last_events(self, plan: Completion) -> list[Answer]:
        """Why it ended, then (where asked for) the usage; [DONE] is no JSON and stands in `closing`."""
        events = [self.event(plan, [self.choice(self.text([]), _finish_reason(plan))])]
        if self.include_usage and not plan.faults.missing_usage:
            events.append(self.event(plan, []) | {"usage": _usage(plan)})
        return events

    def closing(self, plan: Completion) -> bytes:
        """The last events, [DONE], the end."""
        return self.framed_events(self.last_events(plan)) + self.framed(b"[DONE]") + http.LAST_CHUNK

    def text(self, tokens: list[int]) -> Answer:
        """Tokens as an event has them."""
        return {"content": text_of(tokens)} if tokens else {}

    def _whole(self, plan: Completion, choice: Answer) -> Answer:
        answer = self._named(plan, self.kind) | {"choices": [choice]}
        return answer if plan.faults.missing_usage else answer | {"usage": _usage(plan)}

    def _named(self, plan: Completion, kind: str) -> Answer:
        return {
            "id": f"{self.prefix}-{plan.number:024x}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }


@dataclass(frozen=True, slots=True)
class ChatExchange(OpenAIExchange):
    """POST /v1/chat/completions."""

    kind: ClassVar[str] = "chat.completion"
    stream_kind: ClassVar[str] = "chat.completion.chunk"
    prefix: ClassVar[str] = "chatcmpl"

    def first_events(self, plan: Completion) -> list[Answer]:
        """The role, with empty content."""
        role = {"role": "assistant", "content": "", "refusal": None}
        return [self.event(plan, [self.choice(role, None)])]

    def token_event(self, plan: Completion, begin: int, end: int) -> Answer:
        """A delta, of reasoning or of content."""
        name = "reasoning_content" if begin < plan.reasoning_tokens else "content"
        return self.event(plan, [self.choice({name: text_of(plan.generated[begin:end])}, None)])

    def empty_event(self, plan: Completion, number: int) -> Answer:
        """By turns an empty content and a role alone."""
        return self.event(plan, [self.choice({"role": "assistant"} if number % 2 else {"content": ""}, None)])

    def choice(self, text: Answer, finish_reason: str | None) -> Answer:
        """A delta."""
        return {"index": 0, "delta": text, "logprobs": None, "finish_reason": finish_reason}

    def whole(self, plan: Completion) -> Answer:
        """The message."""
        split = plan.reasoning_tokens
        message: Answer = {"role": "assistant", "content": text_of(plan.generated[split:]), "refusal": None}
        if split:
            message["reasoning_content"] = text_of(plan.generated[:split])
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(plan)}
        return self._whole(plan, choice)


@dataclass(frozen=True, slots=True)
class TextExchange(OpenAIExchange):
    """POST /v1/completions."""

    kind: ClassVar[str] = "text_completion"
    stream_kind: ClassVar[str] = "text_completion"
    prefix: ClassVar[str] = "cmpl"

    def text(self, tokens: list[int]) -> Answer:
        """A text, an empty one too."""
        return {"text": text_of(tokens)}

    def token_event(self, plan: Completion, begin: int, end: int) -> Answer:
        """A piece of text."""
        return self.event(plan, [self.choice(self.text(plan.generated[begin:end]), None)])

    def empty_event(self, plan: Completion, number: int) -> Answer:
        """An empty text."""
        return self.event(plan, [self.choice(self.text([]), None)])

    def choice(self, text: Answer, finish_reason: str | None) -> Answer:
        """A text."""
        return {"index": 0, **text, "logprobs": None, "finish_reason": finish_reason}

    def whole(self, plan: Completion) -> Answer:
        """The text."""
        return self._whole(plan, self.choice(self.text(plan.generated), _finish_reason(plan)))


def _ask(fields: Fields, prompt: list[int], context_tokens: int, chat: bool) -> Ask:
    if len(prompt) >= context_tokens:
        message = (
            f"This model's maximum context length is {context_tokens} tokens. "
            f"However, your messages resulted in {len(prompt)} tokens. Please reduce the length of the messages."
        )
        raise bad(message, code="context_length_exceeded", param="messages" if chat else "prompt")
    limit = "max_completion_tokens" if fields.values.get("max_completion_tokens") is not None else "max_tokens"
    n_predict = int(fields.number(limit, -1))
    if n_predict < 1 and fields.values.get(limit) is not None:
        raise bad(f"Invalid '{limit}': integer below minimum value. Expected a value >= 1.", param=limit)
    fields.number("temperature", 1.0)
    fields.number("seed", 0)
    return Ask(prompt, n_predict, context_tokens, stream=fields.flag("stream", False), separates_reasoning=chat)


def _prompt(fields: Fields) -> str:
    prompt: Any = fields.values.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise bad("prompt: this engine takes one string", param="prompt")
    return prompt


def _entry(name: str, created_wall_s: float) -> Answer:
    return {"id": name, "object": "model", "created": int(created_wall_s), "owned_by": "library"}


def _finish_reason(plan: Completion) -> str:
    return "stop" if plan.stopped else "length"


def _usage(plan: Completion) -> Answer:
    prompt_tokens = len(plan.ask.prompt)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": plan.claimed_tokens,
        "total_tokens": prompt_tokens + plan.claimed_tokens,
        "prompt_tokens_details": {"cached_tokens": plan.work.past_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": plan.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
