"""The reference's answer: TTFT and time per token of hardware that nobody here has measured, with an interval.

seconds = factor x Σ price x ideal time x exp(residual) x exp(shift); the shift is that of cells measured on the
machine, 0 without any.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from estimator.answer import Basis, Quantity
from estimator.coefficients import Coefficients
from estimator.reference.amounts import FEATURES, ideal_times, position
from estimator.reference.basis import basis_of
from estimator.reference.file import Moving, PhaseFit, Point, Reference
from estimator.reference.machine import GROUPS, Machine
from estimator.reference.moving import Own, OwnCell, pooled, shift_at
from estimator.specs import ModelFile, Workload

_WORDS = {"prefill": "time to first token", "decode": "time per token"}
# Features whose range is said: what the user asks for. Others (build, kernels) are in the distance alone.
_SAID = {
    "log_bandwidth": "memory bandwidth",
    "log_compute": "compute rate",
    "log_fp32": "FP32 rate",
    "log_flop_per_token": "the model's work a token",
    "log_tokens": "context",
}


@dataclass(frozen=True, slots=True)
class Published:
    """The reference, asked about one machine: `devices` of it; `own` are cells that were measured on it, if any."""

    reference: Reference
    machine: Machine
    devices: int = 1
    own: Own | None = None


Calibration = Coefficients | Published


@dataclass(frozen=True, slots=True)
class ReferenceAnswer:
    """One prompt's prefill and one decode step, in seconds; None where it cannot say, and why in `warnings`."""

    prefill: Quantity | None
    step: Quantity | None
    warnings: tuple[str, ...]
    basis: str | None


def reference_answer(file: ModelFile, work: Workload, published: Published) -> ReferenceAnswer:
    """What published measurements of other machines say about `work` from `file`."""
    machine, fits = published.machine, published.reference.groups.get(GROUPS[published.machine.back_end], {})
    warnings: list[str] = []
    found: dict[str, Quantity | None] = {}
    own: dict[str, tuple[OwnCell, ...]] = {}
    for phase, words in _WORDS.items():
        fit = fits.get(phase)
        why = _unanswerable(phase, fit, work, published)
        found[phase] = None
        if fit is None or why:
            warnings.append(f"{words}: theory alone: {why}")
            continue
        at = _position(phase, file, work, published)
        own[phase] = own_cells(fit, phase, published)
        physics = _physics_s(fit, phase, file, work, machine)
        found[phase] = _answered(fit, physics, at, machine, published.reference.moving[phase], own[phase])
        warnings += [f"{words}: {sentence}" for sentence in _range_warnings(fit, at, file, machine, phase)]
    if not any(found.values()):
        return ReferenceAnswer(None, None, tuple(warnings), None)
    warnings += _question_warnings(file, work, machine)
    warnings += _own_warnings(published.own)
    basis = basis_of(published.reference, machine, {phase: len(cells) for phase, cells in own.items()})
    return ReferenceAnswer(found["prefill"], found["decode"], tuple(warnings), basis)


def own_cells(fit: PhaseFit, phase: str, published: Published) -> tuple[OwnCell, ...]:
    """The machine's own cells of `phase` with log(measured / reference), the reference asked for the same build."""
    found = []
    for cell in published.own.cells if published.own else ():
        if cell.phase == phase:
            at = _position(phase, cell.file, cell.work, published)
            physics = _physics_s(fit, phase, cell.file, cell.work, published.machine)
            correction, _ = residual_of(fit, at, published.machine)
            found.append(OwnCell(at, math.log(cell.seconds / physics) - correction))
    return pooled(found)


def _position(phase: str, file: ModelFile, work: Workload, published: Published) -> tuple[float, ...]:
    """Of a question, which is taken to mean the newest build."""
    _, newest = published.reference.build_years[published.machine.back_end]
    return position(phase, file, work, published.machine, {"build_year": newest, "single_run": 0.0})


def _physics_s(fit: PhaseFit, phase: str, file: ModelFile, work: Workload, machine: Machine) -> float:
    return physics_s(fit, ideal_times(phase, file, work, machine), machine)


def physics_s(fit: PhaseFit, times: Mapping[str, float], machine: Machine) -> float:
    """factor of the back end x Σ price x ideal time, in seconds; a term without a price counts 0."""
    return fit.factors[machine.back_end] * sum(fit.prices.get(name, 0.0) * amount for name, amount in times.items())


