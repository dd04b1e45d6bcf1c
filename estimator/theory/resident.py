"""What of an engine's memory is really resident: buffers are planned for the worst case and touched in part.

The laws were found by reading the page maps of xllamacpp 2026.10.11549 (llama.cpp of late 2026, glibc) serving
models of two layers with real widths: which pages of each mapping were present after prompts of 28 and 512 tokens.
"""

from __future__ import annotations

from estimator.specs import Model, Workload
from estimator.theory.buffers import compute_buffer_bytes, micro_batch_rows, output_buffer_bytes
from estimator.theory.columns import larger
from estimator.theory.kv_cache import kv_cache_bytes

_FLOAT_BYTES = 4
_CANDIDATE_BYTES = 12
_QUANTISED_ROW_BYTES = 34 / 32
_TOKEN_STRING_BYTES = 32
# A cache of up to 41 bytes an entry was seen in the heap, one of 48 in a mapping of its own.
_HEAP_BYTES_PER_ENTRY = 45


def touched_compute_bytes(model: Model, work: Workload) -> int:
    """The compute buffer less 8·n·hidden, and the logits, which lie apart until 4·n·hidden covers them; in bytes.

    Of the buffer's five rows of `hidden` two are never written: embeddings given as input (text comes as tokens),
    and one hole of the allocator's plan. n: rows of the micro-batch. The mask, 2·n·cells, counts whole, though it is
    touched only as far as the cache fills up. Source: page maps; apart from the mask within 0.02 MiB of TinyLlama,
    Llama 3.2 1B, Qwen2.5 0.5B and Mistral 7B at 512 rows, within 0.3 MiB at 28.
    """
    row = _FLOAT_BYTES * micro_batch_rows(work) * model.hidden
    logits = larger(0, output_buffer_bytes(model, work) - row)
    return compute_buffer_bytes(model, work) - 2 * row + logits


def scratch_bytes(model: Model, work: Workload) -> float:
    """n x widest x 34/32: the widest input of a matrix product, in blocks of Q8_0 (34 bytes for 32 elements).

    A token's experts are one product: k·expert_ffn (by the source; page maps of such models were not read).

    Source: ggml_graph_plan's work size; page maps (2.93 MiB for TinyLlama at 512 rows). Products with k-quants
    take 292/256 instead, 7 % more, which is left out.
    """
    dense = model.ffn * (model.expert_layers < model.layers)
    widest = larger(dense, model.hidden, model.heads * model.key_length, model.experts_used * model.expert_ffn)
    return micro_batch_rows(work) * widest * _QUANTISED_ROW_BYTES


def candidate_bytes(model: Model) -> int:
    """12 x vocabulary: what one sequence's sampler chooses from. Source: sizeof(llama_token_data); page maps."""
    return _CANDIDATE_BYTES * model.vocabulary


def reused_heap_bytes(model: Model, work: Workload) -> float:
    """Bytes of later allocations that lie in room which the loader freed, so that they add nothing.

    The list of tokens in the file's header (a std::string of 32 bytes each) is freed after loading; glibc keeps the
    room at the end of its heap. The cache comes first, if it is small enough for the heap at all (glibc maps blocks
    apart that are larger than any it has unmapped before: here about 45 bytes x vocabulary), and grows over the end;
    then, each as a whole if it still fits, the output buffer, each sequence's candidates, the scratch. Source:
    measured at 128,256 and 151,936 entries with caches of 2 to 8 MiB, whose resident part fell and rose as this
    says, to 0.4 MiB (where the compute buffer is as small as that, it takes the room too: no real model has one).
    """
    cache = kv_cache_bytes(model, work)
    total = float(_TOKEN_STRING_BYTES * model.vocabulary)
    free = total - min(total, cache) if cache < _HEAP_BYTES_PER_ENTRY * model.vocabulary else total
    candidates = [candidate_bytes(model)] * work.concurrency
    for size in (output_buffer_bytes(model, work), *candidates, scratch_bytes(model, work)):
        if size <= free:
            free -= size
    return total - free
