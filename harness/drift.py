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
# Before anything is seen: shares of s are as likely as (1 - s)^3, a fifth of the variance at the mean.
_FAITH = 3


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

    Each cell is scaled to normal scores, so that a stall is the largest value and no more. Neighbours of other cells
    have noise of their own, so what they share is drift: the likelihood of Gaussian values with covariance
    share x keep^|places apart| + (1 - share) x [same place], whose means (by cell) and variance (by sequence) are
    unknown and integrated out (restricted likelihood, REML; Patterson and Thompson, 1971).
    """
    prepared = [line for sequence in sequences if (line := _scored(sequence)) is not None]
    if not prepared:
        return Drift()
    told = np.sum([_log_likelihood(*line) for line in prepared], axis=0)
    likely = np.exp(told - told.max()) * (1 - _SHARES) ** _FAITH
    return Drift(likely / likely.sum())


def _scored(sequence: Sequence[tuple[int, float]]) -> tuple[list[int], Values] | None:
    """Places and values of the cells with three values and more that differ; a value is its normal score in its cell.

    values: a row a place, 1 in the column of its cell, and the score in the last.
    """
    from scipy.stats import norm, rankdata

    groups: dict[int, list[int]] = {}
    for place, (label, _) in enumerate(sequence):
        groups.setdefault(label, []).append(place)
    kept = [own for own in groups.values() if len(own) > 2 and len({sequence[place][1] for place in own}) > 1]
    if not kept:
        return None
    values = np.zeros((len(sequence), len(kept) + 1))
    for column, own in enumerate(kept):
        values[own, column] = 1.0
        ranks = rankdata([sequence[place][1] for place in own])
        values[own, -1] = norm.ppf((ranks - 0.375) / (len(own) + 0.25))
    places = sorted(place for own in kept for place in own)
    return places, values[places]


def _log_likelihood(places: list[int], values: Values) -> Values:
    """The restricted log-likelihood of each drift, up to a constant, by a Kalman filter over the places.

    One filter serves the scores and the columns of the cells, whose means are taken out of its innovations (GLS).
    """
    keeps, shares = np.meshgrid(_KEEPS, _SHARES, indexing="ij")
    expected = np.zeros((*shares.shape, values.shape[1]))
    variance, log_of_variances = shares.copy(), np.zeros_like(shares)
    products = np.zeros((*shares.shape, values.shape[1], values.shape[1]))
    for place, before, row in zip(places, [places[0], *places], values, strict=False):
        kept = keeps ** (place - before)
        expected *= kept[..., None]
        variance = kept**2 * variance + (1 - kept**2) * shares
        whole = variance + 1 - shares
        off = row - expected
        products += off[..., :, None] * off[..., None, :] / whole[..., None, None]
        log_of_variances += np.log(whole)
        gain = variance / whole
        expected += gain[..., None] * off
        variance *= 1 - gain
    cells, scores = products[..., :-1, :-1], products[..., :-1, -1:]
    squares = products[..., -1, -1] - (scores.swapaxes(-1, -2) @ np.linalg.solve(cells, scores))[..., 0, 0]
    free = len(places) - cells.shape[-1]
    found: Values = -0.5 * (log_of_variances + np.linalg.slogdet(cells)[1] + free * np.log(squares))
    return found
