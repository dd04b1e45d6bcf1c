"""What a machine costs, whatever it does and while it works: rent, or price over lifetime, and electricity."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.amounts import are_amounts
from estimator.clouds import Instance
from estimator.errors import EstimatorError
from estimator.hardware import Part
from estimator.theory.cost import HOURS_PER_YEAR, electricity_usd

ASSUMED_LIFETIME_YEARS = 3.0
LEAST_LIFETIME_YEARS = 1 / HOURS_PER_YEAR


@dataclass(frozen=True, slots=True)
class Outlay:
    """Prices of one machine.

    usd_per_hour    rent, or price / lifetime, day and night; None where unknown, `origins` says what is missing
    busy_w, idle_w  electric power while it works on requests and while it waits
    joules_per_request   measured energy of a request, in place of `busy_w`; idle draw is in it
    origins         sentences on where each price is from
    """

    kind: str
    usd_per_hour: float | None
    origins: tuple[str, ...]
    usd_per_kwh: float = 0.0
    busy_w: float = 0.0
    idle_w: float = 0.0
    joules_per_request: float | None = None

    def working_usd(self, machine_s: float) -> float:
        """Electricity of one request, idle draw included: measured joules, else busy power x seconds, in USD."""
        if self.joules_per_request is not None:
            return electricity_usd(self.joules_per_request, 1.0, self.usd_per_kwh)
        return electricity_usd(self.busy_w, machine_s, self.usd_per_kwh)

    def waiting_usd(self, idle_s: float) -> float:
        """Electricity of `idle_s` seconds in which nothing is asked."""
        return electricity_usd(self.idle_w, idle_s, self.usd_per_kwh)


@dataclass(frozen=True, slots=True)
class Owning:
    """What the owner of a machine states; None where nothing was stated."""

    price_usd: float | None = None
    lifetime_years: float | None = None
    usd_per_kwh: float | None = None
    watts: float | None = None
    idle_watts: float | None = None
    joules_per_request: float | None = None

    def __post_init__(self) -> None:
        if not are_amounts(self.price_usd, self.usd_per_kwh, self.watts, self.idle_watts, self.joules_per_request):
            raise EstimatorError("prices, watts and joules must be at least 0 and at most 1e15")
        if self.watts is not None and (self.idle_watts or 0.0) > self.watts:
            raise EstimatorError("a machine draws at least as much while it works: --idle-watts is above --watts")
        if self.lifetime_years is not None and not LEAST_LIFETIME_YEARS <= self.lifetime_years <= 100:
            raise EstimatorError("the lifetime must be above 0 (an hour at least) and at most 100 years")
        if self.watts is not None and self.joules_per_request is not None:
            raise EstimatorError("--watts and --joules-per-request say the same: give the measured joules alone")


def rented(instance: Instance, stated_usd_per_hour: float | None = None) -> Outlay:
    """The rent as stated, else of the catalogue with its date and source, else unknown."""
    if stated_usd_per_hour is not None:
        return rent_stated(stated_usd_per_hour)
    if instance.usd_per_hour is None:
        return Outlay("rented", None, ("no price of it is known: state it with --usd-per-hour",))
    words = f"${instance.usd_per_hour:g} an hour on demand in {instance.region}, {instance.price_date}"
    return Outlay("rented", instance.usd_per_hour, (f"{words} ({instance.price_source}); electricity is in it",))


def rent_stated(usd_per_hour: float) -> Outlay:
    """A rent that the asker states. Raises EstimatorError."""
    if not are_amounts(usd_per_hour):
        raise EstimatorError("the rent must be at least 0 and at most 1e15")
    return Outlay("rented", usd_per_hour, (f"${usd_per_hour:g} an hour, as stated",))


def owned(owning: Owning, part: Part | None, gpus: int = 1) -> Outlay:
    """price / lifetime and electricity of a machine of one's own; unknown where price or electricity are.

    The power is that of measured joules, else stated, else the power limit of the GPUs or of the chip, and says so.
    """
    missing = []
    if owning.price_usd is None:
        missing.append("the price of the hardware is unknown: state it with --hardware-usd")
    if owning.usd_per_kwh is None:
        missing.append("the price of electricity is unknown: state it with --usd-per-kwh")
    limit_w = None if part is None or part.tdp_w is None else part.tdp_w * gpus
    if owning.watts is None and owning.joules_per_request is None and limit_w is None:
        missing.append("its power is unknown: state --watts, or --joules-per-request as measured")
    if owning.price_usd is None or owning.usd_per_kwh is None or missing:
        return Outlay("owned", None, tuple(missing))
    years = owning.lifetime_years or ASSUMED_LIFETIME_YEARS
    busy_w = limit_w if owning.watts is None else owning.watts
    return Outlay(
        "owned",
        owning.price_usd / (years * HOURS_PER_YEAR),
        (_wear(owning, years), *_electricity(owning, limit_w)),
        owning.usd_per_kwh,
        busy_w or 0.0,
        owning.idle_watts or 0.0,
        owning.joules_per_request,
    )


def _wear(owning: Owning, years: float) -> str:
    how = "assumed" if owning.lifetime_years is None else "as stated"
    return f"${owning.price_usd:,.10g} for the machine, as stated, over {years:g} years ({how})"


def _electricity(owning: Owning, limit_w: float | None) -> tuple[str, str]:
    if owning.joules_per_request is not None:
        power = f"{owning.joules_per_request:g} J a request, stated as measured"
    elif owning.watts is not None:
        power = f"{owning.watts:g} W while it works, as stated"
    else:
        power = f"{limit_w:g} W while it works, assumed: the power limit of the catalogue, without the rest of the host"
    idle = "not counted: state --idle-watts" if owning.idle_watts is None else f"{owning.idle_watts:g} W, as stated"
    return f"electricity at ${owning.usd_per_kwh:g} a kWh; {power}", f"idle draw {idle}"
