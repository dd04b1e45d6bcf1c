"""The reference fit: non-negative physics, then a smooth residual that fades where nothing was measured.

Of one group of back ends and one phase:

1. prices: non-negative least squares of measured times onto ideal times, on relative residuals with Huber weights,
   over the rows of the group's leading back end;
2. a factor for each back end: the weighted median of measured / (1);
3. the residual: kernel ridge regression of log(measured / (2)) with a Gaussian kernel, which is the mean of a Gaussian
   process of mean 0: near measurements it follows them, far from all of them physics is the answer.

A row counts 1 / sqrt(rows of its machine): a machine that was measured 100 times says more than one that was measured
twice, but not fifty times more. What is chosen from data, the residual's length and noise, is chosen in `choosing.py`
by machines left out, inside of the machines that a fit may see; the rest was stated beforehand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from calibration.published.rows import Row
from estimator.reference.amounts import ideal_times, position
from estimator.reference.file import Point, Residual
from estimator.reference.machine import GROUPS

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

LEADING = {"discrete": "CUDA", "Metal": "Metal", "CPU": "CPU"}
# Of each weight class the others, the most alike first.
_ALIKE = {
    "16bit": ("8bit", "plain", "k"), "8bit": ("plain", "k", "16bit"),
    "k": ("plain", "8bit", "16bit"), "plain": ("k", "8bit", "16bit"),
}  # fmt: skip
HUBER = 0.2
_ROUNDS = 10
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the residual: `length` of the kernel, `noise` the variance of a row beside that of the residual.

    Without a length there is no residual: physics alone.
    """

    length: float | None
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Samples:
    """The rows of one group and phase as arrays, a line each; `kernels` holds that of all pairs of rows by length."""

    group: str
    phase: str
    rows: tuple[Row, ...]
    terms: tuple[str, ...]
    times: Array
    seconds: Array
    at: Array
    kernels: dict[float, Array]

    @property
    def machines(self) -> tuple[str, ...]:
        """Names of all machines, in order."""
        return tuple(sorted({row.machine_name for row in self.rows}))


@dataclass(frozen=True, slots=True)
class Physics:
    """Prices of the terms and factors of the back ends, fitted to the rows `used`."""

    prices: Array
    factors: dict[str, float]
    used: Indices

    def seconds(self, samples: Samples) -> Array:
        """factor x Σ price x ideal time of every row."""
        factor = np.array([self.factors.get(row.back_end, 1.0) for row in samples.rows])
        return np.asarray(factor * (samples.times @ self.prices))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Physics and a residual with weights `alpha` of the rows that physics used."""

    physics: Physics
    settings: Settings
    alpha: Array

    def seconds(self, samples: Samples, asked: Indices) -> Array:
        """Predicted seconds of the rows `asked`."""
        base = self.physics.seconds(samples)[asked]
        if self.settings.length is None:
            return base
        return np.asarray(base * np.exp(self._likeness(samples, asked) @ self.alpha))

    def distance(self, samples: Samples, asked: Indices) -> Array:
        """1 - the likeness of the nearest row that was used: 0 (measured there) to 1 (far from all)."""
        if self.settings.length is None:
            return np.zeros(len(asked))
        return np.asarray(1.0 - self._likeness(samples, asked).max(axis=1))

    def _likeness(self, samples: Samples, asked: Indices) -> Array:
        return samples.kernels[self.settings.length or 0.0][np.ix_(asked, self.physics.used)]


def samples_of(group: str, phase: str, rows: Sequence[Row], lengths: Sequence[float]) -> Samples:
    """The rows of `group` and `phase` as arrays, with kernels of each of `lengths`."""
    chosen = tuple(row for row in rows if row.phase == phase and GROUPS.get(row.back_end) == group)  # type: ignore[call-overload]
    times = [_times(row) for row in chosen]
    terms = tuple(sorted({name for entry in times for name in _whole(entry)}))
    at = np.round(np.array([_position(row) for row in chosen]), _DIGITS)
    squared = _squared_distances(at, [(row.back_end, family_of(row)) for row in chosen])
    return Samples(
        group=group,
        phase=phase,
        rows=chosen,
        terms=terms,
        times=np.array([[entry.get(name, 0.0) for name in terms] for entry in times]),
        seconds=np.array([row.seconds for row in chosen]),
        at=at,
        kernels={length: np.exp(-squared / (2 * length**2)) for length in lengths},
    )


def fit_physics(samples: Samples, used: Indices, dropped: frozenset[str] = frozenset()) -> Physics:
    """Prices and factors by the rows `used`; terms of the families `dropped` cost nothing (for ablations)."""
    weights = row_weights([samples.rows[i] for i in used])
    lead = np.array([samples.rows[i].back_end == LEADING[samples.group] for i in used])
    chosen = used[lead]
    kept = np.array([float(name.partition(".")[0] not in dropped) for name in samples.terms])
    times = samples.times * kept
    prices = _borrowed(samples, chosen, _prices(times[chosen] / samples.seconds[chosen, None], weights[lead])) * kept
    return Physics(prices, _factors(samples, used, prices, weights), used)


def fit_residual(samples: Samples, physics: Physics, settings: Settings) -> Fitted:
    """What physics leaves, smoothed with `settings`."""
    if settings.length is None:
        return Fitted(physics, settings, np.zeros(0))
    used = physics.used
    weights = row_weights([samples.rows[i] for i in used])
    logs = np.log(samples.seconds[used] / physics.seconds(samples)[used])
    near = samples.kernels[settings.length][np.ix_(used, used)]
    return Fitted(physics, settings, np.linalg.solve(near + np.diag(settings.noise / weights), logs))


def row_weights(rows: Sequence[Row]) -> Array:
    """1 / sqrt(rows of the same machine) of each row."""
    counts = Counter(row.machine_name for row in rows)
    return np.array([counts[row.machine_name] ** -0.5 for row in rows])


def residual_file(samples: Samples, fitted: Fitted) -> Residual | None:
    """The residual as the file has it: rows at the same place are one point, their weights added up."""
    if fitted.settings.length is None:
        return None
    added: dict[tuple[tuple[float, ...], str, str], float] = {}
    for index, weight in zip(fitted.physics.used, fitted.alpha, strict=True):
        row = samples.rows[index]
        key = (tuple(float(value) + 0.0 for value in samples.at[index]), row.back_end, family_of(row))
        added[key] = added.get(key, 0.0) + float(weight)
    points = tuple(Point(*key, rounded(weight)) for key, weight in sorted(added.items()))
    return Residual(fitted.settings.length, fitted.settings.noise, points)


def rounded(value: float) -> float:
    """Seven significant digits: beyond them processors differ in how they add up, and the file must not."""
    return float(f"{value:.7g}")


def _times(row: Row) -> dict[str, float]:
    assert row.file is not None
    assert row.machine is not None
    return ideal_times(row.phase, row.file, row.work, row.machine)


def _position(row: Row) -> tuple[float, ...]:
    assert row.file is not None
    assert row.machine is not None
    return position(row.phase, row.file, row.work, row.machine, row.build)


def family_of(row: Row) -> str:
    return row.machine.family if row.machine else ""


def _squared_distances(at: Array, names: Sequence[tuple[str, str]]) -> Array:
    """The features' squared distance, and 1 for another back end and 1 for another family of machines."""
    squared = np.asarray(((at[:, None, :] - at[None, :, :]) ** 2).sum(axis=2))
    for column in zip(*names, strict=True):
        values = np.array(column)
        squared += values[:, None] != values[None, :]
    return squared


