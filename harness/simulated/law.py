"""The planted truth of a simulated engine: `Law` says how fast it is, `Faults` how it fails.

What belongs here: these two types, what their values may be, and their JSON for the command line.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import TypeVar

from harness.simulated.demands import BadLaw, demand_flag, demand_number, demand_whole

DURATIONS = (
    "prefill_fixed_s",
    "prefill_s_per_token",
    "prefill_s_per_token_pair",
    "decode_s_per_token",
    "decode_s_per_context_token",
    "load_s",
)

FLAGS = (
    "broken_json",
    "wrong_usage",
    "missing_timings",
    "missing_usage",
    "empty_deltas",
    "keep_alive_comments",
    "refuse_load",
)


@dataclass(frozen=True, slots=True)
class Law:
    """How long a simulated engine takes.

    The first token is ready when the prompt is prefilled, each later one a gap after the one
    before. `jitter` is the relative standard deviation of a gap (lognormal, mean 1); of every
    1/`stall_share` gaps one is `stall_factor` times as long as it would be. Both follow from `seed`
    and from how many gaps the engine has served before. A stream brings `chunk_tokens` at a time,
    when the last of them is ready.
    """

    prefill_fixed_s: float = 0.0
    prefill_s_per_token: float = 0.0
    prefill_s_per_token_pair: float = 0.0
    decode_s_per_token: float = 0.0
    decode_s_per_context_token: float = 0.0
    load_s: float = 0.0
    chunk_tokens: int = 1
    jitter: float = 0.0
    stall_share: float = 0.0
    stall_factor: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in DURATIONS:
            demand_number("law", name, getattr(self, name))
        demand_whole("law", "chunk_tokens", self.chunk_tokens, least=1)
        demand_number("law", "jitter", self.jitter)
        demand_number("law", "stall_share", self.stall_share, most=1)
        demand_number("law", "stall_factor", self.stall_factor, least=1)
        demand_whole("law", "seed", self.seed)

    def prefill_s(self, past_tokens: int, new_tokens: int) -> float:
        """fixed + per_token·T + per_pair·(P·T + T·(T+1)/2) for T new tokens after P cached ones."""
        pairs = past_tokens * new_tokens + new_tokens * (new_tokens + 1) / 2
        return self.prefill_fixed_s + self.prefill_s_per_token * new_tokens + self.prefill_s_per_token_pair * pairs

    def decode_gap_s(self, context_tokens: int) -> float:
        """per_token + per_context_token·n for the step that finds n tokens in the cache; no jitter, no stall.

        The step that makes the second token of an answer finds the whole prompt and nothing else.
        """
        return self.decode_s_per_token + self.decode_s_per_context_token * context_tokens

    def to_json(self) -> str:
        """This law as the command line takes it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Law:
        """The law of a JSON object; a name left out has its default."""
        return _read(cls, "law", text)


@dataclass(frozen=True, slots=True)
class Faults:
    """How a simulated engine fails: each on the `fail_every`-th request for a completion.

    `die_after_tokens`: the connection is closed when so many tokens are out, without a last event.
    `http_status`: the request is refused with it. `slow_header_s`: the request waits so long
    before anything happens, and the engine's timings know nothing of it. `broken_json`: one event
    is cut short. `wrong_usage`: more tokens are claimed than were sent. `missing_timings`: the last
    event has no durations (OpenAI's has none anyway). `missing_usage`: it has no counts.
    `empty_deltas`, `keep_alive_comments`: halfway to each event that brings tokens comes one that
    brings none, or a comment (server-sent events only). `retry_after_s`: the header that goes with
    a planted 429. `reasoning_tokens`: so many tokens of a chat's answer are reasoning and come first.
    `finish_early_tokens`: the model stops by itself after so many. `refuse_load` (once, not by
    request): the engine does not start.
    """

    die_after_tokens: int | None = None
    http_status: int | None = None
    slow_header_s: float = 0.0
    broken_json: bool = False
    wrong_usage: bool = False
    missing_timings: bool = False
    missing_usage: bool = False
    empty_deltas: bool = False
    keep_alive_comments: bool = False
    retry_after_s: float | None = None
    reasoning_tokens: int = 0
    finish_early_tokens: int | None = None
    refuse_load: bool = False
    fail_every: int = 1

    def __post_init__(self) -> None:
        if self.die_after_tokens is not None:
            demand_whole("faults", "die_after_tokens", self.die_after_tokens, least=0)
        if self.http_status is not None:
            demand_whole("faults", "http_status", self.http_status, least=400, most=599)
        demand_number("faults", "slow_header_s", self.slow_header_s)
        if self.retry_after_s is not None:
            demand_number("faults", "retry_after_s", self.retry_after_s)
        demand_whole("faults", "reasoning_tokens", self.reasoning_tokens, least=0)
        if self.finish_early_tokens is not None:
            demand_whole("faults", "finish_early_tokens", self.finish_early_tokens, least=1)
        demand_whole("faults", "fail_every", self.fail_every, least=1)
        for name in FLAGS:
            demand_flag("faults", name, getattr(self, name))

    def of_request(self, number: int) -> Faults:
        """The faults of the request of that number, counted from 1."""
        return self if number % self.fail_every == 0 else NO_FAULTS

    def to_json(self) -> str:
        """These faults as the command line takes them."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Faults:
        """The faults of a JSON object; a name left out has its default."""
        return _read(cls, "faults", text)


NO_FAULTS = Faults()

_Planted = TypeVar("_Planted", Law, Faults)


def _read(kind: type[_Planted], what: str, text: str) -> _Planted:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise BadLaw(f"{what}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise BadLaw(f"{what}: not a JSON object: {text:.40}")
    names = [field.name for field in fields(kind)]
    for name in values:
        if name not in names:
            near = get_close_matches(name, names, n=1)
            raise BadLaw(f"{what}: no such name: {name}" + "".join(f"; did you mean {other}?" for other in near))
    return kind(**values)
