"""The API coefficient file: how long a model behind an API takes, as plain numbers that people can read.

Owns the format (JSON, `format: 1`). `calibration fit` writes results/api.json from local records; the shipped
data/reference_api.json is fitted to published requests. The dataclasses below are the file, field by field:

    {"format": 1, "fitted_at": ..., "records": {"sources": 1, "requests": 120, "digest": "sha256:..."},
     "entries": [{"provider": "openai", "model": "gpt-4-turbo", "basis": "measured", "requests": 120, ...,
       "ttft": {"constant_s": 0.41, "per_prompt_token_s": 1.1e-4, "spread": {"p90": 1.6},
                "interval": {"p50": [0.94, 1.05], "p90": [0.9, 1.2]}, "leverage": [2.1, -0.004, 1.2e-5]},
       "time_per_token": {"per_output_token_s": 0.031, "spread": {"p90": 1.3}, "interval": {"p50": [0.97, 1.02]}},
       "end_to_end": {"spread": {"p90": [1.5, 1.2]}, "interval": {"p50": [0.98, 1.03]}},
       "valid": {"prompt_tokens": [128, 1024], "output_tokens": [64, 128]},
       "held_out": {"end_to_end": {"requests": 60, "p50_error": 0.02, "p90_coverage": 0.92, ...}},
       "days": [{"day": "2026-11-25", "requests": 60, "ttft_ratio": 1.02, "time_per_token_ratio": 0.99}]}]}

The laws (p50; n output tokens of a prompt of p tokens):

    ttft = constant + per_prompt_token x p        constant: network round trip and the server's own constant together
    e2e  = ttft + per_output_token x (n - 1)

and the quantile q of each: spread[q] x p50; of e2e: spread[q][0] x ttft + spread[q][1] x per_output_token x (n - 1),
with a factor of p50 too where the sum of both medians is not the median of the sum. interval[q] are factors of the
quantile q, its 90 % interval; of ttft they are raised to the square root of (a + 2 b p + c p^2) / ttft(p)^2 with
(a, b, c) = leverage, which is 1 at the surest size of prompt and grows away from it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from estimator.errors import UnreadableFile
from estimator.json_files import is_there, read_json, write_whole
from estimator.plain import from_plain, to_plain

FORMAT = 1
DEFAULT_PATH = Path("results/api.json")
PUBLISHED_PATH = Path(__file__).parent.parent / "data/reference_api.json"


@dataclass(frozen=True, slots=True)
class TtftLaw:
    """Time to first token; `per_prompt_token_s` is None where prompts of one size only were measured.

    `constant_s` is network round trip + whatever the server takes for any prompt: streamed times cannot part them.
    """

    constant_s: float
    per_prompt_token_s: float | None
    spread: dict[str, float]
    interval: dict[str, tuple[float, float]] = field(default_factory=dict)
    leverage: tuple[float, float, float] | None = None

    def p50_s(self, prompt_tokens: int) -> float:
        """constant + per prompt token x prompt tokens, in seconds."""
        return self.constant_s + (self.per_prompt_token_s or 0.0) * prompt_tokens

    def stretch(self, prompt_tokens: int) -> float:
        """sqrt(a + 2 b p + c p^2) / p50: how much wider (in logarithms) the interval is than at its surest size."""
        if self.leverage is None:
            return 1.0
        a, b, c = self.leverage
        variance = max(0.0, a + (2 * b + c * prompt_tokens) * prompt_tokens)
        return max(1.0, math.sqrt(variance) / self.p50_s(prompt_tokens))


@dataclass(frozen=True, slots=True)
class TokenLaw:
    """Time per output token after the first."""

    per_output_token_s: float
    spread: dict[str, float]
    interval: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndToEndLaw:
    """The spread of the whole request: (factor of TTFT, factor of the time of all later tokens) by quantile."""

    spread: dict[str, tuple[float, float]]
    interval: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApiRange:
    """The sizes that were measured: a question outside is answered with a warning."""

    prompt_tokens: tuple[int, int]
    output_tokens: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ApiHeldOut:
    """The later half of the requests, predicted by a fit to the earlier half.

    `p50_error` is |median(measured / predicted p50) - 1|, `p50_worst` the largest of the sizes with six requests
    or more (None: none has); a coverage is the share at or under the predicted quantile, None where the earlier
    half was too few for it.
    """

    requests: int
    p50_error: float
    p50_worst: float | None = None
    p90_coverage: float | None = None
    p99_coverage: float | None = None


@dataclass(frozen=True, slots=True)
class ApiDay:
    """How a day (UTC) compares with the fit: medians of measured / predicted p50, None where unknown."""

    day: str
    requests: int
    ttft_ratio: float | None
    time_per_token_ratio: float | None


@dataclass(frozen=True, slots=True)
class ApiEntry:
    """One model at one provider. `names` are other names that it answers to.

    `requests` finished and were fitted, `failed` were refused or broke, `timed_out` of those were given up for
    their length. `concurrency` is how many requests the client had under way. `local` and `lan` are the
    providers on this machine and on its network.
    """

    provider: str
    model: str
    names: tuple[str, ...]
    basis: Literal["measured", "published"]
    first_day: str
    last_day: str
    requests: int
    failed: int
    timed_out: int
    concurrency: int
    client: str
    sources: tuple[str, ...]
    ttft: TtftLaw
    time_per_token: TokenLaw | None
    end_to_end: EndToEndLaw | None
    valid: ApiRange
    held_out: dict[str, ApiHeldOut]
    days: tuple[ApiDay, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiRecords:
    """What a fit stands on: journals or published files, their requests, a digest of them."""

    sources: int
    requests: int
    digest: str


@dataclass(frozen=True, slots=True)
class ApiCoefficients:
    """A whole API coefficient file. `fitted_at` is empty in the shipped one, which is rebuilt byte for byte."""

    fitted_at: str
    records: ApiRecords
    libraries: dict[str, str]
    entries: tuple[ApiEntry, ...]
    format: int = field(default=FORMAT)


def read_api(path: Path) -> ApiCoefficients:
    """The API coefficients in `path`. Raises UnreadableFile."""
    again = "fit again with `python -m calibration fit`"
    plain = read_json(path, "API coefficients", again)
    found = plain.get("format") if isinstance(plain, dict) else None
    if found != FORMAT or "entries" not in plain:
        raise UnreadableFile(f"{path} is no API coefficient file of format {FORMAT} (format {found!r}): {again}")
    whole = from_plain(ApiCoefficients, plain, str(path))
    for entry in whole.entries:
        law, token = entry.ttft, entry.time_per_token
        prices = (law.constant_s, law.per_prompt_token_s or 0.0, 0.0 if token is None else token.per_output_token_s)
        if min(prices) < 0 or law.p50_s(1) <= 0:
            raise UnreadableFile(f"{path}: {entry.model} at {entry.provider} takes no time or less: {again}")
    return whole


def known_entries(given: Path | None, default: Path = DEFAULT_PATH) -> tuple[ApiEntry, ...]:
    """Entries fitted here (in `given`, else results/api.json where it is), then the published ones.

    Raises UnreadableFile: a file that is named, or stands in its place, must be readable.
    """
    local = read_api(given or default).entries if given is not None or is_there(default, "the fits of APIs") else ()
    return local + read_api(PUBLISHED_PATH).entries


def write_api(path: Path, coefficients: ApiCoefficients) -> None:
    """Writes the file whole or not at all: a temporary name beside it, then a rename. Raises OSError."""
    write_whole(path, api_text(coefficients))


def api_text(coefficients: ApiCoefficients) -> str:
    """The file as text, `format` first."""
    plain = to_plain(coefficients)
    return json.dumps({"format": plain.pop("format"), **plain}, indent=1, allow_nan=False) + "\n"
