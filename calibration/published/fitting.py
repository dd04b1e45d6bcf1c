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

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from calibration.published.rows import Row
from estimator.reference.amounts import CLASSES, ideal_times, position
from estimator.reference.file import Point, Residual
from estimator.reference.machine import GROUPS

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

LEADING = {"discrete": "CUDA", "Metal": "Metal", "CPU": "CPU"}
# Prices that are alike unless measured to differ: of one kind of work on any class of weights; of work like another's.
KINDS = ("weights", "unpack", "matmul")
AKIN = {"cache": "weights", "attention": "matmul"}
STRENGTH = 0.3
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
    back_ends: NDArray[np.str_]
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
        factor = np.array([self.factors.get(back_end, 1.0) for back_end in samples.back_ends])
        return np.asarray(factor * (samples.times @ self.prices))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Physics, and for each back end the settings of its residual with weights `alpha` of the rows that were used."""

    physics: Physics
    residuals: dict[str, tuple[Settings, Array]]

    def seconds(self, samples: Samples, asked: Indices) -> Array:
        """Predicted seconds of the rows `asked`."""
        found = self.physics.seconds(samples)[asked]
        for settings, alpha, here in self._by_back_end(samples, asked):
            found[here] *= np.exp(self._likeness(samples, settings, asked[here]) @ alpha)
        return found

    def distance(self, samples: Samples, asked: Indices) -> Array:
        """1 - the likeness of the nearest row that was used: 0 (measured there) to 1 (far from all)."""
        found = np.zeros(len(asked))
        for settings, _, here in self._by_back_end(samples, asked):
            found[here] = 1.0 - self._likeness(samples, settings, asked[here]).max(axis=1)
        return found

    def _by_back_end(self, samples: Samples, asked: Indices) -> Iterator[tuple[Settings, Array, Indices]]:
        """Settings, weights, and which of `asked` they are for; a back end that was not used has the leading one's."""
        for back_end in sorted(set(samples.back_ends[asked])):
            settings, alpha = self.residuals.get(back_end) or self.residuals[LEADING[samples.group]]
            if settings.length is not None:
                yield settings, alpha, np.flatnonzero(samples.back_ends[asked] == back_end)

    def _likeness(self, samples: Samples, settings: Settings, asked: Indices) -> Array:
        return samples.kernels[settings.length or 0.0][np.ix_(asked, self.physics.used)]


def samples_of(group: str, phase: str, rows: Sequence[Row], lengths: Sequence[float]) -> Samples:
    """The rows of `group` and `phase` as arrays, with kernels of each of `lengths`."""
    chosen = tuple(row for row in rows if row.phase == phase and GROUPS.get(row.back_end) == group)  # type: ignore[call-overload]
    times = [_times(row) for row in chosen]
    terms = tuple(sorted({name for entry in times for name in _whole(entry)}))
    at = np.round(np.array([_position(row) for row in chosen]), _DIGITS)
    return Samples(
        group=group,
        phase=phase,
        rows=chosen,
        terms=terms,
        back_ends=np.array([row.back_end for row in chosen]),
        times=np.array([[entry.get(name, 0.0) for name in terms] for entry in times]),
        seconds=np.array([row.seconds for row in chosen]),
        at=at,
        kernels=kernels_of(at, chosen, lengths),
    )


def fit_physics(samples: Samples, used: Indices, dropped: frozenset[str] = frozenset()) -> Physics:
    """Prices and factors by the rows `used`; terms of the families `dropped` cost nothing (for ablations)."""
    weights = row_weights([samples.rows[i] for i in used])
    lead = samples.back_ends[used] == LEADING[samples.group]
    chosen = used[lead]
    kept = np.array([float(name.partition(".")[0] not in dropped) for name in samples.terms])
    prices = _prices(samples, chosen, weights[lead], kept)
    return Physics(prices, _factors(samples, used, prices, weights), used)


def fit_residual(samples: Samples, physics: Physics, chosen: Mapping[str, Settings]) -> Fitted:
    """What physics leaves, smoothed for each back end with the settings `chosen` for it."""
    used = physics.used
    weights = row_weights([samples.rows[i] for i in used])
    logs = np.log(samples.seconds[used] / physics.seconds(samples)[used])
    alphas: dict[Settings, Array] = {}
    for settings in chosen.values():
        if settings not in alphas:
            alphas[settings] = _alpha(samples, used, settings, weights, logs)
    return Fitted(physics, {back_end: (settings, alphas[settings]) for back_end, settings in chosen.items()})


def _alpha(samples: Samples, used: Indices, settings: Settings, weights: Array, logs: Array) -> Array:
    if settings.length is None:
        return np.zeros(len(used))
    near = samples.kernels[settings.length][np.ix_(used, used)]
    return np.asarray(np.linalg.solve(near + np.diag(settings.noise / weights), logs), dtype=np.float64)


def row_weights(rows: Sequence[Row]) -> Array:
    """1 / sqrt(rows of the same machine) of each row."""
    counts = Counter(row.machine_name for row in rows)
    return np.array([counts[row.machine_name] ** -0.5 for row in rows])


