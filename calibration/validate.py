"""Held-out error: every model left out whole and predicted from the others, or, with one model, every cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from calibration.dataset import MemoryObservation, Observation, PhaseName
from calibration.fitters import anonymous_buffers, fit_memory, fit_speed
from estimator.coefficients import HeldOut
from estimator.specs import ModelFile

LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class Residual:
    """A prediction of something that the fit had not seen: predicted and measured in one unit, and the group."""

    group: str
    label: str
    predicted: float
    measured: float

    @property
    def relative(self) -> float:
        """(predicted - measured) / measured."""
        return self.predicted / self.measured - 1


def speed_residuals(
    observations: Sequence[Observation], prior: Mapping[str, float] | None
) -> dict[PhaseName, list[Residual]]:
    """Leave one model out (all its weight types); with a single model, leave one cell out (both its phases)."""
    group_of = _grouping(observations)
    found: dict[PhaseName, list[Residual]] = {"prefill": [], "decode": []}
    for group in sorted({group_of(o) for o in observations}):
        rest = [o for o in observations if group_of(o) != group]
        if not rest:
            continue
        fit = fit_speed(rest, prior)
        for o in observations:
            if group_of(o) == group and (predicted := fit.seconds(o.terms)) is not None:
                found[o.phase].append(Residual(group, o.label, predicted, o.seconds))
    return found


def _grouping(observations: Sequence[Observation]) -> Callable[[Observation], str]:
    if len({o.file.model.name for o in observations}) > 1:
        return lambda o: o.file.model.name
    return lambda o: str(o.work)


def memory_residuals(observations: Sequence[MemoryObservation]) -> dict[str, list[Residual]]:
    """Leave one model out: anonymous and file-backed bytes; nothing with a single model."""
    found: dict[str, list[Residual]] = {"anonymous": [], "file": []}
    for group in sorted({o.file.model.name for o in observations}):
        rest = [o for o in observations if o.file.model.name != group]
        if not rest:
            continue
        fit = fit_memory(rest)
        for o in observations:
            if o.file.model.name == group:
                label = f"{group} {o.file.quant}"
                anonymous = fit.anonymous(anonymous_buffers(o.buffers), o.file.model.vocabulary)
                found["anonymous"].append(Residual(group, label, anonymous, o.anonymous_bytes))
                found["file"].append(Residual(group, label, fit.file(o.buffers.get("weights_bytes", 0)), o.file_bytes))
    return found


def held_out(residuals: Sequence[Residual]) -> HeldOut | None:
    """Median and worst error, and the 90 % interval where the groups allow one; None without residuals."""
    if not residuals:
        return None
    sizes = [abs(r.relative) for r in residuals]
    return HeldOut(median(sizes), max(sizes), len({r.group for r in residuals}), interval(residuals))


def interval(residuals: Sequence[Residual]) -> tuple[float, float] | None:
    """(low, high): predicted x (1 + low) to predicted x (1 + high) holds 90 % of unseen cases; None under 5 groups.

    Split-conformal on the log of measured / predicted, symmetric, at the (n + 1) x 0.9 rank (Vovk et
    al., 2005). Cells of one model are alike, so with few groups this is optimistic; hence the floor.
    """
    if len({r.group for r in residuals}) < 5:
        return None
    scores = sorted(abs(math.log(r.measured / r.predicted)) for r in residuals if r.predicted > 0)
    rank = math.ceil((len(scores) + 1) * LEVEL)
    if not scores or rank > len(scores):
        return None
    reach = scores[rank - 1]
    return math.expm1(-reach), math.expm1(reach)


def weight_types(file: ModelFile) -> set[str]:
    """Block types of the weights that are multiplied."""
    return {group.quant_type for group in file.groups if group.role in ("matrix", "head")}
