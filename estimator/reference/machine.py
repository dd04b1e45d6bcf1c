"""A machine as the reference fit sees it: the figures of its data sheet and the back end that runs on it.

Enough to answer for hardware that nobody here has touched; nothing in here was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from estimator.hardware import Part

BackEnd = Literal["CUDA", "ROCm", "Vulkan", "Metal", "CPU"]
BACK_ENDS: tuple[BackEnd, ...] = ("CUDA", "ROCm", "Vulkan", "Metal", "CPU")

# Back ends that are fitted together: prices of one group, a factor for each back end in it.
GROUPS: dict[BackEnd, str] = {
    "CUDA": "discrete",
    "ROCm": "discrete",
    "Vulkan": "discrete",
    "Metal": "Metal",
    "CPU": "CPU",
}
# Processor cores of an Apple chip cannot draw the whole bandwidth of a wide memory: 243 of 400 GB/s on an M1 Max
# (AnandTech, October 2021; from general knowledge).
_WIDE_BYTES_PER_S = 300e9
_CORES_SHARE = 243 / 400


@dataclass(frozen=True, slots=True)
class Machine:
    """Peak figures, as makers state them; None where nobody does.

    `family` is the architecture ("Ampere", "RDNA 3", "M2"). `compute_flop_per_s` is the highest dense rate of a
    matrix product with FP16 or FP32 operands, without sparsity; `matrix_units` says whether units of their own
    (tensor cores, WMMA, XMX) reach it.
    """

    name: str
    back_end: BackEnd
    maker: str
    family: str
    bandwidth_bytes_per_s: float
    compute_flop_per_s: float | None = None
    fp32_flop_per_s: float | None = None
    matrix_units: bool = False


def machine_of_part(part: Part, back_end: BackEnd | None = None) -> Machine:
    """`part` of the catalogue with `back_end`, or with the usual one."""
    back_end = back_end or usual_back_end(part)
    wide = back_end == "CPU" and part.kind == "unified" and part.bandwidth_bytes_per_s > _WIDE_BYTES_PER_S
    return Machine(
        name=part.name,
        back_end=back_end,
        maker=part.maker,
        family=part.family,
        bandwidth_bytes_per_s=part.bandwidth_bytes_per_s * (_CORES_SHARE if wide else 1.0),
        compute_flop_per_s=_usable_rate(part, back_end),
        fp32_flop_per_s=part.fp32_flop_per_s,
        matrix_units=part.fp16_matrix_flop_per_s is not None,
    )


def usual_back_end(part: Part) -> BackEnd:
    """What llama.cpp is usually built with for a part."""
    if part.kind == "cpu":
        return "CPU"
    usual: dict[str, BackEnd] = {"NVIDIA": "CUDA", "Apple": "Metal", "AMD": "ROCm"}
    return usual.get(part.maker, "Vulkan")


def _usable_rate(part: Part, back_end: BackEnd) -> float | None:
    """The highest dense FP16 or FP32 rate that a matrix product of this back end can have, in FLOP/s; None: unknown.

    Packed FP16 without matrix units counts on AMD and Intel only: on NVIDIA's such parts llama.cpp multiplies in FP32
    or 8-bit integers.
    """
    packed = 0.0 if back_end == "CUDA" else part.fp16_vector_flop_per_s or 0.0
    return max(part.fp16_matrix_flop_per_s or 0.0, packed, part.fp32_flop_per_s or 0.0) or None
