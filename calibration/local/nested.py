"""Intervals for models left out, from the other models alone: each of those is left out once more inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.local.leaving import PHASES, Fit, Held, left_out, model_of, of_phase
from calibration.observations import MemoryObservation, Observation
from calibration.uncertainty import another_run_sd, run_to_run
from calibration.validate import Residual, interval, memory_residuals, shape_of
from estimator.coefficients import MemoryCoefficients

Interval = tuple[float, float]
# An interval takes five models, and one more is left out.
LEAST_MODELS = 6


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of cells in their 90 % interval, the same with each model's share counted once, and the median half width
    above the prediction, relative; of how many cells and models."""

    cells_share: float
    models_share: float
    reach: float
    cells: int
    models: int


def residuals_of(held: Sequence[Held]) -> list[Residual]:
    """The predictions there are, as `calibration.validate` has them."""
    return [
        Residual(one.group, one.observation.label, one.predicted_s, one.observation.seconds)
        for one in held
        if one.predicted_s is not None
    ]


def speed_intervals(
    observations: Sequence[Observation], fit: Fit, another_run: bool = True
) -> dict[tuple[str, str], Interval]:
    """The relative interval of each model and phase from the other models; none where those are under five.

    Widened by what another run differs by, as `calibration fit` does, or with `another_run` False for these runs.
    """
    found: dict[tuple[str, str], Interval] = {}
    for group in sorted({model_of(o) for o in observations}):
        others = [o for o in observations if model_of(o) != group]
        inner, runs = left_out(others, model_of, fit), run_to_run(others)
        for phase in PHASES:
            besides = another_run_sd(runs[phase]) if another_run else 0.0
            told = interval(residuals_of(of_phase(inner, phase)), besides)
            if told is not None:
                found[group, phase] = told
    return found


def memory_intervals(
    observations: Sequence[MemoryObservation], prior: MemoryCoefficients | None
) -> dict[tuple[str, str], Interval]:
    """The same of each model and part of memory."""
    found: dict[tuple[str, str], Interval] = {}
    for group in sorted({shape_of(o.file) for o in observations}):
        inner = memory_residuals([o for o in observations if shape_of(o.file) != group], prior)
        for part, residuals in inner.items():
            told = interval(residuals)
            if told is not None:
                found[group, part] = told
    return found


def coverage(
    residuals: Sequence[Residual], intervals: Mapping[tuple[str, str], Interval], what: str
) -> Coverage | None:
    """How often intervals of `what` (a phase, a part of memory) held; None where no model has one."""
    cells: dict[str, list[bool]] = {}
    reaches = []
    for residual in residuals:
        told = intervals.get((residual.group, what))
        if told is not None:
            ratio = residual.measured / residual.predicted - 1
            cells.setdefault(residual.group, []).append(told[0] <= ratio <= told[1])
            reaches.append(told[1])
    if not cells:
        return None
    pooled = [inside for found in cells.values() for inside in found]
    by_model = [float(np.mean(found)) for found in cells.values()]
    return Coverage(
        float(np.mean(pooled)), float(np.mean(by_model)), float(np.median(reaches)), len(pooled), len(cells)
    )
