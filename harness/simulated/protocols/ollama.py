"""Ollama's protocol (read off the source of v0.24.0): generate and chat; the rest is in `ollama_models`.

As there the header of a stream leaves with its first line. `prompt_eval_count` is the whole prompt,
cached tokens included, while `prompt_eval_duration` is what prefilling the rest took, and
`eval_duration` runs from the first token to the last: eval_count - 1 steps.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from harness.simulated import http
from harness.simulated.ask import Ask, Fields, Refused
from harness.simulated.completion import Completion
from harness.simulated.engine import Engine
from harness.simulated.protocols import ollama_models
from harness.simulated.protocols.base import Answer, Exchange, Plain, Protocol, Request
from harness.simulated.protocols.durations import date, keep_alive_s, nanoseconds
from harness.simulated.tokens import chat_tokens, text_of, text_tokens

_COMPLETIONS = ("/api/generate", "/api/chat")


class Ollama(Protocol):
    """The protocol of an Ollama server."""

    name = "ollama"

    def asks_completion(self, method: str, path: str) -> bool:
        """POST /api/generate and POST /api/chat; without a prompt they only load or unload."""
        return method == "POST" and path in _COMPLETIONS

    def exchange(self, engine: Engine, request: Request) -> Exchange | None:
        """The request in a body, None where it has no prompt."""
        fields = Fields.of_body(request.body)
        model = _known_model(engine, fields)
        options = fields.part("options")
        context_tokens = _context_tokens(engine, options)
        stream = fields.flag("stream", True)
        prompt = _prompt_tokens(request.path, fields)
        if not prompt:
            return None
        # What does not fit is cut off at the beginning, as Ollama does it.
        ask = Ask(
            prompt[-(context_tokens - 1) :],
            int(options.number("num_predict", -1)),
            context_tokens,
            stream=stream,
            separates_reasoning=not fields.flag("raw", False),
        )
        options.number("temperature", 0.8)
        options.number("seed", 0)
        kind = ChatExchange if request.path == "/api/chat" else GenerateExchange
        return kind(ask, model, keep_alive_s(fields), fields.flag("raw", False))

    async def plain(self, engine: Engine, request: Request) -> Plain:
        """Loading and unloading, and what concerns models."""
        if not self.asks_completion(request.method, request.path):
            return await ollama_models.plain(engine, request)
        fields = Fields.of_body(request.body)
        model, keep_s = _known_model(engine, fields), keep_alive_s(fields)
        reason = "unload" if keep_s == 0 else "load"
        if keep_s == 0:
            engine.library.unload(model)
        else:
            await engine.arrival(model, _context_tokens(engine, fields.part("options")), request.received_s)
            with engine.library.in_use(model, keep_s):
                pass
        answer = {"model": model, "created_at": date(time.time())}
        content: Answer = {"response": ""}
        if request.path == "/api/chat":
            content = {"message": {"role": "assistant", "content": ""}}
        return Plain(answer | content | {"done": True, "done_reason": reason})

    def refusal(self, refused: Refused) -> Answer:
        """A message and nothing else."""
        return {"error": str(refused)}


@dataclass(frozen=True, slots=True)
class OllamaExchange(Exchange):
    """What chats and texts have in common. `raw` is a prompt without a template."""

    raw: bool = False

    stream_type: ClassVar[str] = "application/x-ndjson"
    header_first: ClassVar[bool] = False
    has_comments: ClassVar[bool] = False

    @staticmethod
    def framed(event: bytes) -> bytes:
        """One event as a chunk with a line."""
        return http.ndjson(event)

    @abstractmethod
    def content(self, answer: list[int], thinking: list[int]) -> Answer:
        """Tokens as an event has them."""

    def token_event(self, plan: Completion, begin: int, end: int) -> Answer:
        """A piece of thinking or of the answer."""
        tokens = plan.generated[begin:end]
        thinks = begin < plan.reasoning_tokens
        content = self.content([], tokens) if thinks else self.content(tokens, [])
        return self._dated(plan, end) | content | {"done": False}

    def empty_event(self, plan: Completion, number: int) -> Answer:
        """A line without tokens."""
        return self._dated(plan, number) | self.content([], []) | {"done": False}

    def last_events(self, plan: Completion) -> list[Answer]:
        """The line that is done."""
        return [self._done(plan, self.content([], []))]

    def whole(self, plan: Completion) -> Answer:
        """The last line with all tokens."""
        split = plan.reasoning_tokens
        return self._done(plan, self.content(plan.generated[split:], plan.generated[:split]))

    def _dated(self, plan: Completion, done_tokens: int) -> Answer:
        return {"model": self.model, "created_at": date(plan.wall_s(done_tokens))}

    def _done(self, plan: Completion, content: Answer) -> Answer:
        end: Answer = {"done": True, "done_reason": "stop" if plan.stopped else "length"}
        if not self.raw and "response" in content:
            end["context"] = plan.ask.prompt + plan.generated
        metrics = {
            "total_duration": nanoseconds(plan.end_s - plan.arrival.received_s),
            "load_duration": nanoseconds(plan.arrival.load_s),
            "prompt_eval_count": len(plan.ask.prompt),
            "prompt_eval_duration": nanoseconds(plan.timeline.prefill_s),
            "eval_count": plan.claimed_tokens,
            "eval_duration": nanoseconds(plan.timeline.decode_s),
        }
        missing = {"_duration"} if plan.faults.missing_timings else set()
        missing |= {"_count"} if plan.faults.missing_usage else set()
        kept = {name: value for name, value in metrics.items() if not name.endswith(tuple(missing))}
        return self._dated(plan, plan.work.output_tokens) | content | end | kept


@dataclass(frozen=True, slots=True)
class ChatExchange(OllamaExchange):
    """POST /api/chat."""

    def content(self, answer: list[int], thinking: list[int]) -> Answer:
        """A message."""
        message = {"role": "assistant", "content": text_of(answer)}
        return {"message": message | {"thinking": text_of(thinking)} if thinking else message}


@dataclass(frozen=True, slots=True)
class GenerateExchange(OllamaExchange):
    """POST /api/generate."""

    def content(self, answer: list[int], thinking: list[int]) -> Answer:
        """A response."""
        response = {"response": text_of(answer)}
        return response | {"thinking": text_of(thinking)} if thinking else response


def _known_model(engine: Engine, fields: Fields) -> str:
    model = fields.text("model")
    if not engine.library.knows(model):
        raise Refused(404, "", f"model '{model}' not found")
    return model


def _context_tokens(engine: Engine, options: Fields) -> int:
    return max(2, int(options.number("num_ctx", engine.library.context_tokens)))


def _prompt_tokens(path: str, fields: Fields) -> list[int]:
    """No tokens at all where there is no prompt."""
    if path == "/api/chat":
        return chat_tokens(fields.messages()) if fields.values.get("messages") else []
    prompt = fields.text("prompt")
    if not prompt:
        return []
    if fields.flag("raw", False):
        return text_tokens(prompt)
    system = fields.text("system")
    return chat_tokens([*([("system", system)] if system else []), ("user", prompt)])
