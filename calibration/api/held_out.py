"""How far the laws are off on later requests than those that they were fitted to, and how days compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from calibration.api.laws import NEEDED, Laws, fit_laws, predicted_s
from calibration.api.requests import ApiRequest, ended_well
from estimator.api.file import ApiDay, ApiHeldOut

QUANTITIES = ("ttft", "time_per_token", "end_to_end")


def held_out(requests: Sequence[ApiRequest]) -> dict[str, ApiHeldOut]:
    """The later half (in time) predicted from the earlier half; empty where a half has under six requests."""
    half = len(requests) // 2
    laws, later = fit_laws(requests[:half]), ended_well(requests[half:])
    late = sum(request.timed_out for request in requests[half:])
    if laws is None or len(later) < NEEDED["p50"]:
        return {}
    found = {name: _error(laws, later, late, name) for name in QUANTITIES}
    return {name: error for name, error in found.items() if error is not None}


def measured_s(request: ApiRequest, quantity: str) -> float | None:
    """The measured `quantity` of a request."""
    return {"ttft": request.ttft_s, "time_per_token": request.time_per_token_s}.get(quantity, request.e2e_s)


def _error(laws: Laws, later: Sequence[ApiRequest], late: int, quantity: str) -> ApiHeldOut | None:
    """The error on `later` requests, and on `late` more that timed out: slower than any prediction."""
    ratios: dict[tuple[int, int], list[float]] = {}
    covered: dict[str, list[bool]] = {"p90": [], "p99": []}
    for request in later:
        value, middle = measured_s(request, quantity), predicted_s(laws, request, quantity, "p50")
        if value is None or middle is None:
            continue
        ratios.setdefault((request.prompt_tokens, request.output_tokens), []).append(value / middle)
        for name, hits in covered.items():
            if (top := predicted_s(laws, request, quantity, name)) is not None:
                hits.append(value <= top)
    pooled = [ratio for values in ratios.values() for ratio in values]
    middle = median([*pooled, *[math.inf] * late])
    if len(pooled) < NEEDED["p50"] or math.isinf(middle):
        return None
    by_size = [abs(median(values) - 1) for values in ratios.values() if len(values) >= NEEDED["p50"]]
    return ApiHeldOut(
        requests=len(pooled),
        p50_error=abs(middle - 1),
        p50_worst=max(by_size, default=None),
        p90_coverage=_share(covered["p90"], late),
        p99_coverage=_share(covered["p99"], late),
    )


def _share(hits: Sequence[bool], late: int) -> float | None:
    return sum(hits) / (len(hits) + late) if hits else None


def days(requests: Sequence[ApiRequest], laws: Laws) -> tuple[ApiDay, ...]:
    """Each day (UTC) against the fit to all of them; empty where all requests are of one day."""
    by_day: dict[str, list[ApiRequest]] = {}
    for request in ended_well(requests):
        by_day.setdefault(request.at.date().isoformat(), []).append(request)
    if len(by_day) < 2:
        return ()
    return tuple(
        ApiDay(day, len(found), _ratio(laws, found, "ttft"), _ratio(laws, found, "time_per_token"))
        for day, found in sorted(by_day.items())
    )


def _ratio(laws: Laws, requests: Sequence[ApiRequest], quantity: str) -> float | None:
    pairs = [(measured_s(r, quantity), predicted_s(laws, r, quantity, "p50")) for r in requests]
    ratios = [value / middle for value, middle in pairs if value is not None and middle]
    return median(ratios) if len(ratios) >= NEEDED["p50"] else None
