"""Buffers that engines logged on other people's machines, as results/reference/published_memory.csv has them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from estimator.catalog import find_model
from estimator.specs import Model, ModelFile, Workload
from estimator.tensors import MIXTURES, model_file
from estimator.theory.buffers import device_compute_bytes, output_buffer_bytes
from estimator.theory.kv_cache import kv_cache_bytes

TABLE = Path(__file__).parents[2] / "results" / "reference" / "published_memory.csv"
# Llama 1, which no catalogue of today needs: heads of 128, keys and values for each.
_FIRST = {"llama:30b": (60, 6656, 52, 17_920), "llama:65b": (80, 8192, 64, 22_016)}


@dataclass(frozen=True)
class Logged:
    """One row: what an engine logged, with as much of its settings as the log told."""

    engine: str
    model: Model
    quant: str
    work: Workload | None
    devices: int | None
    cache_form: str
    buffer: str
    metric: str
    value_bytes: int
    source_url: str

    @property
    def predicted_bytes(self) -> int | None:
        """The formulas' answer; None where the log does not tell what they need."""
        if self.metric == "model_bytes":
            return model_file(self.model, self.quant).weight_bytes if self.quant in MIXTURES else None
        if self.metric == "output_buffer_bytes":
            return output_buffer_bytes(self.model, self.work or Workload(1, 1))
        if self.work is None:
            return None
        if self.metric == "kv_bytes":
            return kv_cache_bytes(self.model, self.work)
        if self.metric == "compute_buffer_bytes" and self.buffer.startswith(("CUDA0", "Metal", "Vulkan0")):
            return device_compute_bytes(self.model, self.work)
        return None


def published() -> Iterator[Logged]:
    """Every row of the table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Logged(
                engine=row["engine"],
                model=_model(row["model"]),
                quant=row["quant"],
                work=_work(row),
                devices=int(row["devices"]) if row["devices"] else None,
                cache_form=row["cache_form"],
                buffer=row["buffer"],
                metric=row["metric"],
                value_bytes=int(row["value_bytes"]),
                source_url=row["source_url"],
            )


def file_of(row: Logged) -> ModelFile:
    """The model file that was loaded; of Llama's types only those that can be built here."""
    return model_file(row.model, row.quant)


def _model(name: str) -> Model:
    if name not in _FIRST:
        return find_model(name)
    layers, hidden, heads, ffn = _FIRST[name]
    shape = {"layers": layers, "hidden": hidden, "heads": heads, "kv_heads": heads, "ffn": ffn}
    return replace(find_model("llama2:7b"), names=(name,), parameters=None, published_bytes=(), **shape)  # type: ignore[arg-type]


def _work(row: dict[str, str]) -> Workload | None:
    if not row["context_tokens"]:
        return None
    kinds = row["cache_types"].upper().split("/")
    return Workload(
        1,
        1,
        context_tokens=int(row["context_tokens"]),
        ubatch_tokens=int(row["ubatch_tokens"] or 512),
        flash_attention=row["flash_attention"] not in ("", "0"),
        kv_type=kinds[0] if kinds[0] in ("F16", "Q8_0", "Q4_0") else "F16",
    )
