"""llama.cpp's own protocol (shapes recorded from xllamacpp 2026.10.11549).

As there the header of a stream leaves when a slot takes the request up, plain answers keep the
connection, and the end of a stream closes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.simulated.ask import Ask, Fields, Refused, bad
from harness.simulated.completion import Completion
from harness.simulated.engine import Engine
from harness.simulated.library import NAMELESS
from harness.simulated.protocols.base import Answer, Exchange, Plain, Protocol, Request
from harness.simulated.tokens import VOCABULARY_TOKENS, text_of, token_ids

BUILD = "b0-simulated"

_KINDS = {429: "rate_limit_error", 503: "unavailable_error"}


class LlamaCpp(Protocol):
    """The protocol of llama-server."""

    name = "llamacpp"

    def asks_completion(self, method: str, path: str) -> bool:
        """POST /completion."""
        return (method, path) == ("POST", "/completion")

    def exchange(self, engine: Engine, request: Request) -> Exchange:
        """The request in a body."""
        fields = Fields.of_body(request.body)
        context_tokens = engine.slots.context_tokens
        prompt = _prompt(fields)
        if len(prompt) >= context_tokens:
            raise Refused(
                400,
                "exceed_context_size_error",
                f"request ({len(prompt)} tokens) exceeds the available context size ({context_tokens} tokens), "
                "try increasing it",
                n_prompt_tokens=len(prompt),
                n_ctx=context_tokens,
            )
        settings: dict[str, Any] = {
            "temperature": fields.number("temperature", 0.8),
            "n_predict": int(fields.number("n_predict", -1)),
            "ignore_eos": fields.flag("ignore_eos", False),
            "stream": fields.flag("stream", False),
        }
        ask = Ask(
            prompt,
            n_predict=settings["n_predict"],
            context_tokens=context_tokens,
            stream=settings["stream"],
            cache_prompt=fields.flag("cache_prompt", True),
            id_slot=int(fields.number("id_slot", -1)),
            ignore_eos=settings["ignore_eos"],
            settings=settings,
        )
        return LlamaCppExchange(ask)

    async def plain(self, engine: Engine, request: Request) -> Plain:
        """What the server knows of itself."""
        match request.method, request.path:
            case "GET", "/health":
                return Plain({"status": "ok"})
            case "GET", "/props":
                return Plain(_props(len(engine.slots.slots), engine.slots.context_tokens))
            case "POST", "/tokenize":
                return Plain({"tokens": token_ids(Fields.of_body(request.body).text("content"))})
        raise Refused(404, "not_found_error", "File Not Found")

    def refusal(self, refused: Refused) -> Answer:
        """A code, a message, a type, and facts beside them."""
        kind = refused.kind or _KINDS.get(refused.status, "server_error")
        return {"error": {"code": refused.status, "message": str(refused), "type": kind, **refused.facts}}

    def headers(self, engine: Engine) -> str:
        """The server's name."""
        return "Server: llama.cpp\r\nAccess-Control-Allow-Origin: \r\n"

    def keeping(self, keep: bool) -> str:
        """A kept connection says for how long."""
        return "Keep-Alive: timeout=5, max=100" if keep else "Connection: close"


@dataclass(frozen=True, slots=True)
class LlamaCppExchange(Exchange):
    """POST /completion."""

    closes_stream: ClassVar[bool] = True
    stream_lines: ClassVar[str] = "X-Accel-Buffering: no\r\n"

    def token_event(self, plan: Completion, begin: int, end: int) -> Answer:
        """The tokens it brings, and how many are out with them."""
        return _event(plan, plan.generated[begin:end], end)

    def empty_event(self, plan: Completion, number: int) -> Answer:
        """An event without tokens."""
        return _event(plan, [], 0)

    def last_events(self, plan: Completion) -> list[Answer]:
        """The one with `stop`, without tokens."""
        return [_last(plan, [])]

    def whole(self, plan: Completion) -> Answer:
        """The last event with all tokens."""
        return _last(plan, plan.generated)


