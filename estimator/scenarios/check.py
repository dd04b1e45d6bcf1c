"""Each limit of a scenario against what is predicted: the end of the interval that is worse for it must keep it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from estimator.answer import Answer, Quantity
from estimator.errors import EstimatorError, UnreadableFile
from estimator.nearest import did_you_mean
from estimator.scenarios.file import FITS, Limit, Scenario

Outcome = Literal["met", "not met", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One limit: `predicted` is the value that was judged, `basis` what it stands on; None where nobody knows.

    A theoretical time is the fastest possible one, so a limit that it breaks is broken; one that it keeps may not
    be kept by a real machine: `proven` is false then.
    """

    scenario: str
    limit: str
    bound: float | str
    predicted: float | str | None
    basis: str
    outcome: Outcome
    proven: bool


def check(scenario: Scenario, answer: Answer) -> Iterator[Finding]:
    """What comes of each limit of `scenario`. Raises UnreadableFile for a quantity that the answer does not have."""
    if scenario.fits is not None:
        yield _fit(scenario.name, scenario.fits, answer)
    quantities = {**answer.memory, **answer.speed, **answer.cost}
    for limit in scenario.limits:
        found = quantities.get(limit.quantity)
        if found is None:
            near = did_you_mean(limit.quantity, list(quantities))
            raise UnreadableFile(
                f"the answer has no {limit.quantity!r}{near}; `predict --json` shows all (costs need a price)"
            )
        yield _judged(scenario.name, limit, found)


def checked(
    scenarios: tuple[Scenario, ...], answer_to: Callable[[tuple[str, ...]], Answer], where: str
) -> tuple[Finding, ...]:
    """The findings of all scenarios; `answer_to` answers the arguments of one. Raises EstimatorError, saying which."""
    found: list[Finding] = []
    for scenario in scenarios:
        try:
            found += check(scenario, answer_to(scenario.arguments))
        except EstimatorError as error:
            kind = type(error)
            raise kind(f"{where}: scenario {scenario.name!r}: {error}") from error
    return tuple(found)


def _fit(name: str, least: str, answer: Answer) -> Finding:
    verdict = answer.fit.fits
    if verdict == "unknown":
        return Finding(name, "fits", least, None, "unknown", "unknown", False)
    met = verdict in FITS[FITS.index(least) :]
    basis = answer.memory["total_bytes"].basis
    return Finding(name, "fits", least, verdict, basis, "met" if met else "not met", True)


def _judged(name: str, limit: Limit, found: Quantity) -> Finding:
    """The upper end against a maximum, the lower against a minimum; the value where there is no interval."""
    end = found.high if limit.side == "max" else found.low
    judged = found.value if end is None else end
    label = f"{limit.side} {limit.quantity}"
    if judged is None:
        return Finding(name, label, limit.bound, None, "unknown", "unknown", False)
    met = judged <= limit.bound if limit.side == "max" else judged >= limit.bound
    alone = found.basis == "theory" or (found.basis in ("moved", "reference") and end is None)
    proven = not met or not alone or limit.quantity.endswith("_bytes")
    return Finding(name, label, limit.bound, judged, found.basis, "met" if met else "not met", proven)
