"""Fewer points than were measured, chosen by rules that the page can state."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = 1500
CURVE_POINTS = 800
DOTS = 160


def step(count: int, most: int) -> int:
    """Every how many-th of `count` things must be taken, so that no more than `most` are."""
    return max(1, math.ceil(count / most))


def even_ranks(values: Sequence[float], most: int) -> list[float]:
    """The values sorted; of more than `most` those at even distances in rank, lowest and highest included."""
    ranked = sorted(values)
    if len(ranked) <= most:
        return ranked
    return [ranked[round(at * (len(ranked) - 1) / (most - 1))] for at in range(most)]
