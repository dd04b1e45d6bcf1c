"""The physics gate of published measurements: what cannot be true, or cannot be placed, is left out by name.

Each rule is a function of a row (and of all rows, where a row must agree with others) that returns the reason, or "".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from calibration.published.rows import Row
from estimator.reference.amounts import weight_class
from estimator.theory.kv_cache import kv_cache_bytes
from estimator.theory.terms import decode_terms, prefill_terms
from estimator.theory.weights import multiplied_groups

# Peak figures of Apple parts are community clocks; others are exact, but boost clocks can be exceeded a little.
_RATE_TOLERANCE = 1.1
# Without matrix units quantised products may run on 8-bit integers, four for one FP32 operation (dp4a).
_INT8_FACTOR = 4.0
# What Metal recommends as the largest working set is two thirds of a small memory.
_METAL_SHARE = 2 / 3
# The F16 file's prefill needs no unpacking: below half of the same model quantised something else was measured.
_CONTRADICTION = 0.5
_LEAST_THREADS = 4
IMPOSSIBLE = ("reads faster than its memory", "computes faster than its arithmetic units")
CONTRADICTED = "F16 prefill below half of the quantised one on the same machine"
SWAPPED = "larger than what Metal may use of its memory: it swaps"


@dataclass(frozen=True, slots=True)
class Gated:
    """`kept` are dense models, `mixtures` of experts those that only a test uses; `left_out` says what and why."""

    kept: list[Row]
    mixtures: list[Row]
    left_out: list[tuple[Row, str]]

    def reasons(self) -> dict[str, int]:
        """How many rows each reason cost, the most frequent first."""
        return dict(Counter(reason for _, reason in self.left_out).most_common())

    @property
    def impossible(self) -> list[tuple[Row, str]]:
        """Rows that cannot be true, or that others of their source contradict."""
        return [(row, reason) for row, reason in self.left_out if reason in (*IMPOSSIBLE, CONTRADICTED, SWAPPED)]


def gated(rows: Sequence[Row]) -> Gated:
    """The rows that can be placed and can be true, the others with their reasons."""
    best = _best_quantised(rows)
    found = Gated([], [], [])
    for row in rows:
        reason = _unplaceable(row) or _impossible(row) or _contradictory(row, best) or _swapping(row)
        if reason:
            found.left_out.append((row, reason))
        elif row.file and row.file.model.experts:
            found.mixtures.append(row)
        else:
            found.kept.append(row)
    return found


def _unplaceable(row: Row) -> str:
    rules = (
        ("ik_llama" in row.engine, "another engine (a fork with kernels of its own)"),
        (row.quant == "4bit", "MLX weights, no GGUF file"),
        (row.file is None, "a model whose shape is in no catalogue, or is not stated"),
        ("unknown" in row.machine_name, "one of several machines, the source does not say which"),
        (row.machine is None, "a machine whose figures are not known"),
    )
    for applies, reason in rules:
        if applies:
            return reason
    if row.back_end == "CPU":
        return _unplaceable_on_cpu(row)
    known = row.machine is not None and row.machine.fp32_flop_per_s
    return "" if known else "a machine whose FP32 rate nobody has published"


def _unplaceable_on_cpu(row: Row) -> str:
    if row.phase == "prefill":
        return "prefill on a CPU whose FP32 rate is not stated"
    if row.threads is not None and row.threads < _LEAST_THREADS:
        return f"fewer than {_LEAST_THREADS} threads: not the whole CPU"
    return ""


def _impossible(row: Row) -> str:
    """Beats the memory or the arithmetic that the data sheet states."""
    assert row.file is not None
    assert row.machine is not None
    if row.phase == "decode":
        terms = decode_terms(row.file, row.work)
        read = sum(amount for name, amount in terms.items() if name.startswith("weights."))
        return IMPOSSIBLE[0] if read / row.seconds > row.machine.bandwidth_bytes_per_s else ""
    flop = sum(amount for name, amount in prefill_terms(row.file, row.work).items() if name.startswith("matmul"))
    rate = (row.machine.compute_flop_per_s or 0.0) * _RATE_TOLERANCE
    if not row.machine.matrix_units and not _is_16bit(row):
        rate = max(rate, _INT8_FACTOR * (row.machine.fp32_flop_per_s or 0.0))
    return IMPOSSIBLE[1] if flop / row.seconds > rate else ""


def _is_16bit(row: Row) -> bool:
    assert row.file is not None
    return all(weight_class(group.quant_type) == "16bit" for group in multiplied_groups(row.file))


def _best_quantised(rows: Sequence[Row]) -> dict[tuple[str, str, str, int], float]:
    found: dict[tuple[str, str, str, int], float] = {}
    for row in rows:
        if row.phase == "prefill" and row.quant != "F16":
            found[_same(row)] = max(found.get(_same(row), 0.0), row.tokens_per_s)
    return found


def _same(row: Row) -> tuple[str, str, str, int]:
    return row.machine_name, row.back_end, row.model_name, row.work.prompt_tokens


def _contradictory(row: Row, best: dict[tuple[str, str, str, int], float]) -> str:
    """A prefill of the F16 file far below that of the same model quantised, on the same machine."""
    if row.phase != "prefill" or row.quant != "F16":
        return ""
    slow = row.tokens_per_s < _CONTRADICTION * best.get(_same(row), 0.0)
    return CONTRADICTED if slow else ""


def _swapping(row: Row) -> str:
    """Weights and cache beyond what the GPU may use of the memory that it shares: it was swapping."""
    if row.memory_bytes is None or row.file is None or row.back_end != "Metal":
        return ""
    needed = row.file.weight_bytes + kv_cache_bytes(row.file.model, row.work)
    return SWAPPED if needed > _METAL_SHARE * row.memory_bytes else ""
