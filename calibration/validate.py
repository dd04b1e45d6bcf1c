"""Held-out error: every model left out whole and predicted from the others, or, with one model, every cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from calibration.dataset import MemoryObservation, Observation, PhaseName
from calibration.fitters import SpeedFit, fit_memory, fit_speed, memory_of
from calibration.told import not_told_apart_by_phase
from estimator.coefficients import HeldOut, MemoryCoefficients
from estimator.specs import ModelFile

LEVEL = 0.9
# Standard deviations on either side that hold 90 % of a normal distribution.
NORMAL_90 = 1.645
Fit = Callable[[Sequence[Observation]], SpeedFit]
# A prediction leans on terms that make up more than this share of it.
LEANS = 0.1
# Groups of this name are cells of one model: their errors say nothing about other models.
CELL_GROUP = "cell: "


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


def fits_without(observations: Sequence[Observation], fit: Fit) -> dict[str, SpeedFit]:
    """The fit without each group: one model (all its weight types); with a single model, one cell (both its phases).

    Whatever `fit` chooses it chooses without the group.
    """
    group_of = _grouping(observations)
    found = {}
    for group in sorted({group_of(o) for o in observations}):
        rest = [o for o in observations if group_of(o) != group]
        if rest:
            found[group] = fit(rest)
    return found


def speed_residuals(
    observations: Sequence[Observation],
    prior: Mapping[str, float] | None,
    without: Mapping[str, SpeedFit] | None = None,
) -> dict[PhaseName, list[Residual]]:
    """Each group as predicted by the fit without it: by `without`, else by fits of the default strength.

    Without those that the fit could only guess: over a tenth of their time is of weight types that no prior knows and
    that the rest cannot tell from others.
    """
    group_of = _grouping(observations)
    found: dict[PhaseName, list[Residual]] = {"prefill": [], "decode": []}
    known = fits_without(observations, lambda rest: fit_speed(rest, prior)) if without is None else without
    for group, fit in known.items():
        untold = _guesses(fit, [o for o in observations if group_of(o) != group])
        for o in observations:
            if group_of(o) != group or _share(fit, untold, o) > LEANS:
                continue
            if (predicted := fit.seconds(o.terms)) is not None:
                found[o.phase].append(Residual(group, o.label, predicted, o.seconds))
    return found


def _guesses(fit: SpeedFit, rest: Sequence[Observation]) -> frozenset[str]:
    """The terms whose price in `fit`, made of `rest`, is a guess."""
    if not fit.guessed:
        return frozenset()
    return frozenset(name for names in not_told_apart_by_phase(rest, fit.guessed).values() for name in names)


def _share(fit: SpeedFit, names: frozenset[str], o: Observation) -> float:
    """Of the predicted time, what terms of these names make up."""
    part = sum(fit.seconds_per_unit[name] * o.terms.get(name, 0.0) for name in names)
    return part / (fit.seconds(o.terms) or 1.0) if part else 0.0


def _grouping(observations: Sequence[Observation]) -> Callable[[Observation], str]:
    if len({shape_of(o.file) for o in observations}) > 1:
        return lambda o: shape_of(o.file)
    return lambda o: f"{CELL_GROUP}{o.work}"


def shape_of(file: ModelFile) -> str:
    """What makes two files the same model, whatever their names and weight types: the shape."""
    m = file.model
    experts = f", {m.experts} experts of {m.expert_ffn}" if m.experts else ""
    return (
        f"{m.architecture} {m.layers}x{m.hidden}, {m.heads}/{m.kv_heads} heads, ffn {m.ffn}, "
        f"vocabulary {m.vocabulary}{experts}"
    )


def memory_without(
    observations: Sequence[MemoryObservation], prior: MemoryCoefficients | None
) -> dict[str, MemoryCoefficients]:
    """The prices of memory without each model; nothing with a single one."""
    found = {}
    for group in sorted({shape_of(o.file) for o in observations}):
        rest = [o for o in observations if shape_of(o.file) != group]
        if rest:
            found[group] = fit_memory(rest, prior)
    return found


def memory_residuals(
    observations: Sequence[MemoryObservation],
    prior: MemoryCoefficients | None,
    without: Mapping[str, MemoryCoefficients] | None = None,
) -> dict[str, list[Residual]]:
    """Leave one model out: anonymous and file-backed bytes; nothing with a single model."""
    found: dict[str, list[Residual]] = {"anonymous": [], "file": []}
    for group, fit in (memory_without(observations, prior) if without is None else without).items():
        for o in observations:
            if shape_of(o.file) == group:
                label, need = f"{o.file.model.name} {o.file.quant}", memory_of(fit, o.file, o.work)
                found["anonymous"].append(Residual(group, label, need.anonymous_bytes, o.anonymous_bytes))
                found["file"].append(Residual(group, label, need.file_bytes, o.file_bytes))
    return found


def held_out(residuals: Sequence[Residual], another_run_sd: float = 0.0) -> HeldOut | None:
    """Median and worst error, and the 90 % interval where the groups allow one; None without residuals."""
    if not residuals:
        return None
    sizes = [abs(r.relative) for r in residuals]
    return HeldOut(median(sizes), max(sizes), len({r.group for r in residuals}), interval(residuals, another_run_sd))


def interval(residuals: Sequence[Residual], another_run_sd: float = 0.0) -> tuple[float, float] | None:
    """(low, high): predicted x (1 + low) to predicted x (1 + high) held 90 % of the cells of left-out models.

    The 90 % rank, (n + 1) x 0.9, of |log(measured / predicted)|, as in conformal prediction. Cells of one model
    err alike, so for a model that is unlike those left out it is nominal. None under 5 models. A model left out was
    measured in the same runs as the others; what another run differs by comes on top: sqrt(reach² + (1.645 sd)²).
    """
    groups = {r.group for r in residuals}
    if len(groups) < 5 or any(group.startswith(CELL_GROUP) for group in groups):
        return None
    scores = sorted(abs(math.log(r.measured / r.predicted)) for r in residuals if r.predicted > 0)
    rank = math.ceil((len(scores) + 1) * LEVEL)
    if not scores or rank > len(scores):
        return None
    reach = math.hypot(scores[rank - 1], NORMAL_90 * another_run_sd)
    return math.expm1(-reach), math.expm1(reach)


def weight_types(file: ModelFile) -> set[str]:
    """Block types of the weights that are multiplied."""
    return {group.quant_type for group in file.groups if group.role in ("matrix", "latent", "expert", "head")}
