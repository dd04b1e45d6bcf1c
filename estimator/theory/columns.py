"""Minimum and maximum of plain numbers and of columns of them (numpy's arrays), which Python's own cannot compare.

With these in place of `min` and `max` a formula counts for a column of workloads as for one (estimator/sweep/grid.py),
and the theory still imports nothing.
"""

from __future__ import annotations

from typing import TypeVar

Number = TypeVar("Number", int, float)


def smaller(one: Number, other: Number) -> Number:
    """min(one, other), of columns entry by entry; exact for whole numbers.

    >>> smaller(3, 5), smaller(5, 3)
    (3, 3)
    """
    return other + (one - other) * (one < other)


def larger(one: Number, other: Number) -> Number:
    """max(one, other), of columns entry by entry; exact for whole numbers.

    >>> larger(3, 5), larger(5, 3)
    (5, 5)
    """
    return other + (one - other) * (one > other)
