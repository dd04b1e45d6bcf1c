"""Conformal intervals, grouped: scores of machines that were left out whole, each machine x model counting the same.

That is what MAPIE's cross-conformal regressor does with groups; it wants a scikit-learn estimator, which physics plus
residual is not, gives every row the same weight and knows no width that grows with distance.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from calibration.published.fitting import Array, Indices, Samples, weighted_quantile
from calibration.published.rows import Row

LEVEL = 0.9
# Under nine machines the 90 % rank lies beyond the worst of them.
LEAST_MACHINES = 9


def cell_of(row: Row) -> str:
    """Machine and model: rows that differ in prompt, type or build alone err alike."""
    return f"{row.machine_name} / {row.model_name}"


def scores(samples: Samples, seconds: Array, distance: Array) -> Array:
    """|log(measured / predicted)| / (1 + distance) of each row; NaN where it was not held out."""
    return np.asarray(np.abs(np.log(samples.seconds / seconds)) / (1.0 + distance))


def reach_of(samples: Samples, found: Array, back_end: str, among: Indices) -> float | None:
    """The conformal 90 % quantile of the scores `found` of `back_end`: each machine x model weighs 1.

    One more that is worse than all is counted in, as for every conformal interval. None under nine machines.
    """
    here = np.array([i for i in among if samples.back_ends[i] == back_end], dtype=np.int64)
    machines = {samples.rows[i].machine_name for i in here}
    if len(machines) < LEAST_MACHINES:
        return None
    cells = [cell_of(samples.rows[i]) for i in here]
    rows_of = Counter(cells)
    weights = np.array([1.0 / rows_of[cell] for cell in cells])
    return weighted_quantile(found[here], weights, min(1.0, LEVEL * (1 + 1 / len(rows_of))))


def reaches(samples: Samples, found: Array, among: Indices) -> Array:
    """`reach_of` the back end of each row; NaN where there is none."""
    reach = {str(name): reach_of(samples, found, str(name), among) for name in sorted(set(samples.back_ends))}
    return np.array([np.nan if reach[str(name)] is None else reach[str(name)] for name in samples.back_ends])


def cell_coverage(samples: Samples, covered: Array, among: Indices) -> float:
    """The mean over machine x model of the share of rows that an interval held."""
    cells: dict[str, list[float]] = {}
    for index in among:
        cells.setdefault(cell_of(samples.rows[index]), []).append(float(covered[index]))
    return float(np.mean([np.mean(values) for values in cells.values()]))
