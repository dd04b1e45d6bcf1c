"""What a fit of APIs says, for people: laws, spread, held-out errors by time, drift over days, what was left out."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from calibration.api.fitting import ApiFit
from calibration.api.laws import NEEDED
from estimator.api.file import ApiEntry, ApiHeldOut


def show_api(console: Console, fitted: ApiFit) -> None:
    """Every entry in a few lines each."""
    for entry in fitted.coefficients.entries if fitted.coefficients else ():
        for line in _lines(entry):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for reason in fitted.left_out:
        console.print(f"left out: {reason}", markup=False, highlight=False, soft_wrap=True)


def _lines(entry: ApiEntry) -> Iterable[str]:
    failed = f", {entry.failed} failed" if entry.failed else ""
    called = f"{entry.names[0]} ({entry.model})" if entry.names else entry.model
    yield f"{called} at {entry.provider}: {entry.requests} requests{failed}, sent by {entry.client}"
    slope = entry.ttft.per_prompt_token_s
    grows = "one size of prompt only" if slope is None else f"{slope * 1e6:.1f} µs a prompt token"
    constant = f"{entry.ttft.constant_s * 1e3:.1f} ms (round trip and the server's constant)"
    yield f"  TTFT              {constant} + {grows}{_factors(entry.ttft.spread)}"
    if entry.time_per_token is not None:
        token = entry.time_per_token
        yield f"  time per token    {token.per_output_token_s * 1e3:.2f} ms{_factors(token.spread)}"
    if entry.end_to_end is not None:
        for name, (first, rest) in entry.end_to_end.spread.items():
            yield f"  E2E {name}           {first:.2f} x TTFT + {rest:.2f} x the later tokens' time"
    for name, need in NEEDED.items():
        if name != "p50" and name not in entry.ttft.spread:
            short = entry.requests < need
            yield f"  {name} not told      " + (
                f"{need} requests are needed" if short else "too many timed out: it is beyond the limit"
            )
    for name, error in entry.held_out.items():
        yield f"  held out, {name.replace('_', ' ')}: {_error(error)}"
    if not entry.held_out:
        yield "  held out: too few requests to split by time"
    if entry.basis == "measured" and not entry.days:
        yield f"  drift over days: unknown, all requests are of {entry.first_day}; measure again on other days"
    for day in entry.days:
        yield (
            f"  {day.day}        {day.requests} requests: TTFT {_against(day.ttft_ratio)}, "
            f"time per token {_against(day.time_per_token_ratio)} against the fit"
        )


def _factors(spread: dict[str, float]) -> str:
    return "".join(f", {name} x {factor:.2f}" for name, factor in spread.items())


def _error(error: ApiHeldOut) -> str:
    worst = "" if error.p50_worst is None else f" (worst size {error.p50_worst:.1%})"
    cover = "".join(
        f", {share:.0%} at or under {name}"
        for name, share in (("p90", error.p90_coverage), ("p99", error.p99_coverage))
        if share is not None
    )
    return f"p50 off by {error.p50_error:.1%}{worst}{cover}, {error.requests} later requests"


def _against(ratio: float | None) -> str:
    return "too few" if ratio is None else f"{ratio - 1:+.1%}"
