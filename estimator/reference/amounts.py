"""What a question comes to on a machine: ideal times that the fitted prices multiply, and where it lies among others.

Calibration and the estimator both take them from here, so that what is fitted is what is asked. The amounts are
those of theory/terms.py; a "price" of the reference is a plain number, how many times the ideal time it takes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from estimator.reference.machine import Machine
from estimator.specs import ModelFile, Workload
from estimator.theory.kv_cache import kv_bytes_per_cell
from estimator.theory.terms import decode_terms, prefill_terms
from estimator.theory.weights import flop_per_row_by_type

PHASES = ("prefill", "decode")
CLASSES = ("16bit", "8bit", "k", "plain")
# Block types that GPU kernels treat alike.
_CLASSES = {"F32": "16bit", "F16": "16bit", "BF16": "16bit", "Q8_0": "8bit"}

# Coordinates of a question, in the order of `position`; logarithms are natural. See `position` for each.
FEATURES = (
    "log_bandwidth", "log_compute", "log_fp32", "log_flop_per_token", "log_tokens", "build_year", "flash_attention",
    "single_run", "no_matrix_units", "share_16bit", "share_8bit", "share_k", "share_plain",
)  # fmt: skip


def weight_class(quant_type: str) -> str:
    """Which kernels a block type runs on: "16bit", "8bit", "k" (two-level scales) or "plain" (all others)."""
    return _CLASSES.get(quant_type) or ("k" if quant_type.endswith("_K") else "plain")


def ideal_times(phase: str, file: ModelFile, work: Workload, machine: Machine) -> dict[str, float]:
    """The terms of `phase` in seconds at efficiency 1 (layer, step: counts). See `_prefill` and `_decode`."""
    return _prefill(file, work, machine) if phase == "prefill" else _decode(file, work, machine)


def _prefill(file: ModelFile, work: Workload, machine: Machine) -> dict[str, float]:
    """matmul.CLASS = FLOP / compute rate; attention = FLOP / compute rate; layer = layers x micro-batches.

    Raises ValueError where the compute rate is unknown.
    """
    if not machine.compute_flop_per_s:
        raise ValueError("no compute rate")
    found: defaultdict[str, float] = defaultdict(float)
    for name, amount in prefill_terms(file, work).items():
        family, _, kind = name.partition(".")
        if family in ("matmul", "matmul_rest"):
            found[f"matmul.{weight_class(kind)}"] += amount / machine.compute_flop_per_s
        elif family == "attention" and kind.endswith("_flop"):
            found["attention"] += amount / machine.compute_flop_per_s
        elif family == "layer":
            found["layer"] += amount
    return dict(found)


def _decode(file: ModelFile, work: Workload, machine: Machine) -> dict[str, float]:
    """Of a token, on average: weights.CLASS = bytes / bandwidth; unpack.CLASS = FLOP / FP32 rate; cache = bytes /
    bandwidth; layer = layers; step = 1. On a CPU memory = all bytes / bandwidth alone: few were measured, and none
    states its FP32 rate.
    Raises ValueError where the FP32 rate of another machine is unknown.
    """
    terms = decode_terms(file, work)
    found: defaultdict[str, float] = defaultdict(float)
    for name, amount in terms.items():
        if name.startswith("weights."):
            kind = weight_class(name.partition(".")[2])
            found[f"weights.{kind}"] += amount / machine.bandwidth_bytes_per_s
    cells = terms["attention.decode"] / file.model.heads
    found["cache"] = cells * kv_bytes_per_cell(file.model, work.kv_type) / machine.bandwidth_bytes_per_s
    if machine.back_end == "CPU":
        return {"memory": sum(found.values())}
    if not machine.fp32_flop_per_s:
        raise ValueError("no FP32 rate")
    for kind, flop in flop_per_row_by_type(file).items():
        found[f"unpack.{weight_class(kind)}"] += flop / machine.fp32_flop_per_s
    return {**found, "layer": terms["layer"], "step": 1.0}


def shares(file: ModelFile) -> dict[str, float]:
    """The part of a token's FLOP that each weight class has; adds up to 1."""
    flop = flop_per_row_by_type(file)
    found = dict.fromkeys(CLASSES, 0.0)
    for kind, amount in flop.items():
        found[weight_class(kind)] += amount / sum(flop.values())
    return found


def position(
    phase: str, file: ModelFile, work: Workload, machine: Machine, build: Mapping[str, float]
) -> tuple[float, ...]:
    """Where the question lies, a number for each of FEATURES.

    Rates are beside 500 GB/s, 100 TFLOP/s and 20 TFLOP/s (FP32), FLOP a token beside 14 GFLOP; tokens are those of the
    prompt, or the mean context of a decode step (64 at least), beside 512. `build` gives "build_year" and "single_run"
    (1 where a whole run was timed once, by llama.cpp's old `main`).
    """
    flop = sum(flop_per_row_by_type(file).values())
    tokens = work.prompt_tokens + work.depth_tokens
    if phase == "decode":
        tokens = max(64, round(work.depth_tokens + work.prompt_tokens + work.output_tokens / 2))
    share = shares(file)
    compute, fp32 = machine.compute_flop_per_s or 1e14, machine.fp32_flop_per_s or 2e13
    return (
        math.log(machine.bandwidth_bytes_per_s / 5e11),
        math.log(compute / 1e14),
        math.log(fp32 / 2e13),
        math.log(flop / 1.4e10),
        math.log(tokens / 512),
        build["build_year"] - 2024.5,
        float(work.flash_attention),
        build["single_run"],
        float(not machine.matrix_units),
        share["16bit"],
        share["8bit"],
        share["k"],
        share["plain"],
    )
