"""Fits without something, and what they say of it; how anything is fitted is an argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from calibration.fitters import SpeedFit
from calibration.observations import Observation
from calibration.validate import shape_of

Fit = Callable[[Sequence[Observation]], SpeedFit]
Key = Callable[[Observation], str]
PHASES = ("decode", "prefill")


@dataclass(frozen=True, slots=True)
class Held:
    """A cell's phase as predicted by a fit that had not seen its group; None where a term of it has no price.

    `prices` are those of that fit, seconds per unit.
    """

    observation: Observation
    group: str
    predicted_s: float | None
    prices: Mapping[str, float] = field(default_factory=dict)

    @property
    def error(self) -> float | None:
        """(predicted - measured) / measured."""
        return None if self.predicted_s is None else self.predicted_s / self.observation.seconds - 1

    @property
    def log(self) -> float:
        """The logarithm of measured / predicted; NaN without a prediction."""
        return math.nan if self.predicted_s is None else math.log(self.observation.seconds / self.predicted_s)


@dataclass(frozen=True, slots=True)
class Sizes:
    """|predicted - measured| / measured: median, 90th percentile, worst; of how many cells of how many groups.

    `asked` counts the cells without a prediction too.
    """

    median: float
    p90: float
    worst: float
    known: int
    asked: int
    groups: int


def sizes_of(held: Sequence[Held]) -> Sizes | None:
    """The sizes of the errors; None where nothing was predicted."""
    sizes = [abs(one.error) for one in held if one.error is not None]
    if not sizes:
        return None
    groups = len({one.group for one in held if one.error is not None})
    middle, high = (float(value) for value in np.quantile(sizes, [0.5, 0.9]))
    return Sizes(middle, high, max(sizes), len(sizes), len(held), groups)


def of_phase(held: Sequence[Held], phase: str) -> list[Held]:
    """Those of one phase."""
    return [one for one in held if one.observation.phase == phase]


def model_of(observation: Observation) -> str:
    """The model, whatever its name and weight type."""
    return shape_of(observation.file)


def type_of(observation: Observation) -> str:
    """The weight type, or mixture of types, of the file."""
    return observation.file.quant


def predicted(fit: SpeedFit, observation: Observation, group: str) -> Held:
    """The observation as `fit` predicts it; a time of nothing is no prediction."""
    seconds = fit.seconds(observation.terms)
    return Held(observation, group, seconds or None, fit.seconds_per_unit)


def left_out(observations: Sequence[Observation], key: Key, fit: Fit) -> list[Held]:
    """Every observation as predicted by the fit to those with another `key`; nothing where all have the same."""
    found: list[Held] = []
    for group in sorted({key(o) for o in observations}):
        rest = [o for o in observations if key(o) != group]
        if rest:
            without = fit(rest)
            found += [predicted(without, o, group) for o in observations if key(o) == group]
    return found


def runs_left_out(observations: Sequence[Observation], fit: Fit) -> tuple[list[Held], list[Held]]:
    """Medians of each run as predicted by the fit to all other runs: of cells that those have too, and of others."""
    again: list[Held] = []
    new: list[Held] = []
    for run in _runs(observations):
        pairs = _apart(observations, run)
        rest = [others for _, others in pairs if others is not None]
        if rest:
            without = fit(rest)
            for own, others in pairs:
                if own is not None:
                    (new if others is None else again).append(predicted(without, own, run))
    return again, new


def repeated(observations: Sequence[Observation]) -> list[Held]:
    """Medians of each run beside the median of the others' of the same cell: what no model could do better."""
    return [
        Held(own, run, others.seconds)
        for run in _runs(observations)
        for own, others in _apart(observations, run)
        if own is not None and others is not None
    ]


def _runs(observations: Sequence[Observation]) -> list[str]:
    return sorted({run for o in observations for run, _ in o.by_run})


def _apart(observations: Sequence[Observation], run: str) -> list[tuple[Observation | None, Observation | None]]:
    """Each observation as that run alone measured it, and as the other runs did; None where they did not."""
    return [(_of_run(o, run), _without_run(o, run)) for o in observations]


def _of_run(observation: Observation, run: str) -> Observation | None:
    seconds = dict(observation.by_run).get(run)
    return None if seconds is None else replace(observation, seconds=seconds, by_run=((run, seconds),))


def _without_run(observation: Observation, run: str) -> Observation | None:
    """The observation with the median of the other runs' medians; None where no other run measured it."""
    rest = tuple((name, seconds) for name, seconds in observation.by_run if name != run)
    if len(rest) == len(observation.by_run):
        return observation
    return replace(observation, seconds=median(seconds for _, seconds in rest), by_run=rest) if rest else None
