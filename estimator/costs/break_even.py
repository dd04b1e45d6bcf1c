"""From which load on a machine is cheaper than an API, in tokens a day; never, where no load is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from estimator.amounts import usd
from estimator.answer import Basis
from estimator.costs.offers import Load, Offer
from estimator.costs.outlay import Outlay
from estimator.theory.cost import (
    SECONDS_PER_DAY,
    always_cheaper_requests_per_day,
    break_even_requests_per_day,
    machine_requests_per_day,
)

BreakEvenVerdict = Literal["from", "always", "never", "unknown"]


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Where a machine and an API cost the same; None where that is nowhere or unknown.

    verdict         "from" the load below on one machine is cheaper; "always"; "never"; "unknown"
    requests_per_day, tokens_per_day   at which both cost the same, prompt and answer counted
    always_from_tokens_per_day   from which on whole machines never fall behind again; between, a load that is just
                    too much for n machines can make n + 1 of them dearer; None where that never ends
    machine_tokens_per_day   what one machine can carry
    throughput_needed   the share of that which breaking even takes: how much slower it may turn out to be
    basis           what the throughput stands on
    """

    api: str
    machine: str
    verdict: BreakEvenVerdict
    reason: str
    basis: Basis = "unknown"
    requests_per_day: float | None = None
    tokens_per_day: float | None = None
    always_from_tokens_per_day: float | None = None
    machine_tokens_per_day: float | None = None
    throughput_needed: float | None = None


def break_even(api: Offer, machine: Offer, outlay: Outlay, load: Load) -> BreakEven:
    """Where `machine`, which costs `outlay`, meets the price of `api`.

    At the throughput of `machine.serving`, in whose interval the verdict may change, which the reason says.
    """
    price = api.request_usd.value
    if price is None or outlay.usd_per_hour is None:
        missing = api.name if price is None else machine.name
        return BreakEven(api.name, machine.name, "unknown", f"the price of {missing} is unknown")
    time = None if machine.serving is None else machine.serving.machine_s
    if time is None or time.value is None:
        reason = "its speed is unknown" if machine.obstacle is None else machine.obstacle.reason
        return BreakEven(api.name, machine.name, "unknown", f"{machine.name} cannot be compared: {reason}")
    requests = _requests(price, outlay, load, time.value)
    carries = machine_requests_per_day(time.value, load.utilisation)
    reason = _reason(price, outlay, load, time.value) + _doubt(price, outlay, load, time.low, time.high)
    full = carries * load.tokens
    if requests is None:
        if machine.at_least:
            reason += ", even at the speed that theory allows"
        return BreakEven(api.name, machine.name, "never", reason, time.basis, machine_tokens_per_day=full)
    later = always_cheaper_requests_per_day(requests, carries)
    return BreakEven(
        api.name,
        machine.name,
        "always" if requests == 0 else "from",
        reason,
        time.basis,
        requests,
        requests * load.tokens,
        None if later is None else later * load.tokens,
        full,
        requests / carries,
    )


def _requests(price_usd: float, outlay: Outlay, load: Load, machine_s: float) -> float | None:
    """The load at which they break even; a busy second is a second less of idle draw."""
    fixed_usd = 24 * (outlay.usd_per_hour or 0.0) + outlay.waiting_usd(SECONDS_PER_DAY)
    own_usd = _own_usd(outlay, machine_s)
    return break_even_requests_per_day(
        fixed_usd, own_usd, price_usd, machine_requests_per_day(machine_s, load.utilisation)
    )


def _own_usd(outlay: Outlay, machine_s: float) -> float:
    return outlay.working_usd(machine_s) - outlay.waiting_usd(machine_s)


def _reason(price_usd: float, outlay: Outlay, load: Load, machine_s: float) -> str:
    own_usd = _own_usd(outlay, machine_s)
    if _requests(price_usd, outlay, load, machine_s) is not None:
        return "one machine carries that load"
    if own_usd >= price_usd:
        return f"electricity alone costs {usd(own_usd)} a request, the API {usd(price_usd)}"
    full_usd = (24 * (outlay.usd_per_hour or 0.0) + outlay.waiting_usd(SECONDS_PER_DAY)) / machine_requests_per_day(
        machine_s, load.utilisation
    ) + own_usd
    return f"a machine in full use costs {usd(full_usd)} a request, the API {usd(price_usd)}"


def _doubt(price_usd: float, outlay: Outlay, load: Load, low_s: float | None, high_s: float | None) -> str:
    """What the ends of the interval of the speed say, where they do not agree."""
    if low_s is None or high_s is None or math.isclose(low_s, high_s):
        return ""
    fast, slow = (_requests(price_usd, outlay, load, at) for at in (low_s, high_s))
    if (fast is None) == (slow is None):
        return ""
    return "; uncertain: at the slow end of the interval of the speed never, at the fast end some load"
