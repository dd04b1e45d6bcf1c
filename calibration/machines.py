"""What other machines' records say before this one's are looked at: their prices up to a factor each, pooled.

The prices of machine m are its factor of the phase x (p_j + u_j d_mj): p_j those of the shipped prior, u_j the same,
or, where it is 0, what would explain the whole of some cell (`units`). d_mj is normal about mu_j, the mean of all
machines, with standard deviation tau_j; mu_j is normal about 0 with standard deviation sigma, the same for all terms:
near 0 where others differ from the shipped machine each in its own way, which then says as much of this one as they do.
A machine of many cells says its own d; one of few, or a term that its cells do not tell, counts for as little as it
says: each has a Gaussian posterior, by the weights of its robust fit, and mu, tau and sigma are what
expectation-maximisation (Dempster, Laird, Rubin 1977) makes of these. Both variances are drawn toward PRIOR_SD² / 2, so
that two machines differ by PRIOR_SD, as if by so many machines or terms (_TAKEN_FOR_GRANTED; stated, not fitted).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.fitters import (
    NOISE_SD,
    PRIOR_SD,
    Array,
    relative_rows,
    robust,
    robust_weights,
    scaled_prior,
)
from calibration.gate import admitted
from calibration.observations import Build, Dataset, Observation
from calibration.strength import Known
from estimator.coefficients import Coefficients
from harness.metrics import computes_on_cpu

# Machines beyond the newest so many change little and cost time.
MOST_MACHINES = 50
_TAKEN_FOR_GRANTED = 4
_ROUNDS, _SETTLED = 100, 1e-4
Machine = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Told:
    """What one machine says of the d of all terms: precision matrix and precision x mean."""

    precision: Array
    pointing: Array


def machine_of(build: Build) -> Machine:
    """The machine whatever its engine: CPU, cores, memory."""
    return build.cpu, build.physical_cores, build.memory_total_bytes


class Machines:
    """The builds of a data set as machines that say something of each other; what each says is worked out once."""

    def __init__(self, parts: Mapping[Build, Dataset], prior: Coefficients | None) -> None:
        """Without the prices of a prior of their engine (the first word of its name) machines cannot be compared."""
        self._parts = parts
        self._engine = prior.engine.name.partition(" ")[0] if prior else ""
        self._prices = {name: entry.seconds_per_unit for name, entry in prior.speed.items()} if prior else {}
        newest = list(parts)[-MOST_MACHINES:]
        self._units = units(self._prices, [o for build in newest for o in parts[build].observations])
        seen = frozenset(prior.evidence.runs if prior else ())
        self._telling = [build for build in parts if self._tells(build, seen)]
        self._told: dict[Build, Told | None] = {}

    def others(self, build: Build) -> list[Build]:
        """The newest other build of the engine on each machine, of the machines with the latest runs, oldest first."""
        newest: dict[Machine, Build] = {}
        for other in self._telling if self._of_engine(build) and not _on_gpu(build) else ():
            if other != build:
                newest.pop(machine_of(other), None)
                newest[machine_of(other)] = other
        return list(newest.values())[-MOST_MACHINES:]

    def known(self, build: Build) -> Known:
        """What is known of the prices of `build` before its own records."""
        if not self._of_engine(build):
            return Known(None)
        said = [self._says(other) for other in self.others(build)]
        return pooled(self._prices, self._units, [one for one in said if one is not None])

    def _of_engine(self, build: Build) -> bool:
        return bool(self._prices) and build.engine.partition(" ")[0] == self._engine

    def _tells(self, build: Build, seen: frozenset[str]) -> bool:
        """Whether it says something of others: ratios of a GPU's prices are not a processor's, and the runs that the
        prior was fitted to are in it already."""
        runs = {run for o in self._parts[build].observations for run, _ in o.by_run}
        return self._of_engine(build) and not _on_gpu(build) and not runs & seen

    def _says(self, build: Build) -> Told | None:
        if build not in self._told:
            data = self._parts[build]
            self._told[build] = told(admitted(data.observations, data.probes)[0], self._prices, self._units)
        return self._told[build]


def _on_gpu(build: Build) -> bool:
    """Whether its engine says that it has more than the processor."""
    return bool(build.system_info) and not computes_on_cpu(build.system_info)


def units(prices: Mapping[str, float], observations: Sequence[Observation]) -> dict[str, float]:
    """What each price is counted in: itself, or, of a price of 0, the least that would explain an observation."""
    found = {name: price for name, price in prices.items() if price > 0}
    for o in observations:
        whole = sum(prices.get(name, 0.0) * amount for name, amount in o.terms.items())
        for name, amount in o.terms.items():
            if prices.get(name) == 0 and amount > 0 and whole > 0:
                found[name] = min(found.get(name, math.inf), whole / amount)
    return found


def pooled(prices: Mapping[str, float], unit: Mapping[str, float], machines: Sequence[Told]) -> Known:
    """The prior that the shipped prices and what other machines say make together."""
    if not machines:
        return Known(prices)
    alone, count = np.full(len(unit), PRIOR_SD**2 / 2), len(machines)
    mean, between, shift, unsure = np.zeros(len(unit)), alone, PRIOR_SD**2 / 2, alone
    for _ in range(_ROUNDS):
        before = mean
        places, widths = map(np.array, zip(*(_posterior(one, mean, between) for one in machines), strict=True))
        unsure = 1 / (count / between + 1 / shift)
        mean = unsure * places.sum(axis=0) / between
        shift = float(_drawn(mean**2 + unsure, len(unit), axis=None))
        between = _drawn((places - mean) ** 2 + widths + unsure, count, axis=0)
        if np.abs(mean - before).max() <= _SETTLED:
            break
    moved, spread = dict(prices), dict[str, float]()
    for (name, one), d, variance in zip(unit.items(), mean, between + unsure, strict=True):
        moved[name] = max(0.0, prices[name] + one * float(d))
        spread[name] = math.sqrt(variance) / PRIOR_SD * (one / moved[name] if moved[name] > 0 else 1.0)
    return Known(moved, spread, count)


def moved_words(others: int) -> str:
    """How many other builds moved the prior; an older one of the same machine counts too."""
    return f", moved by {others} other build{'s' if others > 1 else ''} in the records, one a machine" if others else ""


def _drawn(squares: Array, count: int, axis: int | None) -> Array:
    """A variance from squares, drawn toward that of one machine of two that differ by PRIOR_SD."""
    granted = _TAKEN_FOR_GRANTED * PRIOR_SD**2 / 2
    return np.asarray((granted + squares.sum(axis=axis)) / (_TAKEN_FOR_GRANTED + count))


def told(observations: Sequence[Observation], prices: Mapping[str, float], unit: Mapping[str, float]) -> Told | None:
    """A' W A / NOISE_SD² and A' W (1 - B 1) / NOISE_SD²: B the shares of the time that `prices` explain, A those of
    `unit`, W the robust weights. None of a machine with no observation whose terms all have a price."""
    priced = [o for o in observations if prices.keys() >= o.terms.keys()]
    if not priced:
        return None
    names, scaled = list(unit), scaled_prior(priced, prices)
    factors = scaled_prior(priced, prices, unit)
    amounts = relative_rows(priced, names)
    rows, explained = amounts * [factors[name] for name in names], amounts @ [scaled[name] for name in names]
    known, pull = np.array([float(prices[name] > 0) for name in names]), NOISE_SD / PRIOR_SD
    weights = robust_weights(rows, robust(rows, pull * np.eye(len(names)), pull * known))
    weighted = rows * weights[:, None] / NOISE_SD**2
    return Told(weighted.T @ rows, weighted.T @ (1 - explained))


def _posterior(told: Told, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance of each d of a machine, given those of all machines."""
    covariance = np.linalg.inv(told.precision + np.diag(1 / variance))
    return covariance @ (told.pointing + mean / variance), np.diag(covariance)
