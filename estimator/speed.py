"""The two times that everything else follows from: one prompt's prefill, and one decode step.

Three ways to them: `theory_times` (roofline), `textbook_times`, and `calibrated_times` (coefficients x
amounts). Each gives seconds, or None where it cannot say.
"""

from __future__ import annotations

from dataclasses import dataclass

from estimator.coefficients import Coefficients, SpeedCoefficient, time_s
from estimator.specs import Hardware, ModelFile, Workload
from estimator.theory import roofline, split_time, textbook
from estimator.theory.split import offloaded_layers
from estimator.theory.terms import ROW_BLOCK, decode_terms, prefill_terms
from estimator.theory.weights import flop_per_row_by_type, read_bytes_by_type


@dataclass(frozen=True, slots=True)
class PhaseTimes:
    """Seconds of one prompt's prefill, and of one decode step of all sequences; None where unknown.

    `unfitted` names the terms whose price was never measured, for which a phase is None.
    """

    prefill_s: float | None
    step_s: float | None
    unfitted: tuple[str, ...] = ()


def theory_times(file: ModelFile, work: Workload, hardware: Hardware) -> PhaseTimes:
    """The roofline at efficiency 1; prefill needs both rates, decode at least the bandwidth."""
    bandwidth, compute = hardware.bandwidth_bytes_per_s, hardware.compute_flop_per_s
    if bandwidth is None:
        return PhaseTimes(None, None)
    if hardware.kind == "gpu" and work.split == "tensor":
        return _tensor_times(file, work, hardware, bandwidth)
    if hardware.kind == "gpu" and offloaded_layers(file, work) <= file.model.layers:
        return _side_times(file, work, hardware, bandwidth)
    prefill = None if compute is None else roofline.prefill_time_s(file, work, bandwidth, compute)
    return PhaseTimes(prefill, roofline.time_per_token_s(file, work, bandwidth, compute))


def _side_times(file: ModelFile, work: Workload, hardware: Hardware, bandwidth: float) -> PhaseTimes:
    """Layers on both sides: decode needs the host's bandwidth, prefill the link to it."""
    compute, link = hardware.compute_flop_per_s, hardware.link_bandwidth_bytes_per_s
    host = None if hardware.host is None else hardware.host.bandwidth_bytes_per_s
    prefill = step = None
    if compute is not None and link is not None:
        prefill = split_time.prefill_time_over_sides_s(file, work, bandwidth, compute, link)
    if host is not None:
        step = split_time.time_per_token_over_sides_s(file, work, bandwidth, compute, host)
    return PhaseTimes(prefill, step)


def _tensor_times(file: ModelFile, work: Workload, hardware: Hardware, bandwidth: float) -> PhaseTimes:
    """Tensors split over GPUs: unknown without the link between them, and where the host keeps layers."""
    compute, link = hardware.compute_flop_per_s, hardware.link_bandwidth_bytes_per_s
    if link is None or offloaded_layers(file, work) <= file.model.layers:
        return PhaseTimes(None, None)
    devices = hardware.devices
    step = split_time.time_per_token_of_split_tensors_s(file, work, devices, (bandwidth, compute), link)
    if compute is None:
        return PhaseTimes(None, step)
    prefill = split_time.prefill_time_of_split_tensors_s(file, work, devices, (bandwidth, compute), link)
    return PhaseTimes(prefill, step)


def textbook_times(file: ModelFile, work: Workload, hardware: Hardware) -> PhaseTimes:
    """The textbook's latency, for which both rates must be known."""
    bandwidth, compute = hardware.bandwidth_bytes_per_s, hardware.compute_flop_per_s
    if bandwidth is None or compute is None:
        return PhaseTimes(None, None)
    return PhaseTimes(
        textbook.prefill_latency_s(file, work, bandwidth, compute),
        textbook.token_latency_s(file, work, bandwidth, compute),
    )


def calibrated_times(file: ModelFile, work: Workload, coefficients: Coefficients) -> PhaseTimes:
    """Σ coefficient x amount for each phase, if every weight type and attention kernel in it was fitted."""
    speed = coefficients.speed
    prefill, decode = prefill_terms(file, work), decode_terms(file, work)
    missing = {phase: _unfitted(terms, speed) for phase, terms in (("prefill", prefill), ("decode", decode))}
    return PhaseTimes(
        None if missing["prefill"] else time_s(speed, prefill),
        None if missing["decode"] else step_time_s(file, decode, work.concurrency, speed),
        tuple(dict.fromkeys(missing["prefill"] + missing["decode"])),
    )


def step_time_s(
    file: ModelFile, decode: dict[str, float], concurrency: int, speed: dict[str, SpeedCoefficient]
) -> float:
    """One decode step of `concurrency` sequences, from the terms of one:

    Σ types max(bytes that the step reads x weights, concurrency x 2 x elements x matmul, rows left over after
    blocks of 16 at matmul_rest) + per-pass terms (layer, step) + concurrency x (attention and vector). For one sequence
    it is Σ coefficient x amount.
    """
    if concurrency == 1:
        return time_s(speed, decode)
    total = 0.0
    flop, read = flop_per_row_by_type(file), read_bytes_by_type(file, concurrency)
    for name, amount in decode.items():
        if name.startswith("weights."):
            kind = name.removeprefix("weights.")
            total += max(time_s(speed, {name: read[kind]}), _matmul_s(kind, flop[kind], concurrency, speed))
        else:
            one = time_s(speed, {name: amount})
            total += one if name in ("layer", "step") else concurrency * one
    return total


def _matmul_s(kind: str, flop_per_row: int, rows: int, speed: dict[str, SpeedCoefficient]) -> float:
    rest = rows % ROW_BLOCK
    rest_name = f"matmul_rest.{kind}" if f"matmul_rest.{kind}" in speed else f"matmul.{kind}"
    blocks_s = time_s(speed, {f"matmul.{kind}": float(flop_per_row * (rows - rest))})
    return blocks_s + time_s(speed, {rest_name: float(flop_per_row * rest)})


def _unfitted(terms: dict[str, float], speed: dict[str, SpeedCoefficient]) -> tuple[str, ...]:
    """Terms that a phase cannot do without: each weight type, and one of the terms of its attention kernel."""
    missing = [name for name in terms if name.startswith(("weights.", "matmul")) and name not in speed]
    kernels = {name.removesuffix("_flop") for name in terms if name.startswith("attention.")}
    missing += [kernel for kernel in kernels if kernel not in speed and f"{kernel}_flop" not in speed]
    return tuple(sorted(missing))
