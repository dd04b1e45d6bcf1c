"""The engine's working buffers beside weights and cache: for activations, and for the logits.

The laws were found by dry runs of xllamacpp 2026.10.11549 (llama.cpp of late 2026) on CPU over the
catalogue and a few hundred random shapes; tests/estimator/test_engine.py repeats a grid of them.
"""

from __future__ import annotations

from estimator.specs import Model, Workload
from estimator.theory.kv_cache import cells_per_sequence, windowed_cells_per_sequence

_FLOAT_BYTES = 4
_LIVE_HIDDEN = 5
_LIVE_FFN = 3
_INDEX_BYTES_PER_TOKEN = 36


def output_buffer_bytes(model: Model, work: Workload) -> int:
    """4 x vocabulary x sequences: one row of logits each (n_outputs_max = n_parallel). Source: llama-context.cpp."""
    return _FLOAT_BYTES * model.vocabulary * work.concurrency


def compute_buffer_bytes(model: Model, work: Workload) -> int:
    """4·n·5·hidden + max(feed-forward, attention, logits) + masks + indices, in bytes.

    n             rows of a micro-batch: min(ubatch, context x sequences), rounded up to a multiple of sequences
    5·hidden      token embeddings as input and as gathered, residual, norm, projection
    feed-forward  4·n·3·ffn (up, gate, their product)
    attention     4·n·queries, queries = heads x key_length; twice that where it exceeds `hidden`, none for the
                  fused QKV of phi3; with flash attention off also the scores 4·n·cells·heads
    logits        4·sequences·vocabulary
    masks         Σ caches: n·cells x (2 with flash attention, 4 without); two caches with a sliding window
    indices       Σ caches: 36·n, and without flash attention 8·n·kv_heads·key_length (transposed V)

    Within 0.02 MiB for every catalogue model, with and without flash attention. Odd shapes (a feed-forward
    narrower than `hidden`) err by some MiB, mostly to the safe side: there the allocator fills holes.
    A quantised cache adds < 1 MiB (rotation matrices), left out. Source: dry runs.
    """
    rows = micro_batch_rows(work)
    widest = max(
        _FLOAT_BYTES * rows * _LIVE_FFN * model.ffn,
        _FLOAT_BYTES * rows * _attention_elements_per_row(model, work),
        _FLOAT_BYTES * work.concurrency * model.vocabulary,
    )
    return _FLOAT_BYTES * rows * _LIVE_HIDDEN * model.hidden + widest + _mask_and_index_bytes(model, work, rows)


def device_compute_bytes(model: Model, work: Workload) -> int:
    """max(compute buffer, 4·n·(vocabulary + 2·hidden) + 4·n): what a GPU's buffer may take, in bytes.

    Engines before late 2026 plan the logits of all n rows of a micro-batch, which a large vocabulary makes the
    largest part. The larger of both, so that a "yes" holds for either. Of 68 buffers of dense models on GPUs in
    published logs 59 are at most this, all 53 of llama.cpp itself among them; of a fork's other nine six are up to
    105 MiB larger, which the half GiB set aside for the driver covers, and three (253 B and 32 B) up to 2.2 GiB.
    Latent attention (MLA) takes far more in such logs and is not described. Source: formula family 3 (O).
    """
    rows = micro_batch_rows(work)
    logits = _FLOAT_BYTES * rows * (model.vocabulary + 2 * model.hidden + 1)
    return max(compute_buffer_bytes(model, work), logits)


def micro_batch_rows(work: Workload) -> int:
    """min(ubatch, context x sequences), rounded up to a multiple of sequences. Source: llama-context.cpp."""
    context = work.context_tokens or work.longest_tokens
    rows = min(work.ubatch_tokens, context * work.concurrency)
    return -(-rows // work.concurrency) * work.concurrency


def _attention_elements_per_row(model: Model, work: Workload) -> int:
    queries = model.heads * model.key_length
    copies = 0 if model.architecture == "phi3" else 2 if queries > model.hidden else 1
    scores = 0 if work.flash_attention else cells_per_sequence(work) * model.heads
    return scores + copies * queries


def _mask_and_index_bytes(model: Model, work: Workload, rows: int) -> int:
    cells = [cells_per_sequence(work)]
    if model.sliding_window_tokens is not None:
        cells.append(windowed_cells_per_sequence(model, work))
    if work.flash_attention:
        return rows * (2 * sum(cells) + _INDEX_BYTES_PER_TOKEN * len(cells))
    transposed = 8 * model.kv_heads * model.key_length + _INDEX_BYTES_PER_TOKEN
    return rows * (4 * sum(cells) + transposed * len(cells))
