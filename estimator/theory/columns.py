"""Minimum and maximum of plain numbers and of columns of them (numpy's arrays), which Python's own cannot compare.

With these in place of `min` and `max` a formula counts for columns of workloads and of models as for one of them
(estimator/sweep), and the theory still imports nothing.
"""

from __future__ import annotations

from typing import TypeVar

Number = TypeVar("Number", int, float)
# Architectures that formulas ask for by name: their models share no column with others.
PECULIAR = ("cohere2", "falcon", "llama4", "phi3")


def smaller(one: Number, other: Number) -> Number:
    """min(one, other), of columns entry by entry; exact for whole numbers.

    >>> smaller(3, 5), smaller(5, 3)
    (3, 3)
    """
    return other + (one - other) * (one < other)


def larger(one: Number, *others: Number) -> Number:
    """max(one, others), of columns entry by entry; exact for whole numbers.

    >>> larger(3, 5), larger(5, 3), larger(1, 7, 2)
    (5, 5, 7)
    """
    for other in others:
        one = other + (one - other) * (one > other)
    return one
