"""The time that physics allows: per phase the larger of the compute and the memory bound, efficiency 1.

Formula families 4 (prefill) and 5 (decode). Real engines are slower by factors that calibration finds;
nothing here is fitted.
"""

from __future__ import annotations

from estimator.specs import Model, ModelFile, Workload
from estimator.theory.kv_cache import kv_bytes_per_cell
from estimator.theory.terms import attended_positions, attention_lengths, windowed_layers, windowed_positions
from estimator.theory.weights import bytes_read_per_step, head_flop_per_token, matrix_flop_per_token


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


def prefill_flop(file: ModelFile, work: Workload) -> int:
    """FLOP of one prompt: 2·N_matrix·T + 2·N_head (last token only) + attention over depth and prompt."""
    return (
        matrix_flop_per_token(file) * work.prompt_tokens
        + head_flop_per_token(file)
        + attention_flop(file.model, work.prompt_tokens, work.depth_tokens)
    )


def prefill_time_s(file: ModelFile, work: Workload, bandwidth_bytes_per_s: float, compute_flop_per_s: float) -> float:
    """Σ over micro-batches: max(FLOP / compute, bytes / bandwidth), in seconds, for one prompt.

    bytes of a micro-batch = matrices and touched experts + KV cache up to its end; the head once, with the last.
    """
    model, total, done = file.model, 0.0, 0
    cell_bytes = kv_bytes_per_cell(model, work.kv_type)
    head_bytes = sum(group.size_bytes for group in file.groups if group.role == "head")
    while done < work.prompt_tokens:
        batch = min(work.ubatch_tokens, work.prompt_tokens - done)
        past = work.depth_tokens + done
        done += batch
        last = done == work.prompt_tokens
        flop = matrix_flop_per_token(file) * batch + attention_flop(model, batch, past)
        read = bytes_read_per_step(file, batch) - head_bytes + attended_cells(model, 1, past + batch - 1) * cell_bytes
        if last:
            flop, read = flop + head_flop_per_token(file), read + head_bytes
        total += max(flop / compute_flop_per_s, read / bandwidth_bytes_per_s)
    return total


def decode_bytes(file: ModelFile, work: Workload, context_tokens: int) -> float:
    """Bytes of one decode step at `context_tokens`: weights once (touched experts) + concurrency x KV(context)."""
    kv_bytes = attended_cells(file.model, 1, context_tokens - 1) * kv_bytes_per_cell(file.model, work.kv_type)
    return bytes_read_per_step(file, work.concurrency) + work.concurrency * kv_bytes


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
    first = work.depth_tokens + work.prompt_tokens + 1
    context = first + max(0, work.output_tokens - 2) // 2
    memory_s = decode_bytes(file, work, context) / bandwidth_bytes_per_s
    if compute_flop_per_s is None:
        return memory_s
    return max(memory_s, decode_flop(file, work, context) / compute_flop_per_s)
