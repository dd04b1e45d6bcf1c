"""The JSON that the engine answers, in llama.cpp's shapes (recorded from xllamacpp 2026.10.11549).

What belongs here: field names and what stands in them, no timing and no bytes of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.simulated.ask import Ask, Refused
from harness.simulated.law import Faults
from harness.simulated.timeline import Timeline, Work
from harness.simulated.tokens import VOCABULARY_TOKENS, generated_token, text_of

MODEL = "simulated"
BUILD = "b0-simulated"

# What a wrong usage claims beyond what was generated.
EXTRA_TOKENS = 3

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Completion:
    """One request under way in a slot: what was asked, what it costs and when, what goes wrong with it."""

    ask: Ask
    slot: int
    work: Work
    timeline: Timeline
    truncated: bool
    faults: Faults

    @property
    def dies(self) -> bool:
        """Whether the connection is closed before the answer is complete."""
        limit = self.faults.die_after_tokens
        return limit is not None and limit <= self.work.output_tokens

    @property
    def living_tokens(self) -> int:
        """How many tokens are generated before the end, be it good or bad."""
        return (self.faults.die_after_tokens or 0) if self.dies else self.work.output_tokens

    @property
    def claimed_tokens(self) -> int:
        """How many tokens the engine says it generated."""
        return self.work.output_tokens + (EXTRA_TOKENS if self.faults.wrong_usage else 0)

    @property
    def generated(self) -> list[int]:
        """The tokens of the answer."""
        begin = len(self.ask.prompt)
        return [generated_token(position) for position in range(begin, begin + self.work.output_tokens)]


def health() -> Answer:
    """GET /health."""
    return {"status": "ok"}


def props(slots: int, context_tokens: int) -> Answer:
    """GET /props. `n_ctx` is one slot's share, as in llama.cpp."""
    return {
        "default_generation_settings": {"params": _settings(0.8, -1, False, False), "n_ctx": context_tokens},
        "total_slots": slots,
        "model_alias": MODEL,
        "model_ftype": "simulated",
        "model_path": MODEL,
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


def models(context_tokens: int) -> Answer:
    """GET /v1/models: a model that nobody takes for a real one."""
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
    data = {
        "id": MODEL,
        "aliases": [MODEL],
        "tags": [],
        "object": "model",
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "created": 0,
        "owned_by": "llamacpp",
        "meta": meta,
    }
    return {"object": "list", "data": [data]}


def error(refused: Refused) -> Answer:
    """The body that goes with an HTTP error."""
    return {"error": {"code": refused.status, "message": str(refused), "type": refused.kind, **refused.facts}}


def token_event(completion: Completion, tokens: list[int], done_tokens: int) -> Answer:
    """One event of a stream: the tokens it brings, and how many are out with them."""
    return {
        "index": 0,
        "content": text_of(tokens),
        "tokens": tokens,
        "stop": False,
        "id_slot": -1,
        "tokens_predicted": done_tokens,
        "tokens_evaluated": len(completion.ask.prompt),
    }


def last_event(completion: Completion, tokens: list[int]) -> Answer:
    """The end of a stream (without tokens), or the whole answer where there is no stream (with all of them)."""
    ask = completion.ask
    prompt_tokens = len(ask.prompt)
    event = {
        "index": 0,
        "content": text_of(tokens),
        "tokens": tokens,
        "id_slot": completion.slot,
        "stop": True,
        "model": MODEL,
        "tokens_predicted": completion.claimed_tokens,
        "tokens_evaluated": prompt_tokens,
        "generation_settings": _settings(ask.temperature, ask.n_predict, ask.ignore_eos, ask.stream),
        "prompt": text_of(ask.prompt).lstrip(),
        "has_new_line": False,
        "truncated": completion.truncated,
        "stop_type": "limit",
        "stopping_word": "",
        # The last token of an answer is never evaluated.
        "tokens_cached": prompt_tokens + completion.claimed_tokens - 1,
    }
    return event if completion.faults.missing_timings else event | {"timings": _timings(completion)}


def _timings(completion: Completion) -> Answer:
    """`prompt_*` is the part that was prefilled; `predicted_ms` runs from the first token to the last."""
    prompt_ms = round(completion.timeline.prefill_s * 1e3, 3)
    predicted_ms = max(round(completion.timeline.decode_s * 1e3, 3), 0.001)
    steps = completion.claimed_tokens - 1
    return {
        "cache_n": completion.work.past_tokens,
        "prompt_n": completion.work.new_tokens,
        "prompt_ms": prompt_ms,
        "prompt_per_token_ms": prompt_ms / completion.work.new_tokens,
        "prompt_per_second": 1e3 * completion.work.new_tokens / prompt_ms if prompt_ms else 0.0,
        "predicted_n": completion.claimed_tokens,
        "predicted_ms": predicted_ms,
        "predicted_per_token_ms": predicted_ms / steps if steps else 0.0,
        "predicted_per_second": 1e3 * steps / predicted_ms,
    }


def _settings(temperature: float, n_predict: int, ignore_eos: bool, stream: bool) -> Answer:
    return {
        "seed": 4294967295,
        "temperature": temperature,
        "max_tokens": n_predict,
        "n_predict": n_predict,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": ignore_eos,
        "stream": stream,
        "n_probs": 0,
        "samplers": ["temperature"],
        "timings_per_token": False,
    }
