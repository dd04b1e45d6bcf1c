"""Whether errors have something in common: pure numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Of the same cause where they are this share as far off, at the median.
_ALIKE = 0.5


def same_side(logs: NDArray[np.float64], own: float) -> bool:
    """Whether all `logs` of measured / predicted err to the side of `own`, at the median by half as much at least."""
    return bool(np.all(np.sign(logs) == np.sign(own))) and bool(abs(np.median(logs)) > _ALIKE * abs(own))
