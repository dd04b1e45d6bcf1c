"""The KV cache of llama.cpp and Ollama: how many cells it has and how many bytes they take."""

from __future__ import annotations

from estimator.errors import UnknownName
from estimator.quants import block_bytes, block_elements, bytes_per_element
from estimator.specs import Model, Workload
from estimator.theory.columns import smaller
from estimator.theory.terms import windowed_layers

CELLS_STEP = 256
KV_TYPES = ("F16", "Q8_0", "Q4_0")


def cells_per_sequence(work: Workload) -> int:
    """Cells of one sequence: its context rounded up to 256. Source: llama-context.cpp (n_ctx_seq)."""
    return _padded(work.room_tokens)


def windowed_cells_per_sequence(model: Model, work: Workload) -> int:
    """Cells of one sequence in a sliding-window layer: min(cells, pad256(window + micro-batch)).

    Source: llama-kv-cache-iswa.cpp, with one stream a sequence (kv_unified off).
    """
    cells = cells_per_sequence(work)
    if model.sliding_window_tokens is None:
        return cells
    return smaller(cells, _padded(model.sliding_window_tokens + work.ubatch_tokens))


def kv_bytes_per_cell(model: Model, kv_type: str = "F16") -> float:
    """Bytes of one position in one layer: elements (`kv_elements_per_cell`) x bytes per element.

    q8_0 is 34/32 and q4_0 18/32 byte an element. Raises UnknownName for a type that no cache can have.
    """
    _require_type(kv_type)
    return kv_elements_per_cell(model) * bytes_per_element(kv_type)


def kv_elements_per_cell(model: Model) -> int:
    """Elements of one position in one layer: kv_heads x (key_length + value_length).

    With multi-head latent attention one latent serves all heads, and its first part is the value as well:
    kv_lora_rank + rope_length. Source: llama-kv-cache.cpp, deepseek2.cpp (MLA as MQA).
    """
    if model.kv_lora_rank:
        return model.kv_lora_rank + model.rotated
    return model.kv_heads * (model.key_length + model.value_length)


def kv_cache_bytes(model: Model, work: Workload) -> int:
    """Σ layers: bytes of a cell (see `kv_bytes_per_cell`) x cells, for all sequences; windowed layers have fewer.

    Exact for xllamacpp's dry run over the test grid. Source: llama-kv-cache.cpp.
    """
    windowed = windowed_layers(model)
    cells = (model.layers - windowed) * cells_per_sequence(work) + windowed * windowed_cells_per_sequence(model, work)
    return bytes_of_cells(model, work, cells)


def bytes_of_cells(model: Model, work: Workload, cells: int) -> int:
    """Bytes of so many cells of one layer, for all sequences: elements / elements of a block x bytes of a block.

    Cells come in multiples of 256, so that blocks are whole.
    """
    _require_type(work.kv_type)
    blocks = work.concurrency * cells * kv_elements_per_cell(model) // block_elements(work.kv_type)
    return blocks * block_bytes(work.kv_type)


def _require_type(kv_type: str) -> None:
    if kv_type not in KV_TYPES:
        raise UnknownName(f"no KV cache of type {kv_type!r}: choose one of {', '.join(KV_TYPES)}")


def _padded(tokens: int) -> int:
    return -(-tokens // CELLS_STEP) * CELLS_STEP
