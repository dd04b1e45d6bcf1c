"""The laws of an API and their spread, fitted to requests: medians by quantile regression, quantiles by rank.

Needed: 6 requests for a law (p50), 20 for p90, 200 for p99 (two are then expected beyond it). Ranks are conformal,
ceil((n + 1) q) of n, so that the next request is under the quantile at least as often as it says, if requests are
exchangeable. Requests that timed out count as slower than all: a quantile that they reach is not known, p50 neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibration.api.intervals import interval, leverage
from calibration.api.requests import ApiRequest, ended_well
from estimator.api.file import EndToEndLaw, TokenLaw, TtftLaw

QUANTILES = {"p90": 0.9, "p99": 0.99}
_MIDDLE = {"p50": 0.5} | QUANTILES
NEEDED = {"p50": 6, "p90": 20, "p99": 200}
# Sizes that differ by less do not tell a price per prompt token from the constant.
_PROMPT_RANGE = 1.5
# Requests whose TTFT share of the whole differs by less do not part its spread from the rest's.
_SHARE_RANGE = 0.2
_TO_PART = 5
# Rows of a quantile regression: more are thinned evenly, since its linear programme grows faster than they do.
_ROWS = 4000


@dataclass(frozen=True, slots=True)
class Laws:
    """The three laws of one model at one provider; None where too little is known."""

    ttft: TtftLaw
    token: TokenLaw | None
    end_to_end: EndToEndLaw | None

    def first_s(self, request: ApiRequest) -> float:
        """Predicted p50 of TTFT at the size of `request`."""
        return self.ttft.p50_s(request.prompt_tokens)

    def rest_s(self, request: ApiRequest) -> float | None:
        """Predicted p50 of the time of all tokens after the first."""
        return None if self.token is None else self.token.per_output_token_s * (request.output_tokens - 1)


def fit_laws(requests: Sequence[ApiRequest]) -> Laws | None:
    """The laws of `requests`; None where fewer than six brought a first token."""
    good = ended_well(requests)
    late = sum(request.timed_out for request in requests)
    first = [(r.prompt_tokens, r.ttft_s) for r in good if r.ttft_s]
    tokens = [r.time_per_token_s for r in good if r.time_per_token_s]
    if len(first) < NEEDED["p50"] or _middle([value for _, value in first], late) is None:
        return None
    ttft, token = _ttft(first, late), None
    if len(tokens) >= NEEDED["p50"] and (middle := _middle(tokens, late)) is not None:
        ratios = [value / middle for value in tokens]
        token = TokenLaw(middle, spread(ratios, late), intervals(ratios, late))
    laws = Laws(ttft, token, None)
    return laws if token is None else Laws(ttft, token, _end_to_end(laws, good, late))


def _ttft(first: Sequence[tuple[int, float]], late: int) -> TtftLaw:
    sizes = [tokens for tokens, _ in first]
    seconds = [value for _, value in first]
    constant, slope, surest = _middle(seconds, late) or 0.0, None, None
    if max(sizes) >= _PROMPT_RANGE * min(sizes):
        constant, slope = _line(sizes, seconds, late)
        surest = leverage(sizes, constant, slope)
    law = TtftLaw(constant, slope, {})
    ratios = [value / law.p50_s(tokens) for tokens, value in first]
    return TtftLaw(constant, slope, spread(ratios, late), intervals(ratios, late), surest)


def _middle(values: Sequence[float], late: int) -> float | None:
    """The median of `values` and of `late` more that were slower than all; None where it is one of those."""
    ranked, place = sorted(values), 0.5 * (len(values) + late - 1)
    if place > len(ranked) - 1:
        return None
    low, high = ranked[math.floor(place)], ranked[math.ceil(place)]
    return low + (high - low) * (place % 1)


def _line(sizes: Sequence[int], seconds: Sequence[float], late: int) -> tuple[float, float]:
    """constant + slope x size through the middle, in two passes: the second weighs by 1 / the first's prediction."""
    rows = [(1.0, float(size)) for size in sizes]
    guess = (_middle(seconds, late) or 0.0, 0.0)
    level = min(0.5 * (len(rows) + late) / len(rows), 1.0)
    for _ in range(2):
        weights = [1.0 / (guess[0] + guess[1] * size) for size in sizes]
        guess = _non_negative(rows, seconds, weights, level)
    return guess


