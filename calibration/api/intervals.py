"""How well a quantile is known: an interval from ranks, and how much wider it is away from the middle of the sizes."""

from __future__ import annotations

from collections.abc import Sequence

from harness.stability import effective_count

LEVEL = 0.9


def interval(ratios: Sequence[float], quantile: float, late: int = 0) -> tuple[float, float] | None:
    """The 90 % interval of a quantile of `ratios`, which are in time order; `late` more were slower than all.

    Distribution-free: the ranks l and u with P(B < l) and P(B >= u) at most 5 % each, B binomial (n, quantile)
    (Conover, Practical Nonparametric Statistics, 1999, 3.2). n is the number of independent values that tell as much
    as these, which depend on their neighbours in time. None where a rank is beyond the values: p90 takes 29, p99 299.
    """
    import numpy as np
    from scipy.special import betainc

    whole = len(ratios) + late
    count = max(1, round(effective_count(ratios) * whole / len(ratios)))
    # P(B <= k), by the incomplete beta function; 1 at k = count.
    at_most = np.arange(count, dtype=float)
    below = np.append(betainc(count - at_most, at_most + 1, 1 - quantile), 1.0)
    tail = (1 - LEVEL) / 2
    low_rank = int(np.searchsorted(below, tail, side="right"))
    high_rank = int(np.searchsorted(below, 1 - tail, side="left")) + 1
    low_place = low_rank * whole // count - 1
    high_place = -(-high_rank * whole // count) - 1
    if low_rank < 1 or high_rank > count or high_place >= len(ratios):
        return None
    ranked = sorted(ratios)
    return ranked[max(0, low_place)], ranked[high_place]


def leverage(sizes: Sequence[int], constant_s: float, slope_s: float) -> tuple[float, float, float] | None:
    """(a, b, c) of the variance of the line constant + slope x p over that at its surest size.

    (a + 2 b p + c p^2) / (constant + slope x p)^2, from the inverse of the mean of z z', z = (1, p) / the line at p:
    the ordinary leverage of a line fitted to relative errors. None where one size leaves it unknown.
    """
    rows = [(1 / line, size / line) for size in sizes if (line := constant_s + slope_s * size) > 0]
    one, cross, square = (sum(u * v for u, v in pairs) / len(rows) for pairs in _products(rows))
    determinant = one * square - cross * cross
    if determinant <= 1e-12 * one * square:
        return None
    return square / determinant, -cross / determinant, one / determinant


def _products(rows: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], ...]:
    first, second = [u for u, _ in rows], [v for _, v in rows]
    pairs = ((first, first), (first, second), (second, second))
    return tuple(list(zip(left, right, strict=True)) for left, right in pairs)
