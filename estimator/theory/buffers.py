"""The engine's working buffers beside weights and cache: for activations, and for the logits.

The laws were found by dry runs of xllamacpp 2026.10.11549 (llama.cpp of late 2026) on CPU over the
catalogue and a few hundred random shapes; tests/estimator/test_engine.py repeats a grid of them.
"Elements" are 4-byte floats for one row (token) of a micro-batch.
"""

from __future__ import annotations

from estimator.specs import Model, Workload
from estimator.theory.columns import larger, smaller
from estimator.theory.kv_cache import cells_per_sequence, windowed_cells_per_sequence

_FLOAT_BYTES = 4
_LIVE_HIDDEN = 5
_LIVE_FFN = 3
_INDEX_BYTES_PER_TOKEN = 36


def output_buffer_bytes(model: Model, work: Workload) -> int:
    """4 x vocabulary x sequences: one row of logits each (n_outputs_max = n_parallel). Source: llama-context.cpp."""
    return _FLOAT_BYTES * model.vocabulary * work.concurrency


def compute_buffer_bytes(model: Model, work: Workload, rows: int | None = None) -> int:
    """4·n·max(live·hidden + feed-forward, live·hidden + attention, 5·hidden + logits / n) + masks + indices, in bytes.

    n             `rows`, else those of a micro-batch (`micro_batch_rows`)
    live          5: token embeddings as input and as gathered, residual, norm, projection (see `_live_hidden`)
    feed-forward  3·ffn (up, gate, their product); of experts see `feed_forward_elements`
    attention     queries, and without flash attention cells·heads scores; see `attention_elements`
    logits        sequences·vocabulary
    masks         Σ caches: n·cells x (2 with flash attention, 4 without); two caches with a sliding window
    indices       Σ caches: 36·n, and without flash attention 8·n·kv_heads·key_length (transposed V; none with MLA)

    Within 0.02 MiB for nearly every catalogue model, with and without flash attention; MLA without flash
    attention is up to 2 MiB over. Odd shapes (a feed-forward narrower than `hidden`) err by some MiB, mostly to
    the safe side: there the allocator fills holes. A quantised cache adds < 1 MiB (rotation matrices), left out.
    Source: dry runs.
    """
    rows = micro_batch_rows(work) if rows is None else rows
    feed_forward, attention = (live * model.hidden for live in _live_hidden(model))
    layer = rows * larger(
        feed_forward + feed_forward_elements(model),
        attention + attention_elements(model, work),
    )
    widest = larger(layer, rows * _LIVE_HIDDEN * model.hidden + work.concurrency * model.vocabulary)
    return _FLOAT_BYTES * widest + _mask_and_index_bytes(model, work, rows)


def feed_forward_elements(model: Model) -> int:
    """The widest feed-forward: dense 3·ffn, without a gate (Falcon) ffn; a mixture of experts, k used:

    3·k·expert_ffn (up, gate, their product), or 2·k·hidden + hidden (what the experts give, weighted, added up),
    or hidden + 3·shared_ffn (the experts' sum waits while the shared expert works). Source: dry runs.
    """
    dense = model.ffn if model.architecture == "falcon" else _LIVE_FFN * model.ffn
    mixture = larger(
        _LIVE_FFN * model.experts_used * model.expert_ffn,
        (2 * model.experts_used + 1) * model.hidden,
        model.hidden + _LIVE_FFN * model.shared_ffn,
    )
    return larger(dense * (model.expert_layers < model.layers), mixture * (model.expert_layers > 0))


def device_compute_bytes(model: Model, work: Workload, rows: int | None = None) -> int:
    """max(compute buffer, 4·n·(vocabulary + 2·hidden) + 4·n): what a GPU's buffer may take, in bytes.

    Engines before late 2026 plan the logits of all n rows of a micro-batch, which a large vocabulary makes the
    largest part. The larger of both, so that a "yes" holds for either. Of 68 buffers of dense models on GPUs in
    published logs 59 are at most this, all 53 of llama.cpp itself among them; of a fork's other nine six are up to
    105 MiB larger, which the half GiB set aside for the driver covers, and three (253 B and 32 B) up to 2.2 GiB,
    one of which (32 B) is to 0.1 % the head that lay on the host and was copied (`split.streamed_bytes`).
    Latent attention (MLA) takes far more in such logs and is not described. Source: formula family 3 (O).
    """
    rows = micro_batch_rows(work) if rows is None else rows
    logits = _FLOAT_BYTES * rows * (model.vocabulary + 2 * model.hidden + 1)
    return larger(compute_buffer_bytes(model, work, rows), logits)


def pipeline_bytes(model: Model, work: Workload, rows: int | None = None) -> int:
    """What several GPUs that have whole layers add to the compute buffer of each: 3 masks + 4 x 4·n·hidden, in bytes.

    The engine keeps four copies of a micro-batch's inputs, so that one GPU can begin before the next has ended. 80 MiB
    of Llama 3 8B at 8,192 cells without flash attention, as published logs of 2, 4 and 6 GPUs show. Source:
    ggml-backend.cpp (GGML_SCHED_MAX_COPIES).
    """
    rows = micro_batch_rows(work) if rows is None else rows
    return 3 * _mask_and_index_bytes(model, work, rows) + 4 * _FLOAT_BYTES * rows * model.hidden


def micro_batch_rows(work: Workload) -> int:
    """min(ubatch, context x sequences), rounded up to a multiple of sequences. Source: llama-context.cpp."""
    rows = smaller(work.ubatch_tokens, work.room_tokens * work.concurrency)
    return -(-rows // work.concurrency) * work.concurrency


def most_rows(work: Workload) -> int:
    """min(ubatch, context x sequences) + sequences - 1: no less than a micro-batch's rows, however they are rounded.

    Unlike these it never falls when a sequence more is asked for, so that bounds grow with concurrency.
    """
    return smaller(work.ubatch_tokens, work.room_tokens * work.concurrency) + work.concurrency - 1


def attention_elements(model: Model, work: Workload) -> int:
    """queries = heads x key_length; twice that where it exceeds `hidden`, none for the fused QKV of phi3.

    With latent attention: heads x (query, its absorbed part of kv_lora_rank, its rotated part, both joined).
    Without flash attention also the scores, cells x heads. Source: dry runs, deepseek2.cpp.
    """
    scores = 0 if work.flash_attention else cells_per_sequence(work) * model.heads
    if model.kv_lora_rank:
        return scores + model.heads * (model.key_length + 2 * (model.kv_lora_rank + model.rotated))
    queries = model.heads * model.key_length
    copies = 0 if model.architecture == "phi3" else 1 + (queries > model.hidden)
    return scores + copies * queries


def _live_hidden(model: Model) -> tuple[int, int]:
    """Rows of `hidden` that live beside the feed-forward and beside attention. Where both read one norm, it stays."""
    if model.architecture == "falcon":
        return 6 - (model.kv_heads > 1), 4
    return (6, 4) if model.architecture == "cohere2" else (_LIVE_HIDDEN, _LIVE_HIDDEN)


def _mask_and_index_bytes(model: Model, work: Workload, rows: int) -> int:
    cells = [cells_per_sequence(work)]
    if model.sliding_window_tokens is not None:
        cells.append(windowed_cells_per_sequence(model, work))
    if work.flash_attention:
        return rows * (2 * sum(cells) + _INDEX_BYTES_PER_TOKEN * len(cells))
    transposed = 0 if model.kv_lora_rank else 8 * model.kv_heads * model.key_length
    return rows * (4 * sum(cells) + (transposed + _INDEX_BYTES_PER_TOKEN) * len(cells))
