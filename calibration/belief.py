"""What is believed of the prices of a machine before and after measuring: price guesses and how sure they are.

The same assumptions as the fit's (`calibration.fitters`): prices of the prior up to one factor for decode and one for
prefill, each by itself to `PRICE_SD`. Prices are relative to their guesses, so a cell's row is each term's share of its
predicted time, and a variance is of a relative error. Beside the prices there is what the terms do not explain: an
error that all cells of a model share in a phase, one that grows with the logarithm of its size, and one of each cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.design import Array
from calibration.errors import NothingToFit
from calibration.fitters import GUESS_SD, fit_speed, middle_price, phase_of
from calibration.observations import Observation, PhaseName
from estimator.specs import ModelFile, Workload
from estimator.theory.terms import decode_terms, prefill_terms
from harness.stability import MEDIAN_ERROR

PHASES: tuple[PhaseName, ...] = ("prefill", "decode")
# One factor for all prices of a phase: nothing is known of a machine that was not measured but its kind.
SCALE_SD = 1.0
# How far a machine's price is believed to be from the prior's, relative: stated. A fit draws more strongly by default.
PRICE_SD = 0.3
# What the terms leave unexplained, of a model and of a cell. Together the held-out error of the shipped reference:
# medians of 2.8 and 3.6 % are standard deviations of 4 and 5 %.
MODEL_SD, CELL_SD = 0.03, 0.03
# The same per tenfold parameters: what small models show of large ones is not taken for the whole truth. Assumed.
SIZE_SD = 0.05
# Identical requests of one cell within a run: median over 169 cells of the shipped reference, whose machine is shared.
REQUEST_SD = 0.07


@dataclass(frozen=True, slots=True)
class Belief:
    """Guessed seconds per unit of each term, the names of the models with an error of their own, and the covariance.

    Of the terms those that were neither measured nor are the prior's are `unknown`.

    The columns are the terms, then by phase the error that grows with the size, then by phase and model the model's.
    """

    prices: dict[str, float]
    models: tuple[str, ...]
    covariance: Array
    unknown: frozenset[str] = frozenset()

    def knows(self, file: ModelFile, work: Workload) -> bool:
        """Whether every term of both phases has a price that somebody measured."""
        return not any(self.unknown & found.keys() for found in terms_of(file, work).values())

    def seconds(self, terms: Mapping[str, float]) -> float:
        """Σ price x amount."""
        return sum(self.prices.get(name, 0.0) * amount for name, amount in terms.items())

    def row(self, terms: Mapping[str, float], phase: PhaseName, file: ModelFile) -> Array:
        """Each term's share of the predicted time; log10(parameters / 1e9); 1 for the error of a model of `models`."""
        total, at_phase = self.seconds(terms), PHASES.index(phase)
        row = np.zeros(len(self.covariance))
        for at, (name, price) in enumerate(self.prices.items()):
            row[at] = price * terms.get(name, 0.0) / total
        first = len(self.prices) + at_phase
        row[first] = math.log10(file.parameters / 1e9)
        if (name := file.model.name) in self.models:
            row[len(self.prices) + len(PHASES) + at_phase * len(self.models) + self.models.index(name)] = 1.0
        return row


def terms_of(file: ModelFile, work: Workload) -> dict[PhaseName, dict[str, float]]:
    """Amounts of both phases."""
    return {"prefill": prefill_terms(file, work), "decode": decode_terms(file, work)}


def cell_variance(repeats: int) -> float:
    """Relative variance of the median of so many requests about what the terms say: cell² + (1.2533 request)² / n."""
    return CELL_SD**2 + (MEDIAN_ERROR * REQUEST_SD) ** 2 / repeats


def belief(
    observations: Sequence[Observation],
    prior: Mapping[str, float] | None,
    terms: Iterable[str],
    models: Sequence[str],
) -> Belief:
    """What is believed once `observations` have been measured; `terms` are all that may be met, `models` as above.

    Raises NothingToFit without observations and prior: then nothing is known of what a cell costs.
    """
    if not observations and not prior:
        raise NothingToFit(
            "without the prior a plan needs measured cells to guess costs from: give RESULTS, or --prior"
        )
    known = dict(fit_speed(observations, prior).seconds_per_unit) if observations else dict(prior or {})
    names = sorted(set(terms) | set(known))
    prices = {name: known[name] if name in known else middle_price(name, known) for name in names}
    seen = {name for o in observations for name in o.terms} if not prior else set()
    covariance = _covariance(prices, len(models), set(prior or ()) | seen)
    blank = Belief(prices, tuple(models), covariance, frozenset(prices.keys() - known.keys()))
    return measured(blank, observations)


def measured(before: Belief, observations: Sequence[Observation]) -> Belief:
    """The belief with the observations in it."""
    if not observations:
        return before
    rows = np.array([before.row(o.terms, o.phase, o.file) for o in observations])
    weights = np.array([1 / _variance(o) for o in observations])
    known = np.linalg.inv(before.covariance) + (rows.T * weights) @ rows
    return replace(before, covariance=np.asarray(np.linalg.inv(known), dtype=np.float64))


def _variance(o: Observation) -> float:
    """As measured, where there are repeats to tell it from; never better than what the terms explain."""
    if o.relative_error is None:
        return cell_variance(1)
    return CELL_SD**2 + o.relative_error**2


def _covariance(prices: Mapping[str, float], models: int, known: set[str]) -> Array:
    """PRICE_SD² (a guess: GUESS_SD²) a price + SCALE_SD² a phase; SIZE_SD² a phase; MODEL_SD² a model and phase."""
    sds = np.array([PRICE_SD if name in known else GUESS_SD for name in prices])
    phases = np.array([phase_of(name) == "decode" for name in prices])
    together = SCALE_SD**2 * (phases[:, None] == phases[None, :])
    unexplained = [SIZE_SD**2] * len(PHASES) + [MODEL_SD**2] * len(PHASES) * models
    whole = np.diag([*sds**2, *unexplained])
    whole[: len(prices), : len(prices)] += together
    return whole
