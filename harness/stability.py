"""Whether values in the order in which they were measured belong together: dependence, and first half against second.

Pure; knows nothing of records.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache
from statistics import median

# Under so many values their dependence cannot be told from chance.
_FEWEST = 10
_MOST_LAGS = 100
# Halves that differ by less are said to agree; by more, where chance alone does it in so few cases (3 standard errors).
SHIFT_LIMIT, CHANCE = 0.05, 0.003
_CHANCE_SDS = 2.968
_EXACT_HALF = 50
# Standard error of a median of n normal values: this x sd / sqrt(n).
MEDIAN_ERROR = 1.2533


def effective_count(values: Sequence[float]) -> float:
    """How many independent values tell as much of the median: n / (1 + 2 sum rho_k), never more than n.

    rho_k is the autocorrelation of "above the median or not", on which the error of a median depends; the sum ends
    at the first lag within chance, 1/sqrt(n) (Geyer's initial positive sequence, Practical MCMC, 1992). Under 10
    values, and where half of them are equal to the median, n.
    """
    n = len(values)
    if n < _FEWEST:
        return float(n)
    middle = median(values)
    signs = [(value > middle) - (value < middle) for value in values]
    power = sum(sign * sign for sign in signs)
    if power < n / 2:
        return float(n)
    total = 0.0
    for lag in range(1, min(_MOST_LAGS, n // 3) + 1):
        rho = sum(a * b for a, b in zip(signs, signs[lag:], strict=False)) / power
        if rho <= 1 / math.sqrt(n):
            break
        total += rho
    return n / (1 + 2 * total)


def half_shift(values: Sequence[float]) -> float | None:
    """Median of the second half over that of the first, minus 1; None up to 5 %, and where chance explains it.

    Chance: the halves' rank sums (Mann and Whitney, exact, two-sided) differ so much in more than 0.3 % of orders,
    as they always do under 12 values. Values that are equal in both halves count for no difference.
    """
    half = len(values) // 2
    most = _most_inversions(half)
    if most is None:
        return None
    first, second = sorted(values[:half]), sorted(values[-half:])
    before = median(first)
    shift = median(second) / before - 1 if before else 0.0
    if abs(shift) <= SHIFT_LIMIT:
        return None
    below = sum(bisect_left(second, value) + bisect_right(second, value) for value in first) / 2
    return shift if min(below, half * half - below) <= most else None


@cache
def _most_inversions(half: int) -> int | None:
    """The most pairs, of all half x half, that are out of order by chance in at most 0.3 % of cases; None: no number.

    The orders with u such pairs are the coefficients of the Gaussian binomial: the product of (1 - x^(half + i)) /
    (1 - x^i), i = 1 to half; from 50 values a side on the normal distribution.
    """
    if half > _EXACT_HALF:
        return math.floor(half * half / 2 - _CHANCE_SDS * half * math.sqrt((2 * half + 1) / 12))
    size = half * half // 2 + 1
    ways = [1] + [0] * (size - 1)
    for i in range(1, half + 1):
        for at in range(size - 1, half + i - 1, -1):
            ways[at] -= ways[at - half - i]
        for at in range(i, size):
            ways[at] += ways[at - i]
    allowed, most = CHANCE * math.comb(2 * half, half) / 2, -1
    for count in ways:
        allowed -= count
        if allowed < 0:
            break
        most += 1
    return most if most >= 0 else None
