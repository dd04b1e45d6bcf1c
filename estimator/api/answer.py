"""What a request to a model behind an API takes and costs, by quantile, with what the figures stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from estimator.amounts import are_amounts
from estimator.api.file import ApiDay, ApiEntry, ApiHeldOut
from estimator.errors import EstimatorError
from estimator.theory.cost import api_usd
from estimator.theory.textbook import prices as textbook

Interval = tuple[float, float] | None

QUANTILES = ("p50", "p90", "p99")
# Days further apart than this are warned of.
DRIFT_LIMIT = 0.1
_MOST_TOKENS = 10**9
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
        if max(self.prompt_tokens, self.output_tokens) > _MOST_TOKENS:
            raise EstimatorError(f"prompt and output must have at most {_MOST_TOKENS:,} tokens")
        if (self.price_in is None) != (self.price_out is None):
            raise EstimatorError("a request costs both: give --price-in and --price-out")
        if not are_amounts(self.price_in, self.price_out):
            raise EstimatorError("prices must be at least 0 and at most 1e15")


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What `predict --api --json` prints. Of each time p50, p90 and p99 in seconds, with the 90 % interval of each
    (low, high); None: not known.

    `basis` is what the figures stand on in words, `price` where the price is from.
    """

    api: str
    model: str
    provider: str
    prompt_tokens: int
    output_tokens: int
    ttft_s: dict[str, float | None]
    ttft_interval_s: dict[str, Interval]
    time_per_token_s: dict[str, float | None]
    time_per_token_interval_s: dict[str, Interval]
    end_to_end_s: dict[str, float | None]
    end_to_end_interval_s: dict[str, Interval]
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
    first = _spread(first_s, entry.ttft.spread)
    gap = _unknown() if token is None else _spread(token.per_output_token_s, token.spread)
    gap_ends = {} if token is None else token.interval
    whole = _end_to_end(entry, first_s, rest_s)
    first_ends, whole_ends = _intervals(entry, question.prompt_tokens, first, whole)
    return ApiAnswer(
        api=question.model,
        model=entry.model,
        provider=entry.provider,
        prompt_tokens=question.prompt_tokens,
        output_tokens=question.output_tokens,
        ttft_s=first,
        ttft_interval_s=first_ends,
        time_per_token_s=gap,
        time_per_token_interval_s={name: _ends(gap[name], gap_ends.get(name)) for name in QUANTILES},
        end_to_end_s=whole,
        end_to_end_interval_s=whole_ends,
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
    found = {}
    for name, (first, rest) in ({"p50": (1.0, 1.0)} | entry.end_to_end.spread).items():
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


def _ends(value_s: float | None, factors: tuple[float, float] | None, stretch: float = 1.0) -> Interval:
    """value x factor ** stretch at both ends; None where the value or its interval is not known."""
    if value_s is None or factors is None:
        return None
    return value_s * factors[0] ** stretch, value_s * factors[1] ** stretch


def _intervals(
    entry: ApiEntry, prompt_tokens: int, first: Mapping[str, float | None], whole: Mapping[str, float | None]
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """The 90 % intervals of TTFT and of E2E. What a prompt away from the surest size adds to that of TTFT, in seconds,
    is in that of E2E too. None at sizes of prompt of which nothing is known.
    """
    low, high = entry.valid.prompt_tokens
    if entry.ttft.per_prompt_token_s is None and not low <= prompt_tokens <= high:
        return dict.fromkeys(QUANTILES), dict.fromkeys(QUANTILES)
    stretch = entry.ttft.stretch(prompt_tokens)
    known = {} if entry.end_to_end is None else entry.end_to_end.interval
    found: dict[str, Interval] = {}
    of_whole: dict[str, Interval] = {}
    for name in QUANTILES:
        factors = entry.ttft.interval.get(name)
        found[name] = wide = _ends(first[name], factors, stretch)
        narrow = _ends(first[name], factors)
        ends = _ends(whole[name], known.get(name))
        if ends is None or wide is None or narrow is None:
            of_whole[name] = None
        else:
            of_whole[name] = (max(wide[0], ends[0] + wide[0] - narrow[0]), ends[1] + wide[1] - narrow[1])
    return found, of_whole


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
    if entry.basis == "measured" and entry.first_day == entry.last_day:
        found.append(f"all requests are of one day, {entry.last_day}: how other days differ is not known")
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
        found.append(
            f"{entry.failed} of {asked} requests failed{late}: timed-out ones count as slowest, others not at all"
        )
    if not entry.held_out:
        found.append("too few requests to hold some out: how far the figures are off on others is not known")
    if entry.basis == "published":
        found.append(f"hosted services change: these figures are of {entry.last_day}; measure your own to replace them")
    return found
