"""The reference fit: non-negative physics, then a smooth residual that fades where nothing was measured.

Of one group of back ends and one phase:

1. prices: non-negative least squares of measured times onto ideal times, on relative residuals with Huber weights,
   over the rows of the group's leading back end;
2. a factor for each back end: the weighted median of measured / (1);
3. the residual: kernel ridge regression of log(measured / (2)) with a Gaussian kernel, which is the mean of a Gaussian
   process of mean 0: near measurements it follows them, far from all of them physics is the answer.

A row counts 1 / sqrt(rows of its machine): a machine that was measured 100 times says more than one that was measured
twice, but not fifty times more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from calibration.published.rows import Row
from estimator.reference.amounts import FEATURES, ideal_times, position
from estimator.reference.file import Point, Residual
from estimator.reference.machine import GROUPS

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

LEADING = {"discrete": "CUDA", "Metal": "Metal", "CPU": "CPU"}
# How far two questions must lie apart to differ by one unit of distance; the kernel's length is in these units.
SCALES = {
    "log_flop_per_token": 0.7, "log_tokens": 0.5, "flash_attention": 0.3, "single_run": 0.5, "no_matrix_units": 0.7,
    "share_16bit": 0.7, "share_8bit": 0.7, "share_k": 0.7, "share_plain": 0.7,
}  # fmt: skip
LENGTH = 2.0
# Another back end or another family of machines: so far apart.
APART = 1.0
# Variance of a row beside that of the residual; None: physics alone. Metal's physics leaves little to explain.
NOISE: dict[str, float | None] = {"discrete": 0.03, "Metal": 0.3, "CPU": None}
# Of each weight class the others, the most alike first.
_ALIKE = {
    "16bit": ("8bit", "plain", "k"), "8bit": ("plain", "k", "16bit"),
    "k": ("plain", "8bit", "16bit"), "plain": ("k", "8bit", "16bit"),
}  # fmt: skip
HUBER = 0.2
_ROUNDS = 10
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Samples:
    """The rows of one group and phase as arrays, a line each; `kernel` is that of all pairs of rows."""

    group: str
    phase: str
    rows: tuple[Row, ...]
    terms: tuple[str, ...]
    times: Array
    seconds: Array
    at: Array
    scaled: Array
    kernel: Array


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit to some of the rows (`used`) found; `alpha` are the residual's weights of these."""

    prices: Array
    factors: dict[str, float]
    used: Indices
    alpha: Array | None

    def seconds(self, samples: Samples, asked: Indices) -> Array:
        """Predicted seconds of the rows `asked`."""
        base = physics(samples, self.prices, self.factors)[asked]
        if self.alpha is None:
            return base
        return np.asarray(base * np.exp(samples.kernel[np.ix_(asked, self.used)] @ self.alpha))

    def distance(self, samples: Samples, asked: Indices) -> Array:
        """1 - the likeness of the nearest row that was used: 0 (measured there) to 1 (far from all)."""
        if self.alpha is None:
            return np.zeros(len(asked))
        return np.asarray(1.0 - samples.kernel[np.ix_(asked, self.used)].max(axis=1))


def samples_of(group: str, phase: str, rows: Sequence[Row]) -> Samples:
    """The rows of `group` and `phase` as arrays."""
    chosen = tuple(row for row in rows if row.phase == phase and GROUPS.get(row.back_end) == group)  # type: ignore[call-overload]
    times = [_times(row) for row in chosen]
    terms = tuple(sorted({name for entry in times for name in _whole(entry)}))
    scales = np.array([SCALES.get(name, 1.0) for name in FEATURES])
    at = np.array([_position(row) for row in chosen])
    scaled = np.round(at * scales, _DIGITS)
    return Samples(
        group=group,
        phase=phase,
        rows=chosen,
        terms=terms,
        times=np.array([[entry.get(name, 0.0) for name in terms] for entry in times]),
        seconds=np.array([row.seconds for row in chosen]),
        at=at,
        scaled=scaled,
        kernel=_kernel(scaled, [(row.back_end, _family(row)) for row in chosen]),
    )


def fit_samples(samples: Samples, used: Indices) -> Fitted:
    """The fit to the rows `used`."""
    weights = row_weights([samples.rows[i] for i in used])
    lead = np.array([samples.rows[i].back_end == LEADING[samples.group] for i in used])
    chosen = used[lead]
    prices = _borrowed(samples, chosen, _prices(samples.times[chosen] / samples.seconds[chosen, None], weights[lead]))
    factors = _factors(samples, used, prices, weights)
    noise = NOISE[samples.group]
    alpha = None
    if noise is not None:
        logs = np.log(samples.seconds[used] / physics(samples, prices, factors)[used])
        alpha = np.linalg.solve(samples.kernel[np.ix_(used, used)] + np.diag(noise / weights), logs)
    return Fitted(prices, factors, used, alpha)


def physics(samples: Samples, prices: Array, factors: Mapping[str, float]) -> Array:
    """factor x Σ price x ideal time of every row."""
    factor = np.array([factors.get(row.back_end, 1.0) for row in samples.rows])
    return np.asarray(factor * (samples.times @ prices))


def row_weights(rows: Sequence[Row]) -> Array:
    """1 / sqrt(rows of the same machine) of each row."""
    counts = Counter(row.machine_name for row in rows)
    return np.array([counts[row.machine_name] ** -0.5 for row in rows])


def residual_file(samples: Samples, fitted: Fitted) -> Residual | None:
    """The residual as the file has it: rows at the same place are one point, their weights added up."""
    if fitted.alpha is None:
        return None
    added: dict[tuple[tuple[float, ...], str, str], float] = {}
    for index, weight in zip(fitted.used, fitted.alpha, strict=True):
        row = samples.rows[index]
        key = (tuple(float(value) + 0.0 for value in samples.scaled[index]), row.back_end, _family(row))
        added[key] = added.get(key, 0.0) + float(weight)
    points = tuple(Point(*key, rounded(weight)) for key, weight in sorted(added.items()))
    return Residual(LENGTH, APART, tuple(SCALES.get(name, 1.0) for name in FEATURES), points)


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


def _family(row: Row) -> str:
    return row.machine.family if row.machine else ""


def _kernel(scaled: Array, names: Sequence[tuple[str, str]]) -> Array:
    squared = ((scaled[:, None, :] - scaled[None, :, :]) ** 2).sum(axis=2)
    for column in zip(*names, strict=True):
        values = np.array(column)
        squared += (values[:, None] != values[None, :]) * APART**2
    return np.asarray(np.exp(-squared / (2 * LENGTH**2)))


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
