"""Held-out errors and intervals of the reference: whole machines, models, weight types, sources left out.

Intervals are grouped conformal: scores of machines left out whole, each machine counting the same. That is what
MAPIE's cross-conformal regressor does with groups; it wants a scikit-learn estimator, which physics plus kernel is not,
and weighs rows, not machines. Coverage is nested: the interval that is checked on a machine stands on scores of fits
that have not seen it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.published.fitting import Array, Indices, Samples, fit_samples, weighted_quantile
from calibration.published.rows import Row

LEVEL = 0.9
LEAST_MACHINES = 9
# Folds of machines in the inner loop of the nested coverage; the outer loop leaves out one machine at a time.
_FOLDS = 10

Key = Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class HeldOutRows:
    """Predictions of rows whose group was left out, and how far each lies from what was used."""

    seconds: Array
    distance: Array


def machine_of(row: Row) -> str:
    """The machine whatever its back end: a card measured with CUDA and with Vulkan is left out of both."""
    return row.machine_name


def cell_of(row: Row) -> str:
    """Machine and model: rows that differ in prompt, type or build alone err alike."""
    return f"{row.machine_name} / {row.model_name}"


def leave_out(samples: Samples, key: Key, among: Indices | None = None) -> HeldOutRows:
    """Every row of `among` (all) predicted by the fit to the rows of `among` with another `key`."""
    among = np.arange(len(samples.rows)) if among is None else among
    keys = np.array([key(samples.rows[i]) for i in among])
    seconds, distance = np.full(len(samples.rows), math.nan), np.full(len(samples.rows), math.nan)
    for value in sorted(set(keys)):
        used, asked = among[keys != value], among[keys == value]
        if not len(used):
            continue
        fitted = fit_samples(samples, used)
        seconds[asked] = fitted.seconds(samples, asked)
        distance[asked] = fitted.distance(samples, asked)
    return HeldOutRows(seconds, distance)


def scores(samples: Samples, held: HeldOutRows) -> Array:
    """|log(measured / predicted)| / (1 + distance) of each row; NaN where it was not held out."""
    return np.asarray(np.abs(np.log(samples.seconds / held.seconds)) / (1.0 + held.distance))


def reach_of(samples: Samples, held: HeldOutRows, back_end: str, among: Indices | None = None) -> float | None:
    """The 90 % conformal quantile of the scores of `back_end`: each machine x model weighs 1, one more counts as worse.

    None under nine machines, where the 90 % rank of machines would lie beyond the worst.
    """
    among = np.arange(len(samples.rows)) if among is None else among
    here = np.array([i for i in among if samples.rows[i].back_end == back_end], dtype=np.int64)
    if len({samples.rows[i].machine_name for i in here}) < LEAST_MACHINES:
        return None
    cells = [cell_of(samples.rows[i]) for i in here]
    weights = np.array([1.0 / cells.count(cell) for cell in cells])
    level = min(1.0, LEVEL * (1 + 1 / len(set(cells))))
    return weighted_quantile(scores(samples, held)[here], weights, level)


def nested_cover(samples: Samples, held: HeldOutRows) -> Array:
    """1 where the interval held a row, 0 where not, NaN where there was none; the machine unseen by fit and interval."""
    machines = sorted({row.machine_name for row in samples.rows})
    names = np.array([row.machine_name for row in samples.rows])
    covered = np.full(len(samples.rows), math.nan)
    for machine in machines:
        rest = np.flatnonzero(names != machine)
        inner = leave_out(samples, _folds([name for name in machines if name != machine]), rest)
        asked = np.flatnonzero(names == machine)
        for back_end in {samples.rows[i].back_end for i in asked}:
            reach = reach_of(samples, inner, back_end, rest)
            here = [i for i in asked if samples.rows[i].back_end == back_end]
            if reach is not None:
                covered[here] = scores(samples, held)[here] <= reach
    return covered


def _folds(machines: Sequence[str]) -> Key:
    number = {name: index % _FOLDS for index, name in enumerate(machines)}
    return lambda row: str(number[row.machine_name])


def relative_errors(samples: Samples, seconds: Array) -> Array:
    """|predicted - measured| / measured, of seconds."""
    return np.asarray(np.abs(seconds / samples.seconds - 1))


def rate_errors(samples: Samples, seconds: Array) -> Array:
    """|predicted - measured| / measured, of tokens per second."""
    return np.asarray(np.abs(samples.seconds / seconds - 1))
