"""Whether values in the order in which they were measured belong together: dependence, and first half against second.

Pure; knows nothing of records.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median, quantiles

# Under so many values their dependence cannot be told from chance.
_FEWEST = 10
_MOST_LAGS = 100
_IQR_SDS = 1.349
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
    """Median of the second half over that of the first, minus 1; None where chance explains it, or under 8 values.

    Chance: within 3 standard errors, from the quartiles of each half.
    """
    half = len(values) // 2
    if half < 4:
        return None
    first, second = values[:half], values[-half:]
    shift = median(second) - median(first)
    error = MEDIAN_ERROR * math.hypot(_sd(first), _sd(second)) / math.sqrt(half)
    return shift / median(first) if abs(shift) > 3 * error else None


def _sd(values: Sequence[float]) -> float:
    low, _, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / _IQR_SDS
