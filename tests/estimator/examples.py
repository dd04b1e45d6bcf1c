"""Small models, workloads and coefficients with round numbers, for tests that compute by hand."""

from __future__ import annotations

from dataclasses import replace

from estimator.answer import Quantity
from estimator.coefficients import (
    Coefficients,
    FittedEngine,
    FittedMachine,
    FittedRecords,
    HeldOut,
    MemoryCoefficients,
    ValidRange,
    speed_coefficient,
)
from estimator.costs.serving import Serving
from estimator.specs import Hardware, Model, ModelFile, WeightGroup, Workload

# Attention of one position in one layer: 4 heads x 2 x (64 + 64) = 1024 FLOP; KV 2 heads x 128 x 2 bytes = 512 bytes.
MODEL = Model(
    names=("toy",),
    title="Toy",
    architecture="llama",
    layers=2,
    hidden=256,
    heads=4,
    kv_heads=2,
    key_length=64,
    value_length=64,
    ffn=512,
    vocabulary=1000,
    context_tokens=4096,
    tied_embeddings=False,
    source="made up",
    parameters=10_000_000,
)
GROUPS = (
    WeightGroup("embedding", "Q4_K", 256_000, 144_000, 1),
    WeightGroup("head", "Q6_K", 256_000, 210_000, 1),
    WeightGroup("matrix", "Q4_K", 1_000_000, 562_500, 12),
    WeightGroup("matrix", "Q6_K", 100_000, 82_031, 2),
    WeightGroup("vector", "F32", 1280, 5120, 5),
)
FILE = ModelFile(MODEL, "Q4_K_M", GROUPS)
WINDOWED = replace(MODEL, architecture="gemma2", layers=3, sliding_window_tokens=100, window_period=2)
HARDWARE = Hardware("Test CPU", 16 * 2**30, 8 * 2**30, 10e9, 100e9, "stated")
WORK = Workload(prompt_tokens=512, output_tokens=129)

PRICES = {
    "weights.Q4_K": 1e-10,
    "weights.Q6_K": 2e-10,
    "matmul.Q4_K": 1e-11,
    "matmul.Q6_K": 2e-11,
    "attention.decode": 1e-9,
    "attention.tiled_flop": 1e-11,
    "layer": 1e-5,
    "step": 1e-4,
    "request": 1e-2,
}


def coefficients(**changes: object) -> Coefficients:
    """Coefficients of the toy's own machine, with intervals of -10 % .. +20 % (time) and ±5 % (memory)."""
    whole = Coefficients(
        fitted_at="2026-11-23T00:00:00+00:00",
        machine=FittedMachine("Test CPU", 2, 16 * 2**30, 10e9, 100e9),
        engine=FittedEngine("engine", "1", "AVX2 = 1"),
        records=FittedRecords(1, 20, 10, 2, "sha256:0"),
        speed={name: speed_coefficient(name, price, 5) for name, price in PRICES.items()},
        memory=MemoryCoefficients(20e6, 100.0, 1000.0, 10.0, 10e6, ("Q4_K",)),
        held_out={
            "decode": HeldOut(0.04, 0.1, 5, (-0.1, 0.2)),
            "prefill": HeldOut(0.04, 0.1, 5, (-0.1, 0.2)),
            "memory_anonymous": HeldOut(0.01, 0.02, 5, (-0.05, 0.05)),
            "memory_file": HeldOut(0.01, 0.02, 5, (-0.05, 0.05)),
        },
        valid=ValidRange(("Q4_K", "Q6_K"), (1e6, 1e9), (0, 2048), (64, 1024)),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def serving_of(machine_s: float, low: float | None = None, high: float | None = None) -> Serving:
    """A machine that a request occupies for so long."""
    time = Quantity(machine_s, low, high, basis="theory" if low is None else "calibrated")
    return Serving(1, 1, 1, time, time, time, "yes", "", ())
