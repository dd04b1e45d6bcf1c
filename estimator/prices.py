"""What a prediction costs, from the prices that the question states."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.answer import Quantity
from estimator.errors import EstimatorError
from estimator.specs import Workload
from estimator.theory.cost import electricity_usd, rented_usd, usd_per_million_tokens


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices that the asker states; None where the question is not asked."""

    rent_usd_per_hour: float | None = None
    power_w: float | None = None
    electricity_usd_per_kwh: float | None = None


def cost_quantities(end_to_end: Quantity, work: Workload, prices: Prices) -> dict[str, Quantity]:
    """Costs of one round of `work.concurrency` requests on a machine that is always busy; empty without prices.

    Raises EstimatorError for prices that make no sense.
    """
    stated = [price for price in (prices.rent_usd_per_hour, prices.power_w, prices.electricity_usd_per_kwh) if price]
    if any(price < 0 for price in stated):
        raise EstimatorError("rent, power and price of electricity must be at least 0")
    if (prices.power_w is None) != (prices.electricity_usd_per_kwh is None):
        raise EstimatorError("electricity costs need both the power (--watts) and its price (--usd-per-kwh)")
    usd_per_s = {}
    if prices.rent_usd_per_hour is not None:
        usd_per_s["rented"] = rented_usd(prices.rent_usd_per_hour, 1.0)
    if prices.power_w is not None and prices.electricity_usd_per_kwh is not None:
        usd_per_s["electricity"] = electricity_usd(prices.power_w, 1.0, prices.electricity_usd_per_kwh)
    found = {}
    for name, rate in usd_per_s.items():
        found[f"{name}_usd"] = end_to_end.scaled(rate)
        per_million = usd_per_million_tokens(rate, work.output_tokens * work.concurrency)
        found[f"{name}_per_million_output_tokens_usd"] = end_to_end.scaled(per_million)
    return found
