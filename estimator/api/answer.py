"""What a request to a model behind an API takes and costs, by quantile, with what the figures stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from estimator.api.file import ApiDay, ApiEntry, ApiHeldOut
from estimator.errors import EstimatorError
from estimator.theory.cost import api_usd
from estimator.theory.textbook import prices as textbook

QUANTILES = ("p50", "p90", "p99")
# Days further apart than this are warned of.
DRIFT_LIMIT = 0.1
# OpenAI's models that the textbook quotes, by the beginning of their names.
_QUOTED = {"gpt-4-turbo": "GPT-4 Turbo", "gpt-4-1106": "GPT-4 Turbo", "gpt-4-0125": "GPT-4 Turbo"}
_QUOTED_WHOLE = {"gpt-4": "GPT-4", "gpt-4-0314": "GPT-4", "gpt-4-0613": "GPT-4"}


@dataclass(frozen=True, slots=True)
class ApiQuestion:
    """A request of given sizes; prices in USD per million tokens, None: not stated."""

    model: str
    prompt_tokens: int
    output_tokens: int
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1 or self.output_tokens < 1:
            raise EstimatorError("prompt and output must have at least 1 token")
        if (self.price_in is None) != (self.price_out is None):
            raise EstimatorError("a request costs both: give --price-in and --price-out")
        if min(self.price_in or 0.0, self.price_out or 0.0) < 0:
            raise EstimatorError("prices must be at least 0")


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What `predict --api --json` prints. Of each time p50, p90 and p99 in seconds; None: not known.

    `basis` is what the figures stand on in words, `price` where the price is from.
    """

    api: str
    model: str
    provider: str
    prompt_tokens: int
    output_tokens: int
    ttft_s: dict[str, float | None]
    time_per_token_s: dict[str, float | None]
    end_to_end_s: dict[str, float | None]
    cost_usd: float | None
    price: str
    basis: str
    requests: int
    held_out: dict[str, ApiHeldOut]
    days: tuple[ApiDay, ...]
    sources: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())


def answer(entry: ApiEntry, question: ApiQuestion) -> ApiAnswer:
    """The laws of `entry` at the sizes of `question`; what the entry does not know is None."""
    first_s = entry.ttft.p50_s(question.prompt_tokens)
    token = entry.time_per_token
    rest_s = None if token is None else token.per_output_token_s * (question.output_tokens - 1)
    cost, price = _cost(entry, question)
    return ApiAnswer(
        api=question.model,
        model=entry.model,
        provider=entry.provider,
        prompt_tokens=question.prompt_tokens,
        output_tokens=question.output_tokens,
        ttft_s=_spread(first_s, entry.ttft.spread),
        time_per_token_s=_unknown() if token is None else _spread(token.per_output_token_s, token.spread),
        end_to_end_s=_end_to_end(entry, first_s, rest_s),
        cost_usd=cost,
        price=price,
        basis=_basis(entry),
        requests=entry.requests,
        held_out=entry.held_out,
        days=entry.days,
        sources=entry.sources,
        warnings=(*_outside(entry, question), *_drift(entry), *_thin(entry), *entry.notes),
    )


def _unknown() -> dict[str, float | None]:
    return dict.fromkeys(QUANTILES)


def _spread(p50_s: float, factors: Mapping[str, float]) -> dict[str, float | None]:
    """p50 times the factor of each quantile; a higher quantile is never below a lower one."""
    return _rising({"p50": p50_s} | {name: p50_s * factor for name, factor in factors.items()})


def _end_to_end(entry: ApiEntry, first_s: float, rest_s: float | None) -> dict[str, float | None]:
    if rest_s is None or entry.end_to_end is None:
        return _unknown()
    found = {"p50": first_s + rest_s}
    for name, (first, rest) in entry.end_to_end.spread.items():
        # No request ends before its first token, so neither does a quantile of them.
        found[name] = max(first * first_s + rest * rest_s, first_s * entry.ttft.spread.get(name, 1.0))
    return _rising(found)


def _rising(found: Mapping[str, float]) -> dict[str, float | None]:
    values = _unknown()
    highest = 0.0
    for name in QUANTILES:
        if name in found:
            highest = max(highest, found[name])
            values[name] = highest
    return values


def _cost(entry: ApiEntry, question: ApiQuestion) -> tuple[float | None, str]:
    if question.price_in is not None and question.price_out is not None:
        price_in, price_out, words = question.price_in, question.price_out, "as stated"
    else:
        quoted = _QUOTED_WHOLE.get(entry.model) or next((_QUOTED[s] for s in _QUOTED if entry.model.startswith(s)), "")
        if not quoted or entry.provider != "openai":
            return None, "unknown: give --price-in and --price-out in USD per million tokens"
        price_in, price_out = (1000.0 * price for price in textbook()["api_usd_per_1000_tokens"][quoted])
        words = f"{quoted} as the textbook quotes it, not today's: give --price-in and --price-out"
    usd = api_usd(question.prompt_tokens, question.output_tokens, price_in / 1e6, price_out / 1e6)
    return usd, f"${price_in:g} in, ${price_out:g} out per million tokens ({words})"


def _basis(entry: ApiEntry) -> str:
    when = entry.first_day if entry.first_day == entry.last_day else f"{entry.first_day} to {entry.last_day}"
    kind = "local calibration" if entry.basis == "measured" else "published reference"
    at_once = f", {entry.concurrency} at once" if entry.concurrency > 1 else ""
    return f"{kind}: {entry.requests} requests on {when}{at_once}, {entry.client}"


def _outside(entry: ApiEntry, question: ApiQuestion) -> list[str]:
    found = []
    for word, asked, (low, high) in (
        ("prompt", question.prompt_tokens, entry.valid.prompt_tokens),
        ("output", question.output_tokens, entry.valid.output_tokens),
    ):
        if not low <= asked <= high:
            known = f"{low}" if low == high else f"{low} to {high}"
            found.append(f"{asked} {word} tokens are an extrapolation: {known} were measured")
    if entry.ttft.per_prompt_token_s is None and found and found[0].startswith(f"{question.prompt_tokens} prompt"):
        found.append("how TTFT grows with the prompt is not known: prompts of one size only were measured")
    return found


def _drift(entry: ApiEntry) -> list[str]:
    found = []
    for word, name in (("TTFT", "ttft_ratio"), ("time per token", "time_per_token_ratio")):
        ratios = {day.day: ratio for day in entry.days if (ratio := getattr(day, name)) is not None}
        if len(ratios) > 1 and max(ratios.values()) > (1 + DRIFT_LIMIT) * min(ratios.values()):
            slow, fast = max(ratios, key=ratios.__getitem__), min(ratios, key=ratios.__getitem__)
            found.append(
                f"{word} drifts over days: {ratios[slow] / ratios[fast] - 1:.0%} longer on {slow} than on {fast}"
            )
    return found


def _thin(entry: ApiEntry) -> list[str]:
    found = []
    if entry.failed:
        late = f" ({entry.timed_out} of them timed out)" if entry.timed_out else ""
        asked = entry.requests + entry.failed
        found.append(f"{entry.failed} of {asked} requests failed{late}: the figures are of those that ended well")
    if entry.basis == "published":
        found.append(f"hosted services change: these figures are of {entry.last_day}; measure your own to replace them")
    return found