def _prices(rows: Array, weights: Array) -> Array:
    """Iteratively reweighted non-negative least squares of `rows` (ideal / measured) onto 1."""
    largest = np.where(rows.max(axis=0) > 0, rows.max(axis=0), 1.0)
    model = LinearRegression(positive=True, fit_intercept=False)
    current = weights
    for _ in range(_ROUNDS):
        model.fit(rows / largest, np.ones(len(rows)), sample_weight=current)
        residuals = np.abs(rows / largest @ model.coef_ - 1)
        current = weights * np.minimum(1.0, HUBER / np.maximum(residuals, 1e-9))
    return np.asarray(model.coef_ / largest, dtype=np.float64)


def _borrowed(samples: Samples, chosen: Indices, prices: Array) -> Array:
    """`prices` with those of terms that none of the rows `chosen` has taken from the class most like theirs."""
    measured = {name for name, column in zip(samples.terms, samples.times[chosen].T, strict=True) if column.any()}
    found = dict(zip(samples.terms, prices, strict=True))
    for name, lender in lenders(samples.terms, measured).items():
        found[name] = found[lender]
    return np.array([found[name] for name in samples.terms])


def lenders(terms: Sequence[str], measured: set[str]) -> dict[str, str]:
    """Of each term that was not measured the one whose price it borrows: the same work on the class most like its own."""
    found = {}
    for name in terms:
        work, _, kind = name.partition(".")
        if name not in measured and kind:
            near = [f"{work}.{other}" for other in _ALIKE[kind] if f"{work}.{other}" in measured]
            found.update({name: near[0]} if near else {})
    return found


def _whole(entry: Mapping[str, float]) -> set[str]:
    """The names of `entry`, and of the same work on every weight class."""
    work = {name.partition(".")[0] for name in entry if "." in name}
    return {name for name in entry if "." not in name} | {f"{name}.{kind}" for name in work for kind in _ALIKE}


def _factors(samples: Samples, used: Indices, prices: Array, weights: Array) -> dict[str, float]:
    base = samples.times @ prices
    found = {}
    for back_end in sorted({samples.rows[i].back_end for i in used}):
        here = np.array([samples.rows[i].back_end == back_end for i in used])
        ratios = samples.seconds[used[here]] / base[used[here]]
        found[back_end] = weighted_quantile(ratios, weights[here], 0.5)
    return found


def weighted_quantile(values: Array, weights: Array, level: float) -> float:
    """The least value that, with all below it, has `level` of the weight."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    index = int(np.searchsorted(reached, level * reached[-1] - 1e-12))
    return float(values[order][min(index, len(values) - 1)])