def residual_file(samples: Samples, fitted: Fitted) -> tuple[tuple[Point, ...], dict[str, Residual]]:
    """The residual as the file has it: rows at the same place are one point, their weights added up."""
    places = [_place(samples, index) for index in fitted.physics.used]
    points = tuple(sorted(set(places), key=lambda point: (point.at, point.back_end, point.family)))
    residuals = {}
    for back_end, (settings, alpha) in fitted.residuals.items():
        if settings.length is not None:
            weights = dict.fromkeys(points, 0.0)
            for place, weight in zip(places, alpha, strict=True):
                weights[place] += float(weight)
            found = tuple(rounded(weight) for weight in weights.values())
            residuals[back_end] = Residual(settings.length, settings.noise, found)
    return (points if residuals else ()), residuals


def _place(samples: Samples, index: int) -> Point:
    machine = samples.rows[index].machine
    assert machine is not None
    at = tuple(float(value) + 0.0 for value in samples.at[index])
    return Point(at, machine.back_end, machine.family, machine.maker)


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
    """The architecture of its machine."""
    return row.machine.family if row.machine else ""


def kernels_of(at: Array, rows: Sequence[Row], lengths: Sequence[float]) -> dict[float, Array]:
    """Likeness of all pairs of rows by length: exp(-d² / (2 length²)).

    d²: the features' squared distance, and 1 each for another back end, another family of machines, another maker.
    """
    squared = np.asarray(((at[:, None, :] - at[None, :, :]) ** 2).sum(axis=2))
    makers = [row.machine.maker if row.machine else "" for row in rows]
    for column in ([row.back_end for row in rows], [family_of(row) for row in rows], makers):
        values = np.array(column)
        squared += values[:, None] != values[None, :]
    return {length: np.exp(-squared / (2 * length**2)) for length in lengths}


def _prices(samples: Samples, chosen: Indices, weights: Array, kept: Array) -> Array:
    """Iteratively reweighted non-negative least squares of ideal / measured onto 1, with likeness of prices as rows."""
    rows = samples.times[chosen] * kept / samples.seconds[chosen, None]
    likeness = _likeness_rows(samples.terms, rows)
    targets = np.concatenate([np.ones(len(rows)), np.zeros(len(likeness))])
    both = np.concatenate([rows, likeness])
    largest = np.where(both.max(axis=0) > 0, both.max(axis=0), 1.0)
    prices, current = np.zeros(len(largest)), weights
    for _ in range(_ROUNDS):
        scale = np.sqrt(np.concatenate([current, np.ones(len(likeness))]))
        prices, _ = nnls(both / largest * scale[:, None], targets * scale)
        residuals = np.abs(rows / largest @ prices - 1)
        current = weights * np.minimum(1.0, HUBER / np.maximum(residuals, 1e-9))
    return np.asarray(prices / largest * kept, dtype=np.float64)


def _likeness_rows(terms: Sequence[str], rows: Array) -> Array:
    """Pseudo-measurements that prices are equal: for each two terms of a kind, STRENGTH x share x (p - q) = 0.

    `share` is the usual part of that kind of work in the time (of AKIN: of the first), and all pairs of a kind weigh
    as one: next to nothing where prices were measured well, all where they were not.
    """
    usual = np.median(rows, axis=0) if len(rows) else np.zeros(len(terms))
    names = [name.partition(".")[0] for name in terms]
    groups: list[tuple[float, list[tuple[int, int]]]] = []
    for kind in KINDS:
        members = [index for index, name in enumerate(names) if name == kind]
        share = float(np.median(rows[:, members].sum(axis=1))) if members else 0.0
        groups.append((share, list(combinations(members, 2))))
    for kind, akin in AKIN.items():
        pairs = [(i, j) for i, name in enumerate(names) for j, near in enumerate(names) if (name, near) == (kind, akin)]
        groups.append((float(usual[names.index(kind)]) if pairs else 0.0, pairs))
    scaled = [(pair, STRENGTH * share / math.sqrt(len(pairs))) for share, pairs in groups for pair in pairs]
    found = np.zeros((len(scaled), len(terms)))
    for number, ((one, other), scale) in enumerate(scaled):
        found[number, one], found[number, other] = scale, -scale
    return found


def _whole(entry: Mapping[str, float]) -> set[str]:
    """The names of `entry`, and of the same work on every weight class."""
    work = {name.partition(".")[0] for name in entry if "." in name}
    return {name for name in entry if "." not in name} | {f"{name}.{kind}" for name in work for kind in CLASSES}


def _factors(samples: Samples, used: Indices, prices: Array, weights: Array) -> dict[str, float]:
    base = samples.times @ prices
    found = {}
    for back_end in sorted({str(name) for name in samples.back_ends[used]}):
        here = samples.back_ends[used] == back_end
        ratios = samples.seconds[used[here]] / base[used[here]]
        found[back_end] = weighted_quantile(ratios, weights[here], 0.5)
    return found


def weighted_quantile(values: Array, weights: Array, level: float) -> float:
    """The least value that, with all below it, has `level` of the weight."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    index = int(np.searchsorted(reached, level * reached[-1] - 1e-12))
    return float(values[order][min(index, len(values) - 1)])
