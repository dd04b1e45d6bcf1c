"""The memory formulas against buffers that others logged: errors by source, and a reason for each outlier.

`python -m tests.benchmarks.published` reads results/reference/published_memory.csv. An outlier is off by more than 1 %
and by more than the log's two decimals; it is explained by the first reason below that holds for it, or left
unexplained and shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from estimator.tensors import MIXTURES
from estimator.theory.buffers import micro_batch_rows
from estimator.theory.kv_cache import KV_TYPES, kv_bytes_per_cell, kv_cache_bytes
from estimator.theory.weights import head_read_bytes
from tests.benchmarks.against import print_table, say
from tests.estimator.published import Logged, file_of, published

MIB = 2**20
_PRINTED_BYTES = {"model_bytes": 0.006 * 2**30}
_METRICS = {
    "model_bytes": "weights",
    "kv_bytes": "KV cache",
    "output_buffer_bytes": "output buffer",
    "compute_buffer_bytes": "compute buffer, first GPU",
}


@dataclass(frozen=True)
class Compared:
    """A row with the formulas' answer."""

    row: Logged
    predicted_bytes: int

    @property
    def error(self) -> float:
        return self.predicted_bytes / self.row.value_bytes - 1

    @property
    def is_outlier(self) -> bool:
        printed = _PRINTED_BYTES.get(self.row.metric, 0.011 * MIB)
        return abs(self.predicted_bytes - self.row.value_bytes) > max(printed, 0.01 * self.row.value_bytes)


def compared() -> Iterator[Compared]:
    """The rows that the formulas answer."""
    for row in published():
        predicted = row.predicted_bytes
        if predicted is not None:
            yield Compared(row, predicted)


def reason(found: Compared) -> str:
    """Why a row is off, as far as its own figures show it."""
    explain = {"model_bytes": _weights, "kv_bytes": _cache, "output_buffer_bytes": _output}
    return explain.get(found.row.metric, _compute)(found)


def _weights(_: Compared) -> str:
    return "a mixture of its maker's own, named by its bulk type"


def _cache(found: Compared) -> str:
    row = found.row
    model, work, value = row.model, row.work, row.value_bytes
    assert work is not None
    forms = {
        "keys and values": "keys and values unpacked: an engine or setting without latent attention",
        "latent and transposed": "the latent twice, once transposed: a setting of the fork",
    }
    if model.kv_lora_rank and row.cache_form in forms:
        return forms[row.cache_form]
    if model.sliding_window_tokens and _near(kv_cache_bytes(replace(model, sliding_window_tokens=None), work), value):
        return "whole cells in layers with a window: engines before mid-2025, and the fork"
    if _of_two_types(found):
        return "keys and values of two types"
    if _near(kv_cache_bytes(model, work) * (model.layers + 1) / model.layers, value, 0.0001):
        return "a cache of one layer more: another model in the same log"
    per_cell = model.layers * kv_bytes_per_cell(model, work.kv_type)
    cells = value / per_cell
    if abs(cells / 32 - round(cells / 32)) < 0.02:
        return "a whole number of cells, but of another context than the log's nearest line says"
    return "unexplained"


def _output(found: Compared) -> str:
    rows = found.row.value_bytes / (4 * found.row.model.vocabulary)
    if abs(rows - round(rows)) < 0.03:
        return "logits of 2, 4 or 8 sequences, which the log does not tell"
    return "a vocabulary of another model in the same log" if rows < 8 else "unexplained"


def _compute(found: Compared) -> str:
    row = found.row
    model, work = row.model, row.work
    assert work is not None
    inputs = 4 * micro_batch_rows(work) * model.hidden
    if model.kv_lora_rank:
        return "latent attention on a GPU: not described (such a fit is never a yes)"
    if model.experts:
        return "experts left on the CPU by hand: copied to the GPU, or without its feed-forward"
    if found.error > 0:
        return "logits of all rows are counted, which this build did not plan"
    if row.quant in MIXTURES and _near(_logits_bytes(row) + head_read_bytes(file_of(row)), row.value_bytes, 0.001):
        return "the head is on the host and copied over: counted where --gpu-layers says so"
    if (row.devices or 1) > 1 or _near(found.predicted_bytes + 5 * inputs, row.value_bytes, 0.001):
        return "copies of inputs for a pipeline of GPUs: counted where there are several"
    return "unexplained"


def _logits_bytes(row: Logged) -> int:
    rows = micro_batch_rows(row.work) if row.work else 0
    return 4 * rows * (row.model.vocabulary + 2 * row.model.hidden + 1)


def _of_two_types(found: Compared) -> bool:
    model, work = found.row.model, found.row.work
    assert work is not None
    each = {kind: kv_cache_bytes(model, replace(work, kv_type=kind)) / 2 for kind in KV_TYPES}
    return any(_near(each[one] + each[other], found.row.value_bytes, 0.002) for one in each for other in each)


def _near(predicted: float, value: float, share: float = 0.01) -> bool:
    return abs(predicted - value) <= share * value


def main() -> None:
    """Prints errors by source, then the outliers by their reasons."""
    groups: defaultdict[tuple[str, str], list[Compared]] = defaultdict(list)
    for found in compared():
        groups[found.row.engine, _METRICS[found.row.metric]].append(found)
    rows = []
    worst: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    for (engine, metric), members in groups.items():
        errors = sorted(abs(member.error) for member in members)
        outliers = [member for member in members if member.is_outlier]
        for member in outliers:
            worst[engine, metric, reason(member)].append(member.error)
        inside = str(len(members) - len(outliers))
        rows.append([engine, metric, str(len(members)), inside, f"{median(errors):.2%}", str(len(outliers))])
    say("Formulas against published logs")
    print_table(("source", "what", "n", "within 1 % or its decimals", "median error", "outliers"), rows)
    say("\nOutliers (error = formula / log - 1)")
    told = [
        [*key, str(len(found)), f"{min(found):+.0%} .. {max(found):+.0%}"]
        for key, found in sorted(worst.items(), key=lambda item: -len(item[1]))
    ]
    print_table(("source", "what", "reason", "n", "errors"), told)
    for found in compared():
        if found.is_outlier and reason(found) == "unexplained":
            row = found.row
            say(f"unexplained: {row.model.name} {row.metric} {row.value_bytes} {found.error:+.1%} {row.source_url}")


if __name__ == "__main__":
    main()
