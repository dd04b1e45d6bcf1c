"""Ratios of times with their interval, from few values that may depend on each other. Pure numbers, no records.

Rank methods on logarithms: what they claim holds for any distribution, and one stalled request moves them little.
scipy is imported late: it takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Logs = NDArray[np.float64]

# Values a side that a 95 % interval needs: of 4 and 4 (6 pairs) the most extreme order comes by chance in 3 %.
LEAST_VALUES, LEAST_PAIRS = 4, 6
_EXACT_PRODUCT = 900
_EXACT_PAIRS = 50


@dataclass(frozen=True, slots=True)
class Ratio:
    """B over A: the estimate and the interval around it."""

    estimate: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval's width, as a logarithm."""
        return math.log(self.high / self.low) / 2


def unpaired(a: Logs, b: Logs, confidence: float, wider: float = 1.0) -> Ratio | None:
    """The median of all ratios of a value of B to one of A (Hodges and Lehmann), by the rank sum test.

    It is made `wider` by what dependence takes away (`Drift.widening`). None where there are too few values for
    `confidence`.
    """
    ranked = np.sort(np.subtract.outer(b, a), axis=None)
    rank = _last_rank(rank_sum_p, (len(a), len(b)), confidence)
    return _ratio(ranked, rank, wider)


def paired(differences: Logs, confidence: float, wider: float = 1.0) -> Ratio | None:
    """The same of paired logarithms' differences, from the signed rank test (Walsh averages)."""
    count = len(differences)
    upper = np.triu_indices(count)
    ranked = np.sort((differences[upper[0]] + differences[upper[1]]) / 2)
    return _ratio(ranked, _last_rank(signed_rank_p, (count,), confidence), wider)


def _ratio(ranked: Logs, rank: int | None, wider: float) -> Ratio | None:
    if rank is None:
        return None
    middle = float(np.median(ranked))
    low, high = ranked[rank], ranked[len(ranked) - 1 - rank]
    return Ratio(
        math.exp(middle), math.exp(middle - wider * (middle - low)), math.exp(middle + wider * (high - middle))
    )


@cache
def _last_rank(p_value: Callable[..., float], counts: tuple[int, ...], confidence: float) -> int | None:
    """The largest value of the test's statistic, from below, that comes by chance in at most 1 - confidence."""
    if min(counts) < 1 or p_value(0, *counts) > 1 - confidence:
        return None
    low, high = 0, (counts[0] * counts[1] if len(counts) == 2 else counts[0] * (counts[0] + 1) // 2) // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if p_value(middle, *counts) <= 1 - confidence else (low, middle)
    return low


def rank_sum_p(statistic: int, count_a: int, count_b: int) -> float:
    """The two-sided p-value of Mann and Whitney's test where `statistic` pairs have the first above the second."""
    from scipy.stats import mannwhitneyu

    # Values that give this statistic: some above all of the others, one among them, the rest below.
    above, rest = divmod(statistic, count_b)
    first = [count_b + 1.0 + i for i in range(above)] + [rest + 0.5] * (above < count_a)
    first += [-1.0 - i for i in range(count_a - len(first))]
    method = "exact" if count_a * count_b <= _EXACT_PRODUCT else "asymptotic"
    return float(mannwhitneyu(first, np.arange(1.0, count_b + 1), method=method).pvalue)


def signed_rank_p(statistic: int, count: int) -> float:
    """The two-sided p-value of Wilcoxon's test where positive ranks of `count` differences sum to `statistic`."""
    from scipy.stats import wilcoxon

    ranks = np.arange(1.0, count + 1)
    signs, left = np.full(count, -1.0), statistic
    for at in range(count - 1, -1, -1):
        if ranks[at] <= left:
            signs[at], left = 1.0, left - round(ranks[at])
    return float(wilcoxon(signs * ranks, method="exact" if count <= _EXACT_PAIRS else "asymptotic").pvalue)