def _non_negative(
    rows: Sequence[tuple[float, float]], values: Sequence[float], weights: Sequence[float], quantile: float
) -> tuple[float, float]:
    """Quantile regression on two columns; a column whose price would be negative is left out."""
    import numpy as np
    from sklearn.linear_model import QuantileRegressor

    # Thinned in the order of sizes and times, so that every size keeps its share and its spread.
    order = sorted(range(len(rows)), key=lambda index: (rows[index], values[index]))[:: max(1, len(rows) // _ROWS)]
    x, y, w = (np.array([column[index] for index in order]) for column in (rows, values, weights))
    columns = [0, 1]
    while True:
        model = QuantileRegressor(quantile=quantile, alpha=0.0, fit_intercept=False, solver="highs")
        # Columns of one size keep the linear programme's tolerances meaningful.
        scale = np.abs(x[:, columns]).mean(axis=0)
        found = model.fit(x[:, columns] / scale, y, sample_weight=w).coef_ / scale
        if found.min() >= 0 or len(columns) == 1:
            break
        columns = [column for column, price in zip(columns, found, strict=True) if price != found.min()]
    prices = dict(zip(columns, (float(price) for price in found), strict=True))
    return prices.get(0, 0.0), prices.get(1, 0.0)


def rank(quantile: float, count: int, late: int = 0) -> int | None:
    """The rank, from 0, of the conformal quantile among `count` values of which `late` more were slower than all."""
    place = math.ceil((count + late + 1) * quantile - 1e-9)
    return place - 1 if place <= count else None


def spread(ratios: Sequence[float], late: int = 0) -> dict[str, float]:
    """Quantiles of measured / p50, as far as there are requests enough for them."""
    ranked = sorted(ratios)
    found = {}
    for name, quantile in QUANTILES.items():
        place = rank(quantile, len(ranked), late)
        if len(ranked) >= NEEDED[name] and place is not None:
            found[name] = ranked[place]
    return found


def intervals(ratios: Sequence[float], late: int = 0, middle: float = 1.0) -> dict[str, tuple[float, float]]:
    """The 90 % interval of each known quantile of `ratios`, as factors of it, 1 included; that of p50 is `middle`."""
    found = {}
    for name, factor in ({"p50": middle} | spread(ratios, late)).items():
        if (ends := interval(ratios, _MIDDLE[name], late)) is not None:
            found[name] = (min(1.0, ends[0] / factor), max(1.0, ends[1] / factor))
    return found


def _end_to_end(laws: Laws, good: Sequence[ApiRequest], late: int) -> EndToEndLaw:
    """Factors (F, D) of each quantile of E2E = F x ttft + D x rest, on E2E relative to its p50.

    One factor for both where the sizes do not part them, or requests are under five times what the quantile needs.
    p50 has a factor where the sum of both medians is beyond the 90 % interval of the median (tokens that come in
    batches, say).
    """
    whole = [(laws.first_s(r), laws.rest_s(r) or 0.0, r.e2e_s) for r in good if r.e2e_s]
    ratios = [value / (first + rest) for first, rest, value in whole]
    shares = sorted(first / (first + rest) for first, rest, _ in whole)
    offset = _offset(ratios, late)
    common = ({} if offset is None else {"p50": offset}) | spread(ratios, late)
    found = {name: (factor, factor) for name, factor in common.items()}
    if shares[-1 - len(shares) // 20] - shares[len(shares) // 20] >= _SHARE_RANGE:
        rows = [(first / (first + rest), rest / (first + rest)) for first, rest, _ in whole]
        found |= _parted(rows, ratios, late)
    return EndToEndLaw(found, intervals(ratios, late, offset or 1.0))


def _offset(ratios: Sequence[float], late: int) -> float | None:
    """The median of `ratios` where its 90 % interval leaves out 1."""
    known, middle = interval(ratios, 0.5, late), _middle(ratios, late)
    return None if known is None or known[0] <= 1 <= known[1] else middle


def _parted(rows: Sequence[tuple[float, float]], ratios: Sequence[float], late: int) -> dict[str, tuple[float, float]]:
    """Factors for TTFT and for the rest apart, of the quantiles for which there are requests enough."""
    found = {}
    for name, quantile in QUANTILES.items():
        level = math.ceil((len(ratios) + late + 1) * quantile - 1e-9) / len(ratios)
        if level < 1 and len(ratios) >= _TO_PART * NEEDED[name]:
            # What is above p50: no part of a request is faster at p90 than at p50.
            first_more, rest_more = _non_negative(rows, [r - 1 for r in ratios], [1.0] * len(rows), level)
            found[name] = (1 + first_more, 1 + rest_more)
    return found


def predicted_s(laws: Laws, request: ApiRequest, quantity: str, quantile: str) -> float | None:
    """What `laws` say of a request; None where they do not. The twin of `estimator.api.answer`, for held-out errors."""
    first, rest, token = laws.first_s(request), laws.rest_s(request), laws.token
    if quantity == "ttft":
        return _scaled(first, laws.ttft.spread, quantile)
    if token is None or rest is None:
        return None
    if quantity == "time_per_token":
        return _scaled(token.per_output_token_s, token.spread, quantile)
    factors = laws.end_to_end.spread if laws.end_to_end else {}
    middle = factors.get("p50", (1.0, 1.0))
    if quantile != "p50" and quantile not in factors:
        return None
    tops = (factors.get(name, middle) for name in ("p50", quantile))
    return max(first * laws.ttft.spread.get(quantile, 1.0), *(a * first + b * rest for a, b in tops))


def _scaled(p50_s: float, factors: Mapping[str, float], quantile: str) -> float | None:
    if quantile == "p50":
        return p50_s
    return p50_s * max(1.0, factors[quantile]) if quantile in factors else None
