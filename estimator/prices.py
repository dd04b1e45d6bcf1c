"""What a prediction costs, from the prices that the question states or an instance has."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.amounts import LEAST_UTILISATION, are_amounts
from estimator.answer import Quantity
from estimator.errors import EstimatorError
from estimator.specs import Workload
from estimator.theory.cost import electricity_usd, rented_usd, usd_per_million_tokens, usd_per_month


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices that the asker states; None where the question is not asked.

    `utilisation` is the share of the rented hours in which the machine works on requests; `rent_origin` says where
    the rent is from, or why there is none; None for a rent that was stated.
    """

    rent_usd_per_hour: float | None = None
    power_w: float | None = None
    electricity_usd_per_kwh: float | None = None
    utilisation: float = 1.0
    rent_origin: str | None = None


def cost_quantities(end_to_end: Quantity, work: Workload, prices: Prices) -> dict[str, Quantity]:
    """Costs of one round of `work.concurrency` requests; empty without prices.

    Raises EstimatorError for prices that make no sense.
    """
    _check(prices)
    usd_per_s = {}
    if prices.rent_usd_per_hour is not None:
        usd_per_s["rented"] = rented_usd(prices.rent_usd_per_hour, 1.0, prices.utilisation)
    if prices.power_w is not None and prices.electricity_usd_per_kwh is not None:
        usd_per_s["electricity"] = electricity_usd(prices.power_w, 1.0, prices.electricity_usd_per_kwh)
    found = {}
    for name, rate in usd_per_s.items():
        found[f"{name}_usd"] = end_to_end.scaled(rate)
        if work.concurrency > 1:
            found[f"{name}_per_request_usd"] = end_to_end.scaled(rate / work.concurrency)
        per_million = usd_per_million_tokens(rate, work.output_tokens * work.concurrency)
        found[f"{name}_per_million_output_tokens_usd"] = end_to_end.scaled(per_million)
    if prices.rent_usd_per_hour is not None:
        month = usd_per_month(prices.rent_usd_per_hour)
        found["rented_per_month_usd"] = Quantity(month, theory=month, basis="stated")
    return found


def cost_basis(prices: Prices) -> str | None:
    """In words what the rent is, where it is from and how busy the machine is; None where nothing is rented."""
    if prices.rent_usd_per_hour is None:
        return prices.rent_origin
    busy = "always busy (utilisation 1)" if prices.utilisation == 1 else f"busy {prices.utilisation:g} of the time"
    return f"${prices.rent_usd_per_hour:g} an hour, {prices.rent_origin or 'as stated'}; {busy}; a month has 730 h"


def _check(prices: Prices) -> None:
    if not are_amounts(prices.rent_usd_per_hour, prices.power_w, prices.electricity_usd_per_kwh):
        raise EstimatorError("rent, power and price of electricity must be at least 0 and at most 1e15")
    if (prices.power_w is None) != (prices.electricity_usd_per_kwh is None):
        raise EstimatorError("electricity costs need both the power (--watts) and its price (--usd-per-kwh)")
    if not LEAST_UTILISATION <= prices.utilisation <= 1:
        raise EstimatorError(
            "the utilisation must be above 0 and at most 1: it is a share of the time, a millionth at least"
        )
    if prices.utilisation != 1 and prices.rent_usd_per_hour is None:
        raise EstimatorError("the utilisation divides a rent: state one with --instance or --usd-per-hour")
