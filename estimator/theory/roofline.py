"""The time that physics allows: per phase the larger of the compute and the memory bound, efficiency 1.

Formula families 4 (prefill) and 5 (decode). Real engines are slower by factors that calibration finds;
nothing here is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

from estimator.specs import Model, ModelFile, Workload
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
    if windowed:
        cells += windowed * windowed_positions(model, batch_tokens, past_tokens)
    return cells


def attention_flop(model: Model, batch_tokens: int, past_tokens: int) -> int:
    """2 x heads x (key + value length) x positions attended: scores, and their product with the values.

    Without windows, and with equal lengths (`attention_lengths`), it is 4·layers·heads·head_dim·(P·T + T(T+1)/2).
    """
    return 2 * model.heads * sum(attention_lengths(model)) * attended_cells(model, batch_tokens, past_tokens)


@dataclass(frozen=True, slots=True)
class Pass:
    """One micro-batch of a prefill, as far as the model's shape decides it (not its weight types).

    `attention_flop` and `cells` (positions of all layers whose keys and values the pass reads) are amounts of it alone.
    """

    batch_tokens: int
    attention_flop: int
    cells: int


def prefill_passes(model: Model, prompt_tokens: int, depth_tokens: int, ubatch_tokens: int) -> tuple[Pass, ...]:
    """The micro-batches of a prompt after `depth_tokens`; each reads the cache up to its own end."""
    found = []
    for done in range(0, prompt_tokens, ubatch_tokens):
        batch, past = min(ubatch_tokens, prompt_tokens - done), depth_tokens + done
        cells = attended_cells(model, 1, past + batch - 1)
        found.append(Pass(batch, attention_flop(model, batch, past), cells))
    return tuple(found)


def prefill_time_s(file: ModelFile, work: Workload, bandwidth_bytes_per_s: float, compute_flop_per_s: float) -> float:
    """Σ over micro-batches: max(FLOP / compute, bytes / bandwidth), in seconds, for one prompt.

    FLOP   2·N_matrix a token + attention (over depth and prompt), 2·N_head with the last micro-batch
    bytes  matrices and touched experts + KV cache up to its end; the head once, with the last
    """
    passes = prefill_passes(file.model, work.prompt_tokens, work.depth_tokens, work.ubatch_tokens)
    matrix_flop, head_flop, head_bytes = matrix_flop_per_token(file), head_flop_per_token(file), head_read_bytes(file)
    cell_bytes = kv_bytes_per_cell(file.model, work.kv_type)
    weights = {rows: bytes_read_per_step(file, rows) - head_bytes for rows in {one.batch_tokens for one in passes}}
    total = 0.0
    for index, one in enumerate(passes):
        flop = matrix_flop * one.batch_tokens + one.attention_flop
        read = weights[one.batch_tokens] + one.cells * cell_bytes
        if index == len(passes) - 1:
            flop, read = flop + head_flop, read + head_bytes
        total += max(flop / compute_flop_per_s, read / bandwidth_bytes_per_s)
    return total


def mean_context_tokens(work: Workload) -> int:
    """Tokens in the cache at the middle step of the output: the bounds are linear in it up to a window."""
    return work.depth_tokens + work.prompt_tokens + 1 + max(0, work.output_tokens - 2) // 2


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
