"""How much of the noise of a run is drift that neighbours in time share, and what that takes from an interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_KEEPS = np.array([0.3, 0.5, 0.7, 0.8, 0.87, 0.92, 0.95, 0.97, 0.985])
_SHARES = np.linspace(0.0, 0.96, 25)
# Before anything is seen: shares of s are as likely as (1 - s)^2, a quarter of the variance at the mean.
_FAITH = 2
# Lags that are looked at, in rounds over all cells.
_ROUNDS = 3
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Drift:
    """How likely each drift is: rows are how much of itself it keeps from visit to visit, columns its share of the
    variance (`_KEEPS`, `_SHARES`). None: nothing was seen, independent values."""

    likely: Values | None = None

    @property
    def share(self) -> float:
        """The expected share of the variance that is drift."""
        return 0.0 if self.likely is None else float(self.likely.sum(axis=0) @ _SHARES)

    def widening(self, places: Sequence[int], confidence: float) -> float:
        """How much wider the interval at `confidence` of values at these places must be than that of independent ones.

        Their mean varies more, their spread shows less than there is, and it is known only as well as by so many
        independent ones as would give that mean (Student's t of two such sides). Root mean square over the drifts.
        """
        from scipy.stats import t

        count = len(places)
        if count < 2 or self.likely is None:
            return 1.0
        apart = np.abs(np.subtract.outer(places, places))
        drifting = np.array([np.sum(keep**apart) for keep in _KEEPS])[:, None]
        of_sum = _SHARES * drifting + (1 - _SHARES) * count
        spread = np.maximum((count - of_sum / count) / (count - 1), 1e-3)
        worth = np.maximum(2.0, count**2 / of_sum)
        beyond = (1 - confidence) / 2
        known = np.maximum(1.0, t.isf(beyond, 2 * (worth - 1)) / t.isf(beyond, 2 * (count - 1)))
        return math.sqrt(float(np.sum(self.likely * known**2 * of_sum / count / spread)))


def drift(sequences: Sequence[Sequence[tuple[int, float]]]) -> Drift:
    """How likely each drift is behind sequences of (cell, logarithm) in order of time.

    Each cell is centred and scaled; neighbours of other cells have noise of their own, so what they share is drift.
    The products of neighbours up to three rounds apart are compared with those expected of each drift, centred
    likewise (which by itself makes neighbours in short series look opposed). Their error is taken for 1 / sqrt(values).
    """
    prepared = [line for sequence in sequences if (line := _centred(sequence[:_LONGEST])) is not None]
    if not prepared:
        return Drift()
    lags = max(1, min(_ROUNDS * max(len(set(labels)) for labels, _ in prepared), max(len(v) for _, v in prepared) - 2))
    seen = np.sum([_lagged(np.outer(values, values), lags) for _, values in prepared], axis=0)
    alone = np.sum([_expected(labels, None, lags) for labels, _ in prepared], axis=0)
    shared = [np.sum([_expected(labels, float(keep), lags) for labels, _ in prepared], axis=0) for keep in _KEEPS]
    expected = (1 - _SHARES[:, None]) * alone + _SHARES[:, None] * np.array(shared)[:, None, :]
    off = np.sum((seen[1:] / seen[0] - expected[:, :, 1:] / expected[:, :, :1]) ** 2, axis=2)
    count = sum(len(values) for _, values in prepared)
    likely = np.exp(-count * (off - off.min()) / 2) * (1 - _SHARES) ** _FAITH
    return Drift(likely / likely.sum())


def _centred(sequence: Sequence[tuple[int, float]]) -> tuple[list[int], Values] | None:
    """Labels and values of the cells with three values and more, each of mean 0 and variance 1."""
    groups: dict[int, list[float]] = {}
    for label, value in sequence:
        groups.setdefault(label, []).append(value)
    scale = {
        label: (float(np.mean(v)), float(np.std(v))) for label, v in groups.items() if len(v) > 2 and np.std(v) > 0
    }
    kept = [(label, (value - scale[label][0]) / scale[label][1]) for label, value in sequence if label in scale]
    return ([label for label, _ in kept], np.array([value for _, value in kept])) if kept else None


def _expected(labels: list[int], keep: float | None, lags: int) -> Values:
    """The expected products at each lag of values with such labels, centred by label; without drift where None."""
    named = np.array(labels)
    same = (named[:, None] == named[None, :]).astype(np.float64)
    centre = np.eye(len(named)) - same / same.sum(axis=0)
    apart = np.abs(np.subtract.outer(np.arange(len(named)), np.arange(len(named))))
    covariance = np.eye(len(named)) if keep is None else keep**apart
    return _lagged(centre @ covariance @ centre, lags)


def _lagged(products: Values, lags: int) -> Values:
    return np.array([np.trace(products, offset=lag) for lag in range(lags + 1)])
