"""Model files of which only names and sizes are known: as published tables and benchmarks of llama.cpp state them."""

from __future__ import annotations

from dataclasses import replace

from estimator.specs import Model, ModelFile
from estimator.tensors import MIXTURES, model_file

# Names of sources -> the mixture of the engine.
_OTHER = {"MXFP4": "MXFP4_MOE"}


def file_by_name(model: Model, quant: str, file_bytes: float | None) -> ModelFile | None:
    """The file by the mixture's rules where they are known, else by its size: head as in Q4_0, one type.

    None for another mixture of unknown size.
    """
    mixture = _OTHER.get(quant, quant)
    if mixture in MIXTURES:
        return model_file(model, mixture)
    if not file_bytes:
        return None
    plain = model_file(model, "Q4_0")
    kept = [group for group in plain.groups if group.role in ("head", "vector")]
    rest = [group for group in plain.groups if group.role not in ("head", "vector")]
    room = file_bytes - sum(group.size_bytes for group in kept)
    elements = sum(group.elements for group in rest)
    kind = block_type(quant)
    typed = [replace(g, quant_type=kind, size_bytes=round(room * g.elements / elements)) for g in rest]
    return ModelFile(model, quant, (*kept, *typed))


def block_type(quant: str) -> str:
    """The block type of most tensors: Q3_K_L -> Q3_K."""
    return quant.rsplit("_", 1)[0] if quant.startswith("Q") and "_K_" in quant else quant
