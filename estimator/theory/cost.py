"""What a request costs, in US dollars, from prices that are arguments: nothing here knows a price list.

Formula family 7. The textbook's two cost formulas stand in textbook.py.
"""

from __future__ import annotations

_SECONDS_PER_HOUR = 3600.0
_JOULES_PER_KWH = 3.6e6
HOURS_PER_MONTH = 730.0


def rented_usd(usd_per_hour: float, busy_s: float, utilisation: float = 1.0) -> float:
    """$/h / 3600 x seconds / utilisation: idle hours are paid too. `utilisation` is in (0, 1]."""
    return usd_per_hour / _SECONDS_PER_HOUR * busy_s / utilisation


def usd_per_month(usd_per_hour: float) -> float:
    """$/h x 730 h: what a machine costs that is rented around the clock, whatever it does."""
    return usd_per_hour * HOURS_PER_MONTH


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
