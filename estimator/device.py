"""Hardware of the catalogue as the theory sees it: how much of a memory can be used, and what that assumes.

The only module that decides what a part that nobody looked at has free. It errs to the small side, so that a "yes"
holds; every assumption is a sentence in the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from estimator.errors import EstimatorError
from estimator.gpus import Gpu
from estimator.hardware import Part, find_parts, part_of_gpu
from estimator.specs import Hardware

GIB = 2**30
# CUDA's or ROCm's context and the engine's own pools: "hundreds of MiB", in no formula.
_DRIVER_BYTES = GIB // 2
_APPLE_LARGE_BYTES = 36 * GIB


def usable_bytes(part: Part, memory_bytes: int) -> int:
    """What of `memory_bytes` weights, cache and buffers may take, in bytes.

    gpu      HBM: 63/64 (an 80 GB H100 shows 79.6 GiB), else 15/16 (error correction in GDDR takes 1/16: an A10G
             shows 22.5 of 24 GiB), less 0.5 GiB for driver and context
    Apple    2/3 of the memory, from 36 GiB on 3/4: what Metal recommends as the largest working set
    others   7/8: the operating system and what else runs
    Source: nvidia-smi on these cards, recommendedMaxWorkingSetSize in llama.cpp's logs; from general knowledge.
    """
    if part.kind == "gpu":
        share = 63 / 64 if (part.memory_type or "").startswith("HBM") else 15 / 16
        return int(memory_bytes * share) - _DRIVER_BYTES
    if part.kind == "unified" and part.maker == "Apple":
        return memory_bytes * 3 // 4 if memory_bytes >= _APPLE_LARGE_BYTES else memory_bytes * 2 // 3
    return memory_bytes * 7 // 8


def hardware_named(text: str) -> Hardware:
    """Hardware of the catalogue as `--hardware` names it, "RTX 4090" or "2x RTX 3090". Raises UnknownName.

    >>> from estimator import hardware_named
    >>> hardware_named("2x rtx3090").name
    '2 x NVIDIA GeForce RTX 3090'
    """
    return catalogued_hardware(*find_parts(text))


def catalogued_hardware(
    part: Part,
    devices: int = 1,
    memory_bytes: int | None = None,
    bandwidth_bytes_per_s: float | None = None,
    compute_flop_per_s: float | None = None,
) -> Hardware:
    """`devices` of `part`, with memory (of each) and rates as stated, else as the catalogue has them."""
    memory = memory_bytes or part.memory_bytes or min(part.memory_options_bytes, default=None)
    rate, rate_name = part.compute
    return Hardware(
        name=part.name if devices == 1 else f"{devices} x {part.name}",
        memory_total_bytes=None if memory is None else memory * devices,
        memory_free_bytes=None if memory is None else max(0, usable_bytes(part, memory)) * devices,
        bandwidth_bytes_per_s=bandwidth_bytes_per_s or part.bandwidth_bytes_per_s,
        compute_flop_per_s=compute_flop_per_s or rate,
        source=f"catalogue: {part.source}{_stated(bandwidth_bytes_per_s, compute_flop_per_s)}",
        kind=part.kind,
        devices=devices,
        catalogued=True,
        assumptions=(
            *_memory_assumptions(part, memory, memory_bytes is not None),
            *_rate_assumptions(part, rate_name, compute_flop_per_s),
            *_split_assumptions(devices),
        ),
    )


def gpus_hardware(
    gpus: Sequence[Gpu], bandwidth_bytes_per_s: float | None = None, compute_flop_per_s: float | None = None
) -> tuple[Hardware, Part | None]:
    """GPUs of this machine with what is free on them now, and the part of the catalogue that they are, if it has it.

    Free of each: what the driver says, less 0.5 GiB for the engine's own context; of several the least counts for all.
    Raises EstimatorError for GPUs that differ, or are divided (MIG).
    """
    first, count = gpus[0], len(gpus)
    other = next((gpu for gpu in gpus if (gpu.name, gpu.total_bytes) != (first.name, first.total_bytes)), None)
    if other is not None:
        raise EstimatorError(
            f"GPUs {first.number} and {other.number} differ ({first.name}, {other.name}): name those that are alike, "
            f"such as --gpus {first.number}"
        )
    divided = next((gpu for gpu in gpus if gpu.divided), None)
    if divided is not None:
        raise EstimatorError(f"GPU {divided.number} is divided (MIG): what its instances have free is not asked")
    part = part_of_gpu(first.name, first.total_bytes)
    rate, rate_name = (None, "") if part is None else part.compute
    source = "unknown" if part is None else f"catalogue, {part.source}"
    hardware = Hardware(
        name=first.name if count == 1 else f"{count} x {first.name}",
        memory_total_bytes=first.total_bytes * count,
        memory_free_bytes=max(0, min(gpu.free_bytes for gpu in gpus) - _DRIVER_BYTES) * count,
        bandwidth_bytes_per_s=bandwidth_bytes_per_s or (None if part is None else part.bandwidth_bytes_per_s),
        compute_flop_per_s=compute_flop_per_s or rate,
        source=f"memory: the driver; rates: {source}{_stated(bandwidth_bytes_per_s, compute_flop_per_s)}",
        kind="gpu",
        devices=count,
        assumptions=(
            _free_now(gpus),
            *(() if part is None else _rate_assumptions(part, rate_name, compute_flop_per_s)),
            *_split_assumptions(count),
        ),
    )
    return hardware, part


def _stated(bandwidth_bytes_per_s: float | None, compute_flop_per_s: float | None) -> str:
    """Words on the rates that the asker states, "" where there are none."""
    rates = (("bandwidth", bandwidth_bytes_per_s), ("compute", compute_flop_per_s))
    stated = [name for name, value in rates if value]
    return f"; {' and '.join(stated)} stated" if stated else ""


def _free_now(gpus: Sequence[Gpu]) -> str:
    sizes = ", ".join(f"{gpu.free_bytes / GIB:.3g} of {gpu.total_bytes / GIB:.3g}" for gpu in gpus)
    least = ", the least of them on each" if len(gpus) > 1 else ""
    return f"{sizes} GiB free now by the driver{least}; 0.5 GiB of it are set aside for the engine's own context"


def _memory_assumptions(part: Part, memory: int | None, stated: bool) -> list[str]:
    if memory is None:
        return [f"how much memory a machine with {part.name} has is not known: state it with --memory 64GiB"]
    found = []
    if part.memory_bytes is None and not stated:
        sizes = ", ".join(f"{size / GIB:g}" for size in part.memory_options_bytes)
        if len(part.memory_options_bytes) > 1:
            found.append(f"sold with {sizes} GiB: the smallest is assumed; state another with --memory 64GiB")
    usable, whole = (f"{size / GIB:.3g}" for size in (max(0, usable_bytes(part, memory)), memory))
    if part.kind == "gpu":
        held = "error correction, driver and context"
        found.append(f"assumed: weights, cache and buffers in device memory, {usable} of {whole} GiB usable ({held})")
    elif part.kind == "unified":
        found.append(f"assumed: all layers on the GPU, {usable} of the {whole} GiB that it shares usable")
    else:
        found.append(f"assumed: {usable} of {whole} GiB free, as nobody looked at that machine")
    return found


def _rate_assumptions(part: Part, rate_name: str, stated: float | None) -> list[str]:
    if part.compute[0] is None or stated is not None:
        return []
    more = "" if part.int8_matrix_operations_per_s is None else "; engines that multiply quants in int8 may exceed it"
    return [f"prefill by the {rate_name}{more}"]


def _split_assumptions(devices: int) -> list[str]:
    if devices == 1:
        return []
    return [
        f"layers split over {devices} GPUs: their memory adds up, but a token passes them one after "
        "the other, at the speed of one"
    ]
