"""The time that physics allows where a model is split: over CPU and GPU, or over several GPUs. Efficiency 1.

Layers run one after the other wherever they lie, so whole layers add up the times of their sides, and several GPUs
are no faster than one for a single request. Only tensors that are split are read by all GPUs at once, at the price
of an exchange after each half of a layer. Formula family 5 (decode over devices).
"""

from __future__ import annotations

from estimator.specs import ModelFile, Workload
from estimator.theory.kv_cache import kv_bytes_per_cell
from estimator.theory.roofline import (
    decode_bytes,
    decode_flop,
    mean_context_tokens,
    prefill_time_s,
    time_per_token_s,
)
from estimator.theory.split import layer_bytes, offloaded_layers
from estimator.theory.terms import windowed_layers, windowed_positions
from estimator.theory.weights import bytes_read_per_step, head_read_bytes

_FLOAT_BYTES = 4
# After attention and after the feed-forward.
_EXCHANGES_PER_LAYER = 2


def host_decode_bytes(file: ModelFile, work: Workload) -> float:
    """Bytes that a decode step reads from the host: its blocks' share of matrices and experts, and their KV cache.

    The head goes first to the GPU, then the last blocks (llama.cpp since late 2025). A block reads in proportion to its
    size, which is exact where all blocks are alike.
    """
    layers, count = layer_bytes(file, work), offloaded_layers(file, work)
    kept = min(file.model.layers, file.model.layers + 1 - count)
    head = head_read_bytes(file)
    read = (bytes_read_per_step(file, work.concurrency) - head) * sum(layers.weights[:kept]) / sum(layers.weights)
    return read + (head if count == 0 else 0) + work.concurrency * _kv_read_bytes(file, work, kept)


def time_per_token_over_sides_s(
    file: ModelFile, work: Workload, gpu_bytes_per_s: float, gpu_flop_per_s: float | None, host_bytes_per_s: float
) -> float:
    """bytes of the host's layers / its bandwidth + max(bytes, FLOP) of the GPU's layers, in seconds.

    The host's side by its bytes alone, as its rate of arithmetic is not asked for: a bound from below.
    """
    context = mean_context_tokens(work)
    whole, host = decode_bytes(file, work, context), host_decode_bytes(file, work)
    gpu_s = (whole - host) / gpu_bytes_per_s
    if gpu_flop_per_s is not None:
        flop = decode_flop(file, work, context) * (whole - host) / whole
        gpu_s = max(gpu_s, flop / gpu_flop_per_s)
    return host / host_bytes_per_s + gpu_s


def prefill_time_over_sides_s(
    file: ModelFile, work: Workload, gpu_bytes_per_s: float, gpu_flop_per_s: float, link_bytes_per_s: float
) -> float:
    """The GPU's time for all layers + host's blocks over the link with every micro-batch, in seconds.

    So the engine does it for prompts of 32 tokens and more; copies are not hidden behind arithmetic. Source:
    ggml-backend.cpp (op_offload).
    """
    layers, count = layer_bytes(file, work), offloaded_layers(file, work)
    kept = sum(layers.weights[: min(file.model.layers, file.model.layers + 1 - count)])
    batches = -(-work.prompt_tokens // work.ubatch_tokens)
    return prefill_time_s(file, work, gpu_bytes_per_s, gpu_flop_per_s) + batches * kept / link_bytes_per_s


def exchange_s(file: ModelFile, rows: int, devices: int, link_bytes_per_s: float) -> float:
    """2 x layers x 2·(D - 1) / D x rows x hidden x 4 bytes / link: a ring's sum after each half of a layer, in seconds.

    Without the delay of each of its 2·(D - 1) messages, which no rate tells: a bound from below. Source: the bytes of a
    ring all-reduce (Patarasuk and Yuan, 2009).
    """
    per_exchange = 2 * (devices - 1) / devices * rows * file.model.hidden * _FLOAT_BYTES
    return _EXCHANGES_PER_LAYER * file.model.layers * per_exchange / link_bytes_per_s


def time_per_token_of_split_tensors_s(
    file: ModelFile,
    work: Workload,
    devices: int,
    rates: tuple[float, float | None],
    link_bytes_per_s: float,
) -> float:
    """max(bytes / (D x bandwidth), FLOP / (D x compute)) + the exchanges of one step, in seconds.

    `rates`: bandwidth and compute rate of one device.
    """
    bandwidth, compute = rates
    step = time_per_token_s(file, work, devices * bandwidth, None if compute is None else devices * compute)
    return step + exchange_s(file, work.concurrency, devices, link_bytes_per_s)


def prefill_time_of_split_tensors_s(
    file: ModelFile, work: Workload, devices: int, rates: tuple[float, float], link_bytes_per_s: float
) -> float:
    """Σ micro-batches: max(FLOP / (D x compute), bytes / (D x bandwidth)), + the exchanges, in seconds."""
    bandwidth, compute = rates
    prefill = prefill_time_s(file, work, devices * bandwidth, devices * compute)
    return prefill + exchange_s(file, work.prompt_tokens, devices, link_bytes_per_s)


def _kv_read_bytes(file: ModelFile, work: Workload, kept: int) -> float:
    """KV cache that one sequence's step reads in the first `kept` layers, at the middle of the output."""
    model, past = file.model, mean_context_tokens(work) - 1
    windowed = kept - kept // model.window_period if windowed_layers(model) else 0
    cells = (kept - windowed) * (past + 1) + (windowed * windowed_positions(model, 1, past) if windowed else 0)
    return cells * kv_bytes_per_cell(model, work.kv_type)
