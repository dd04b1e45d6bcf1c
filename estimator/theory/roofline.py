"""The time that physics allows: per phase the larger of the compute and the memory bound, efficiency 1.

Formula families 4 (prefill) and 5 (decode). Real engines are slower by factors that calibration finds;
nothing here is fitted.
"""

from __future__ import annotations

from estimator.specs import Model, ModelFile, Workload
from estimator.theory.columns import larger
from estimator.theory.kv_cache import kv_bytes_per_cell
from estimator.theory.terms import attended_positions, attention_lengths, windowed_layers, windowed_positions
from estimator.theory.weights import (
    bytes_read_per_step,
    head_flop_per_token,
    head_read_bytes,
    matrix_flop_per_token,
)


def attended_cells(model: Model, batch_tokens: int, past_tokens: int) -> int:
    """Σ layers, Σ new tokens: positions that each attends to (within the window where a layer has one)."""
    windowed = windowed_layers(model)
    cells = (model.layers - windowed) * attended_positions(batch_tokens, past_tokens)
    if model.sliding_window_tokens is not None:
        cells = cells + windowed * windowed_positions(model, batch_tokens, past_tokens)
    return cells


def attention_flop(model: Model, batch_tokens: int, past_tokens: int) -> int:
    """2 x heads x (key + value length) x positions attended: scores, and their product with the values.

    Without windows, and with equal lengths (`attention_lengths`), it is 4·layers·heads·head_dim·(P·T + T(T+1)/2).
    """
    return 2 * model.heads * sum(attention_lengths(model)) * attended_cells(model, batch_tokens, past_tokens)


def micro_batches(prompt_tokens: int, depth_tokens: int, ubatch_tokens: int) -> list[tuple[int, int]]:
    """(new tokens, tokens in the cache before them) of each micro-batch of a prompt after `depth_tokens`.

    >>> micro_batches(1200, 100, 512)
    [(512, 100), (512, 612), (176, 1124)]
    """
    starts = range(0, prompt_tokens, ubatch_tokens)
    return [(min(ubatch_tokens, prompt_tokens - done), depth_tokens + done) for done in starts]


def pass_flop(file: ModelFile, batch_tokens: int, past_tokens: int) -> int:
    """FLOP of one micro-batch: 2·N_matrix a token + attention; without the head, which only the last one has."""
    return matrix_flop_per_token(file) * batch_tokens + attention_flop(file.model, batch_tokens, past_tokens)


def pass_bytes(file: ModelFile, batch_tokens: int, past_tokens: int, kv_type: str) -> float:
    """Bytes that one micro-batch reads: matrices, touched experts, KV cache up to its end; without the head."""
    cells = attended_cells(file.model, 1, past_tokens + batch_tokens - 1)
    weights = bytes_read_per_step(file, batch_tokens) - head_read_bytes(file)
    return weights + cells * kv_bytes_per_cell(file.model, kv_type)


def prefill_time_s(file: ModelFile, work: Workload, bandwidth_bytes_per_s: float, compute_flop_per_s: float) -> float:
    """Σ over micro-batches: max(FLOP / compute, bytes / bandwidth), in seconds, for one prompt.

    See `pass_flop` and `pass_bytes`; the last one has the head besides: 2·N_head for one token, and its bytes.
    """
    total, (*others, last) = 0.0, micro_batches(work.prompt_tokens, work.depth_tokens, work.ubatch_tokens)
    for batch, past in others:
        read, flop = pass_bytes(file, batch, past, work.kv_type), pass_flop(file, batch, past)
        total += max(flop / compute_flop_per_s, read / bandwidth_bytes_per_s)
    read = pass_bytes(file, *last, work.kv_type) + head_read_bytes(file)
    flop = pass_flop(file, *last) + head_flop_per_token(file)
    return total + max(flop / compute_flop_per_s, read / bandwidth_bytes_per_s)


def mean_context_tokens(work: Workload) -> int:
    """Tokens in the cache at the middle step of the output: the bounds are linear in it up to a window."""
    return work.depth_tokens + work.prompt_tokens + 1 + larger(0, work.output_tokens - 2) // 2


def decode_cache_bytes(model: Model, work: Workload, context_tokens: int) -> float:
    """Bytes of the KV cache that one decode step at `context_tokens` reads: concurrency x KV(context)."""
    cells = attended_cells(model, 1, context_tokens - 1)
    return work.concurrency * cells * kv_bytes_per_cell(model, work.kv_type)


def decode_bytes(file: ModelFile, work: Workload, context_tokens: int) -> float:
    """Bytes of one decode step at `context_tokens`: weights once (touched experts) + concurrency x KV(context)."""
    return bytes_read_per_step(file, work.concurrency) + decode_cache_bytes(file.model, work, context_tokens)


def decode_flop(file: ModelFile, work: Workload, context_tokens: int) -> int:
    """FLOP of one decode step at `context_tokens`: concurrency x (2·N_matrix + 2·N_head + attention)."""
    weights = matrix_flop_per_token(file) + head_flop_per_token(file)
    return work.concurrency * (weights + attention_flop(file.model, 1, context_tokens - 1))


def time_per_token_s(
    file: ModelFile, work: Workload, bandwidth_bytes_per_s: float, compute_flop_per_s: float | None
) -> float:
    """max(bytes / bandwidth, FLOP / compute) of a decode step, at the mean context of the output, in seconds.

    Both bounds are linear in the context up to a window, so the mean context stands for the mean step.
    Without a known compute rate only the memory bound counts: on one sequence it is the larger one.
    """
    context = mean_context_tokens(work)
    memory_s = decode_bytes(file, work, context) / bandwidth_bytes_per_s
    if compute_flop_per_s is None:
        return memory_s
    return max(memory_s, decode_flop(file, work, context) / compute_flop_per_s)
