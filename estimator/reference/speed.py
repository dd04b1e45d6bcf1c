"""The reference's answer: TTFT and time per token of hardware that nobody here has measured, with an interval.

    seconds = factor x Σ price x ideal time x exp(residual)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from estimator.answer import Quantity
from estimator.reference.amounts import FEATURES, ideal_times, position
from estimator.reference.file import PhaseFit, Point, Reference, Residual
from estimator.reference.machine import GROUPS, Machine
from estimator.specs import ModelFile, Workload

_WORDS = {"prefill": "time to first token", "decode": "time per token"}
# Features whose range is not said of a model or a prompt, but of the machine and the build: too much detail for a user.
_SAID = ("log_bandwidth", "log_compute", "log_fp32", "log_flop_per_token", "log_tokens")


@dataclass(frozen=True, slots=True)
class ReferenceAnswer:
    """One prompt's prefill and one decode step, in seconds; None where the reference cannot say, and why in `warnings`."""

    prefill: Quantity | None
    step: Quantity | None
    warnings: tuple[str, ...]
    basis: str


def reference_answer(file: ModelFile, work: Workload, machine: Machine, reference: Reference) -> ReferenceAnswer:
    """What published measurements of other machines say about `work` from `file` on `machine`."""
    fits = reference.groups.get(GROUPS[machine.back_end], {})
    warnings = list(_question_warnings(file, work))
    found: dict[str, Quantity | None] = {}
    for phase, words in _WORDS.items():
        fit = fits.get(phase)
        why = _unanswerable(phase, fit, work, machine)
        found[phase] = None
        if fit is None or why:
            warnings.append(f"{words}: {why}")
            continue
        build = {"build_year": reference.build_year[machine.back_end], "single_run": 0.0}
        at = position(phase, file, work, machine, build)
        found[phase] = _quantity(fit, physics_s(fit, ideal_times(phase, file, work, machine), machine), at, machine)
        warnings += [f"{words}: {sentence}" for sentence in _range_warnings(fit, at, file, machine, phase)]
    return ReferenceAnswer(found["prefill"], found["decode"], tuple(dict.fromkeys(warnings)), _basis(reference, machine))


def physics_s(fit: PhaseFit, times: Mapping[str, float], machine: Machine) -> float:
    """factor of the back end x Σ price x ideal time, in seconds; a term without a price counts 0."""
    return fit.factors[machine.back_end] * sum(fit.prices.get(name, 0.0) * amount for name, amount in times.items())


def residual_of(residual: Residual, at: Sequence[float], back_end: str, family: str) -> tuple[float, float]:
    """r(x) of `Residual` at the scaled features `at`, and the distance to the nearest point: 0 (there) to 1 (far)."""
    total, nearest = 0.0, 0.0
    for point in residual.points:
        likeness = math.exp(-_squared_distance(residual, point, at, (back_end, family)) / (2 * residual.length**2))
        total += point.weight * likeness
        nearest = max(nearest, likeness)
    return total, 1.0 - nearest


def _squared_distance(residual: Residual, point: Point, at: Sequence[float], names: tuple[str, str]) -> float:
    moved = sum((one - other) ** 2 for one, other in zip(at, point.at, strict=True))
    differ = (point.back_end != names[0]) + (point.family != names[1])
    return moved + differ * residual.apart**2


def _quantity(fit: PhaseFit, physics: float, at: Sequence[float], machine: Machine) -> Quantity:
    correction, distance = 0.0, 0.0
    if fit.residual:
        scaled = [feature * scale for feature, scale in zip(at, fit.residual.scales, strict=True)]
        correction, distance = residual_of(fit.residual, scaled, machine.back_end, machine.family)
    value = physics * math.exp(correction)
    reach = fit.held_out[machine.back_end].reach
    if reach is None:
        return Quantity(value, basis="calibrated")
    widened = math.exp(reach * (1.0 + distance))
    return Quantity(value, value / widened, value * widened, basis="calibrated")


def _unanswerable(phase: str, fit: PhaseFit | None, work: Workload, machine: Machine) -> str:
    """Why the reference has no answer; "" where it has one."""
    if fit is None or machine.back_end not in fit.factors:
        return f"nothing usable was published for {machine.back_end}"
    if work.concurrency > 1:
        return "published measurements are of one stream; several at once are not known"
    if phase == "prefill" and not machine.compute_flop_per_s:
        return f"the compute rate of {machine.name} is not known"
    if phase == "decode" and machine.back_end != "CPU" and not machine.fp32_flop_per_s:
        return f"the FP32 rate of {machine.name} is not known"
    return ""


def _question_warnings(file: ModelFile, work: Workload) -> Iterator[str]:
    if file.model.experts or file.model.kv_lora_rank:
        yield "the reference was fitted to dense models: experts and latent attention are extrapolated"
    if work.kv_type != "F16":
        yield f"published speeds are with an F16 cache: with {work.kv_type} attention differs"


def _range_warnings(fit: PhaseFit, at: Sequence[float], file: ModelFile, machine: Machine, phase: str) -> Iterator[str]:
    """Sentences on what lies outside of the measurements, and on a missing interval."""
    for feature, value, low, high in zip(FEATURES, at, fit.lowest, fit.highest, strict=True):
        if feature in _SAID and not low - 1e-6 <= value <= high + 1e-6:
            beyond = math.exp(value - high if value > high else low - value)
            side = "above" if value > high else "below"
            yield f"extrapolated: {feature.removeprefix('log_').replace('_', ' ')} is {beyond:.2g} times {side} any measured"
    if machine.family not in fit.families:
        yield f"no {machine.family} was measured"
    times = ideal_times(phase, file, Workload(512, 128), machine)
    for name in sorted(times.keys() & fit.borrowed.keys()):
        yield f"{name} was never measured and has the price of {fit.borrowed[name]}"
    if fit.held_out[machine.back_end].reach is None:
        yield f"no interval: only {fit.held_out[machine.back_end].machines} machines were measured with {machine.back_end}"


def _basis(reference: Reference, machine: Machine) -> str:
    found = reference.groups.get(GROUPS[machine.back_end], {}).get("decode")
    measured = found.held_out.get(machine.back_end) if found else None
    of = f"{measured.machines} other machines with {machine.back_end}" if measured else "no machine"
    return f"published llama.cpp measurements of {of}; {machine.name} itself was not measured here"
