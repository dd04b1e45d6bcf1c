"""What the reference has to beat: simpler models on the same rows, whole machines left out of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from calibration.published.fitting import Array
from calibration.published.rows import Row
from estimator.reference.amounts import ideal_times, shares

Predictor = Callable[[Sequence[Row], Sequence[Row]], Array]
# Families of the last ten years that the table's "recent GPUs" means.
RECENT = ("Turing", "Ampere", "Ada", "Hopper", "Blackwell")


def roofline_s(row: Row) -> float:
    """Seconds at efficiency 1: all bytes of a token / bandwidth, or all FLOP of a prompt / compute rate."""
    assert row.file is not None
    assert row.machine is not None
    times = ideal_times(row.phase, row.file, row.work, row.machine)
    return sum(
        amount for name, amount in times.items() if name not in ("layer", "step") and not name.startswith("unpack")
    )


def ideal(train: Sequence[Row], test: Sequence[Row]) -> Array:
    """Roofline, efficiency 1."""
    return np.array([roofline_s(row) for row in test])


def median_efficiency(train: Sequence[Row], test: Sequence[Row]) -> Array:
    """Roofline times the back end's median of measured / roofline (of all, where it has no other machine)."""
    ratios: dict[str, list[float]] = {}
    for row in train:
        ratios.setdefault(row.back_end, []).append(row.seconds / roofline_s(row))
    whole = [ratio for values in ratios.values() for ratio in values]
    return np.array([roofline_s(row) * float(np.median(ratios.get(row.back_end, whole))) for row in test])


def log_linear(train: Sequence[Row], test: Sequence[Row]) -> Array:
    """log seconds, linear in log bandwidth, bytes or FLOP, FP32 rate, weight type, back end, and an interaction."""
    back_ends = sorted({row.back_end for row in train})
    quants = sorted({row.quant for row in train})
    model = LinearRegression().fit(
        [_linear(row, back_ends, quants) for row in train], [math.log(r.seconds) for r in train]
    )
    return np.asarray(np.exp(model.predict([_linear(row, back_ends, quants) for row in test])))


def boosted(train: Sequence[Row], test: Sequence[Row]) -> Array:
    """Gradient boosting on the log efficiency."""
    back_ends = sorted({row.back_end for row in train})
    model = GradientBoostingRegressor(n_estimators=200, learning_rate=0.05, max_depth=3, random_state=0)
    model.fit([_facts(row, back_ends) for row in train], [math.log(row.seconds / roofline_s(row)) for row in train])
    found = model.predict([_facts(row, back_ends) for row in test])
    return np.asarray([roofline_s(row) for row in test] * np.exp(found))


LINES: dict[str, Predictor] = {
    "roofline, efficiency 1": ideal,
    "roofline x the back end's median efficiency": median_efficiency,
    "log-linear": log_linear,
    "gradient boosting on the log efficiency": boosted,
}


def held_out_s(rows: Sequence[Row], predictor: Predictor) -> Array:
    """Every row predicted with its machine left out."""
    found = np.empty(len(rows))
    names = np.array([row.machine_name for row in rows])
    for name in sorted(set(names)):
        train = [row for row in rows if row.machine_name != name]
        found[names == name] = predictor(train, [row for row in rows if row.machine_name == name])
    return found


def is_one_recent_model(row: Row) -> bool:
    """The easiest line of the table: one model, one type, the same benchmark, recent GPUs with CUDA only."""
    same = row.model_name == "Llama-2-7B" and row.quant == "Q4_0" and "15013" in row.source
    return same and row.machine is not None and row.machine.family in RECENT


def _linear(row: Row, back_ends: Sequence[str], quants: Sequence[str]) -> list[float]:
    bandwidth, amount, fp32 = _logs(row)
    kinds = [float(row.back_end == name) for name in back_ends] + [float(row.quant == name) for name in quants]
    return [bandwidth, amount, fp32, bandwidth * amount, *kinds]


def _facts(row: Row, back_ends: Sequence[str]) -> list[float]:
    assert row.file is not None
    assert row.machine is not None
    compute = math.log(row.machine.compute_flop_per_s or 1.0)
    kinds = [float(row.back_end == name) for name in back_ends]
    build = [row.build_year, float(row.work.flash_attention), float("(main)" in row.engine)]
    return [*_logs(row), compute, float(row.work.prompt_tokens), *shares(row.file).values(), *kinds, *build]


def _logs(row: Row) -> tuple[float, float, float]:
    """Natural logarithms of bandwidth, of a token's bytes or a prompt's FLOP, of the FP32 rate; about 0."""
    assert row.machine is not None
    rate = row.machine.compute_flop_per_s if row.phase == "prefill" else row.machine.bandwidth_bytes_per_s
    amount = roofline_s(row) * (rate or 1.0)
    return (
        math.log(row.machine.bandwidth_bytes_per_s / 5e11),
        math.log(amount / (7e12 if row.phase == "prefill" else 5e9)),
        math.log((row.machine.fp32_flop_per_s or 2e13) / 2e13),
    )
