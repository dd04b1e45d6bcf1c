"""A machine as the reference fit sees it: the figures of its data sheet and the back end that runs on it.

Enough to answer for hardware that nobody here has touched; nothing in here was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BackEnd = Literal["CUDA", "ROCm", "Vulkan", "Metal", "CPU"]
BACK_ENDS: tuple[BackEnd, ...] = ("CUDA", "ROCm", "Vulkan", "Metal", "CPU")

# Back ends that are fitted together: prices of one group, a factor for each back end in it.
GROUPS: dict[BackEnd, str] = {"CUDA": "discrete", "ROCm": "discrete", "Vulkan": "discrete", "Metal": "Metal", "CPU": "CPU"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Peak figures, as makers state them; None where nobody does.

    `family` is the architecture ("Ampere", "RDNA 3", "M2"). `compute_flop_per_s` is the highest dense rate of a
    matrix product with FP16 or FP32 operands, without sparsity; `matrix_units` says whether units of their own
    (tensor cores, WMMA, XMX) reach it.
    """

    name: str
    back_end: BackEnd
    family: str
    bandwidth_bytes_per_s: float
    compute_flop_per_s: float | None = None
    fp32_flop_per_s: float | None = None
    matrix_units: bool = False


def usual_back_end(maker: str, kind: str) -> BackEnd:
    """What llama.cpp is usually built with for a part: `kind` is "gpu", "unified" or "cpu" as in the catalogue."""
    if kind == "cpu":
        return "CPU"
    usual: dict[str, BackEnd] = {"NVIDIA": "CUDA", "Apple": "Metal", "AMD": "ROCm"}
    return usual.get(maker, "Vulkan")


def usable_rate(back_end: BackEnd, matrix: float | None, packed: float | None, fp32: float | None) -> float | None:
    """The highest dense FP16 or FP32 rate that a matrix product of this back end can have, in FLOP/s; None: unknown.

    Packed FP16 without matrix units counts on AMD and Intel only: on NVIDIA's such parts llama.cpp multiplies in FP32 or
    8-bit integers.
    """
    return max(matrix or 0.0, (packed or 0.0) if back_end != "CUDA" else 0.0, fp32 or 0.0) or None