def residual_of(fit: PhaseFit, at: Sequence[float], machine: Machine) -> tuple[float, float]:
    """r(x) of `Residual` at the features `at`, and the distance to the nearest point: 0 (there) to 1 (far from all)."""
    residual = fit.residuals.get(machine.back_end)
    if residual is None:
        return 0.0, 0.0
    total, nearest = 0.0, 0.0
    for point, weight in zip(fit.points, residual.weights, strict=True):
        likeness = math.exp(-_squared_distance(point, at, machine) / (2 * residual.length**2))
        total += weight * likeness
        nearest = max(nearest, likeness)
    return total, 1.0 - nearest


def _squared_distance(point: Point, at: Sequence[float], machine: Machine) -> float:
    moved = math.dist(at, point.at) ** 2
    differ = (point.back_end != machine.back_end) + (point.family != machine.family) + (point.maker != machine.maker)
    return moved + differ


def _answered(
    fit: PhaseFit, physics: float, at: Sequence[float], machine: Machine, moving: Moving, own: Sequence[OwnCell]
) -> Quantity:
    """The value, moved by `own` where there are any, with the interval that is known of such answers."""
    correction, distance = residual_of(fit, at, machine)
    shift = shift_at(moving.strength, own, at)
    value = physics * math.exp(correction + shift.log)
    basis: Basis = "moved" if own else "reference"
    reach, widening = fit.held_out[machine.back_end].reach, moving.widening if own else 1.0
    if reach is None or widening is None:
        return Quantity(value, basis=basis)
    widened = math.exp(reach * (1.0 + distance) * shift.spread * widening)
    return Quantity(value, value / widened, value * widened, basis=basis)


def _unanswerable(phase: str, fit: PhaseFit | None, work: Workload, published: Published) -> str:
    """Why the reference has no answer; "" where it has one."""
    machine = published.machine
    unrated = phase == "decode" and machine.back_end != "CPU" and not machine.fp32_flop_per_s
    rules = (
        (fit is None or machine.back_end not in fit.factors, f"nothing usable was published for {machine.back_end}"),
        (published.devices > 1, "the reference was fitted to single devices"),
        (work.gpu_layers is not None, "published speeds are of models whole on one device, not split with the CPU"),
        (work.concurrency > 1, "published speeds are of one stream, not of several at once"),
        (phase == "prefill" and not machine.compute_flop_per_s, f"the compute rate of {machine.name} is not known"),
        (unrated, f"the FP32 rate of {machine.name} is not known"),
    )
    return next((reason for applies, reason in rules if applies), "")


def _question_warnings(file: ModelFile, work: Workload, machine: Machine) -> Iterator[str]:
    if file.model.experts or file.model.kv_lora_rank:
        yield "the reference was fitted to dense models: experts and latent attention are extrapolated"
    if work.kv_type != "F16":
        yield f"published speeds are with an F16 cache: with {work.kv_type} attention differs"
    if machine.back_end == "CPU":
        yield "of a CPU the memory is assumed as fast as its maker allows: state yours with --bandwidth"


def _own_warnings(own: Own | None) -> Iterator[str]:
    """Whether the user's own results are of other hardware, and each reason for which some were not used."""
    if own is not None and own.elsewhere:
        yield f"{own.source} was measured on {own.elsewhere}"
    if own is not None:
        for reason, count in own.left_out.items():
            yield f"{count} of the results in {own.source} moved nothing: {reason}"


def _range_warnings(fit: PhaseFit, at: Sequence[float], file: ModelFile, machine: Machine, phase: str) -> Iterator[str]:
    """Sentences on what lies outside of the measurements, and on a missing interval."""
    for feature, value, low, high in zip(FEATURES, at, fit.lowest, fit.highest, strict=True):
        if feature in _SAID and not low - 1e-3 <= value <= high + 1e-3:
            beyond, side = (value - high, "above") if value > high else (low - value, "below")
            yield f"extrapolated: {_SAID[feature]} is {math.exp(beyond):.3g} times {side} any measured"
    if machine.family not in fit.families:
        yield f"extrapolated: no {machine.family} was measured"
    times = ideal_times(phase, file, Workload(512, 128), machine)
    for name in sorted(times.keys() & set(fit.unmeasured)):
        yield f"extrapolated: {name} was never measured and has the price of other weights"
    held_out = fit.held_out[machine.back_end]
    if held_out.reach is None:
        yield f"no interval: only {held_out.machines} machines were measured with {machine.back_end}"