def model_entry(context_tokens: int) -> Answer:
    """What GET /v1/models says: a model that nobody takes for a real one."""
    meta = {
        "vocab_type": 1,
        "n_vocab": VOCABULARY_TOKENS,
        "n_ctx": context_tokens,
        "n_ctx_train": context_tokens,
        "n_embd": 64,
        "n_params": 1_000_000,
        "size": 562_500,
        "ftype": "simulated",
    }
    return {
        "id": NAMELESS,
        "aliases": [NAMELESS],
        "tags": [],
        "object": "model",
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "created": 0,
        "owned_by": "llamacpp",
        "meta": meta,
    }


def _prompt(fields: Fields) -> list[int]:
    if "prompt" not in fields.values:
        raise bad("key 'prompt' not found")
    prompt = fields.values["prompt"]
    if isinstance(prompt, str):
        prompt = token_ids(prompt)
    if not isinstance(prompt, list) or not all(type(token) is int for token in prompt):
        raise bad('"prompt" must be a string or a list of token ids')
    if not prompt:
        raise bad('"prompt" must not be empty')
    return prompt


def _props(slots: int, context_tokens: int) -> Answer:
    # `n_ctx` is one slot's share.
    settings = _settings({"temperature": 0.8, "n_predict": -1, "ignore_eos": False, "stream": False})
    return {
        "default_generation_settings": {"params": settings, "n_ctx": context_tokens},
        "total_slots": slots,
        "model_alias": NAMELESS,
        "model_ftype": "simulated",
        "model_path": NAMELESS,
        "modalities": {"vision": False, "video": False, "audio": False},
        "endpoint_slots": False,
        "endpoint_props": True,
        "endpoint_metrics": False,
        "chat_template": "",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "build_info": BUILD,
        "is_sleeping": False,
    }


def _event(plan: Completion, tokens: list[int], done_tokens: int) -> Answer:
    return {
        "index": 0,
        "content": text_of(tokens),
        "tokens": tokens,
        "stop": False,
        "id_slot": -1,
        "tokens_predicted": done_tokens,
        "tokens_evaluated": len(plan.ask.prompt),
    }


def _last(plan: Completion, tokens: list[int]) -> Answer:
    prompt_tokens = len(plan.ask.prompt)
    event = {
        "index": 0,
        "content": text_of(tokens),
        "tokens": tokens,
        "id_slot": plan.slot,
        "stop": True,
        "model": NAMELESS,
        "tokens_predicted": plan.claimed_tokens,
        "tokens_evaluated": prompt_tokens,
        "generation_settings": _settings(plan.ask.settings),
        "prompt": text_of(plan.ask.prompt).lstrip(),
        "has_new_line": False,
        "truncated": plan.truncated,
        "stop_type": "eos" if plan.stopped else "limit",
        "stopping_word": "",
        # The last token of an answer is never evaluated.
        "tokens_cached": prompt_tokens + plan.claimed_tokens - 1,
        "timings": _timings(plan),
    }
    if plan.faults.missing_timings:
        del event["timings"]
    if plan.faults.missing_usage:
        for name in ("tokens_predicted", "tokens_evaluated", "tokens_cached", "timings"):
            event.pop(name, None)
    return event


def _timings(plan: Completion) -> Answer:
    """`prompt_*` is the part that was prefilled; `predicted_ms` runs from the first token to the last."""
    prompt_ms = round(plan.timeline.prefill_s * 1e3, 3)
    predicted_ms = max(round(plan.timeline.decode_s * 1e3, 3), 0.001)
    steps = plan.claimed_tokens - 1
    return {
        "cache_n": plan.work.past_tokens,
        "prompt_n": plan.work.new_tokens,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / plan.work.new_tokens,
        "prompt_per_second": 1e3 * plan.work.new_tokens / prompt_ms if prompt_ms else 0.0,
        "predicted_n": plan.claimed_tokens,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / steps if steps else 0.0,
        "predicted_per_second": 1e3 * steps / predicted_ms,
    }


def _settings(settings: dict[str, Any]) -> Answer:
    return {
        "seed": 4294967295,
        "temperature": settings["temperature"],
        "max_tokens": settings["n_predict"],
        "n_predict": settings["n_predict"],
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": settings["ignore_eos"],
        "stream": settings["stream"],
        "n_probs": 0,
        "samplers": ["temperature"],
        "timings_per_token": False,
    }
