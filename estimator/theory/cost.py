"""What a request costs, in US dollars, from prices that are arguments: nothing here knows a price list.

Formula family 7. The textbook's two cost formulas stand in textbook.py.
"""

from __future__ import annotations

import math

_SECONDS_PER_HOUR = 3600.0
_JOULES_PER_KWH = 3.6e6
HOURS_PER_MONTH = 730.0
HOURS_PER_YEAR = 12 * HOURS_PER_MONTH
SECONDS_PER_DAY = 86_400.0
DAYS_PER_MONTH = HOURS_PER_MONTH / 24
# What floating point may add to a ratio that is a whole number.
_ROUNDING = 1e-9


def rented_usd(usd_per_hour: float, busy_s: float, utilisation: float = 1.0) -> float:
    """$/h / 3600 x seconds / utilisation: idle hours are paid too. `utilisation` is in (0, 1]."""
    return usd_per_hour / _SECONDS_PER_HOUR * busy_s / utilisation


def usd_per_month(usd_per_hour: float) -> float:
    """$/h x 730 h: what a machine costs that is rented around the clock, whatever it does."""
    return usd_per_hour * HOURS_PER_MONTH


def api_usd(
    prompt_tokens: int,
    output_tokens: int,
    usd_per_prompt_token: float,
    usd_per_output_token: float,
    cached_tokens: int = 0,
    usd_per_cached_token: float = 0.0,
) -> float:
    """(prompt - cached) x p_in + cached x p_cached + output x p_out; output includes reasoning tokens."""
    fresh_usd = (prompt_tokens - cached_tokens) * usd_per_prompt_token
    return fresh_usd + cached_tokens * usd_per_cached_token + output_tokens * usd_per_output_token


def electricity_usd(power_w: float, busy_s: float, usd_per_kwh: float) -> float:
    """power x seconds / 3.6e6 J per kWh x $/kWh. Measured joules are better where there are any."""
    return power_w * busy_s / _JOULES_PER_KWH * usd_per_kwh


def hardware_usd(price_usd: float, lifetime_s: float, busy_s: float) -> float:
    """price / lifetime x seconds, both in seconds of use."""
    return price_usd / lifetime_s * busy_s


def usd_per_million_tokens(request_usd: float, tokens: int) -> float:
    """Cost of a request spread over its tokens, per million of them."""
    return request_usd / tokens * 1e6


def break_even_tokens_per_day(usd_per_hour: float, api_usd_per_million_tokens: float) -> float:
    """24 x $/h / ($ per token): the daily load from which renting around the clock beats paying per token."""
    return 24.0 * usd_per_hour / (api_usd_per_million_tokens / 1e6)


def machines_needed(requests_per_day: float, machine_s: float, utilisation: float = 1.0) -> int:
    """ceil(requests a day x seconds a request / (86,400 s x utilisation)), at least 1: machines are bought whole.

    `machine_s` is what a request takes of a machine: 1 / its throughput in requests a second.
    """
    return max(1, math.ceil(requests_per_day / machine_requests_per_day(machine_s, utilisation) - _ROUNDING))


def machine_requests_per_day(machine_s: float, utilisation: float = 1.0) -> float:
    """86,400 s x utilisation / seconds a request: the load that one machine can carry."""
    return SECONDS_PER_DAY * utilisation / machine_s


def break_even_requests_per_day(
    fixed_usd_per_day: float, own_usd_per_request: float, api_usd_per_request: float, machine_requests_per_day: float
) -> float | None:
    """fixed / (API's price - own price), a request: from that load on one machine is cheaper; None for never.

    Never: where a request costs as much on the machine as at the API, or where the load is more than the machine can
    carry. More machines do not help, as n of them cost n times as much and carry n times the load.
    """
    if fixed_usd_per_day == 0 and own_usd_per_request <= api_usd_per_request:
        return 0.0
    saved_usd = api_usd_per_request - own_usd_per_request
    found = fixed_usd_per_day / saved_usd if saved_usd > 0 else math.inf
    return found if found <= machine_requests_per_day * (1 + _ROUNDING) else None


def always_cheaper_requests_per_day(break_even: float, machine_requests_per_day: float) -> float | None:
    """n x break-even, n the smallest for which n machines carry the load at which n + 1 break even.

    Below it a load that is just too much for k machines makes k + 1 of them dearer than the API again. None where
    that never ends: the machine breaks even only when it is full.
    """
    spare = machine_requests_per_day - break_even
    if spare <= _ROUNDING * machine_requests_per_day:
        return None
    return max(1, math.ceil(break_even / spare - _ROUNDING)) * break_even
