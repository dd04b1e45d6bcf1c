"""Which layers lie where when a model is split between a GPU and the CPU, and between several GPUs.

Layers count as llama.cpp counts them for -ngl: the blocks of the model and, as one more, the head. The last
`gpu_layers` of them go to the GPU. Engines before 2026 offload the head only after all blocks, later ones first;
where this matters the larger of both counts, so that a "fits" holds for either.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from itertools import accumulate

from estimator.specs import Model, ModelFile, Workload
from estimator.tensors import model_file
from estimator.theory.columns import larger
from estimator.theory.kv_cache import bytes_of_cells, cells_per_sequence, windowed_cells_per_sequence
from estimator.theory.weights import host_weight_bytes

# Row split cuts matrices at multiples of so many rows. Source: get_row_rounding in ggml-cuda.cu.
_ROW_STEP = 128


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """Weights and KV cache of each layer, first to last; `head` is the output layer with all that is in no block."""

    weights: tuple[int, ...]
    kv_cache: tuple[int, ...]
    head: int

    @property
    def blocks(self) -> tuple[int, ...]:
        """Weights + KV cache of each layer."""
        return tuple(weights + cache for weights, cache in zip(self.weights, self.kv_cache, strict=True))


def layer_bytes(file: ModelFile, work: Workload) -> LayerBytes:
    """What each layer of `file` and its part of the cache take."""
    weights = file.layer_bytes or _proportional(file)
    head = file.weight_bytes - host_weight_bytes(file) - sum(weights)
    return LayerBytes(weights, kv_bytes_by_layer(file, work), max(0, head))


def kv_bytes_by_layer(file: ModelFile, work: Workload) -> tuple[int, ...]:
    """KV cache of each layer: cells x bytes of a cell; index modulo period is not period - 1: windowed, fewer cells."""
    whole, windowed = layer_cache_bytes(file.model, work)
    return tuple(windowed if _is_windowed(file.model, layer) else whole for layer in range(file.model.layers))


def layer_cache_bytes(model: Model, work: Workload) -> tuple[int, int]:
    """KV cache of a layer that attends over the whole context, and of one with a window."""
    whole = bytes_of_cells(model, work, cells_per_sequence(work))
    return whole, bytes_of_cells(model, work, windowed_cells_per_sequence(model, work))


def _is_windowed(model: Model, layer: int) -> bool:
    return model.sliding_window_tokens is not None and layer % model.window_period != model.window_period - 1


def offloaded_layers(file: ModelFile, work: Workload) -> int:
    """How many layers, the head counted as one, are on the GPU: min(gpu_layers, layers + 1)."""
    most = file.model.layers + 1
    return most if work.gpu_layers is None else max(0, min(work.gpu_layers, most))


def device_share_bytes(file: ModelFile, work: Workload) -> tuple[int, int]:
    """Weights and KV cache of the layers on the GPU: the last g - 1 blocks, and the head or one block more.

    The larger of the two counts, see above; all of both where g = layers + 1.
    """
    layers, count = layer_bytes(file, work), offloaded_layers(file, work)
    total = file.model.layers
    if count > total:
        return sum(layers.weights) + layers.head, sum(layers.kv_cache)
    if count == 0:
        return 0, 0
    first = total - count
    later = sum(layers.weights[first + 1 :]), sum(layers.kv_cache[first + 1 :])
    with_block = later[0] + layers.weights[first], later[1] + layers.kv_cache[first]
    with_head = later[0] + layers.head, later[1]
    return max(with_block, with_head, key=sum)


def host_share_bytes(file: ModelFile, work: Workload) -> tuple[int, int]:
    """Weights and KV cache of what stays off the GPU: the table of embeddings, the first blocks, the head or one more.

    Of an embedding that is the head as well the file's own copy stays too: the host reads a token's row from it.
    """
    layers, count = layer_bytes(file, work), offloaded_layers(file, work)
    total = file.model.layers
    table = host_weight_bytes(file)
    if count > total:
        return (table or layers.head), 0
    kept = total - count
    weights, cache = table + sum(layers.weights[:kept]), sum(layers.kv_cache[:kept])
    with_head = weights + layers.head, cache
    if count == 0:
        return with_head
    with_block = weights + layers.weights[kept], cache + layers.kv_cache[kept]
    return max(with_head, with_block, key=sum)


def streamed_bytes(file: ModelFile, work: Workload) -> int:
    """What a GPU holds for a moment of a layer that is not its own: max(largest block of all, head); 0 if it has all.

    For prompts of 32 tokens and more the engine copies the host's matrices to the GPU one at a time, into its compute
    buffer, and multiplies them there. A whole block is more than any of its matrices. Source: ggml-backend.cpp.
    """
    layers, count = layer_bytes(file, work), offloaded_layers(file, work)
    if count > file.model.layers or count == 0:
        return 0
    return max(*layers.weights, layers.head)


def fullest_layers_bytes(file: ModelFile, work: Workload, devices: int) -> int:
    """The most that one of `devices` alike holds of weights and cache when they have whole layers.

    The engine hands out g layers in the proportion of free memory, so a device gets ceil(g / devices) of them and,
    where one has a little more free than another, one more: the fullest run of so many neighbours.
    """
    count = offloaded_layers(file, work)
    if devices == 1 or _run_layers(count, devices) >= count:
        return sum(device_share_bytes(file, work))
    whole, windowed = layer_cache_bytes(file.model, work)
    return largest_run_bytes(layer_runs(file, count, devices), whole, windowed)


def layer_runs(file: ModelFile, count: int, devices: int) -> dict[tuple[int, int], int]:
    """What one of `devices` alike may hold of the last `count` layers, the head as one: runs of neighbours.

    {(layers with a whole cache, with a windowed one): the most weights of such a run}.
    """
    model, weights = file.model, file.layer_bytes or _proportional(file)
    head = max(0, file.weight_bytes - host_weight_bytes(file) - sum(weights))
    windowed = [_is_windowed(model, layer) for layer in range(model.layers)]
    columns = ((*weights, head), (*map(operator.not_, windowed), 0), (*windowed, 0))
    size = min(_run_layers(count, devices), model.layers + 1)
    sums = (list(accumulate(column[-count - 1 :], initial=0)) for column in columns)
    runs = [[end - begin for begin, end in zip(ends, ends[size:], strict=False)] for ends in sums]
    found: dict[tuple[int, int], int] = {}
    for held, whole, some in zip(*runs, strict=True):
        found[whole, some] = max(held, found.get((whole, some), 0))
    return found


def largest_run_bytes(runs: dict[tuple[int, int], int], whole_bytes: int, windowed_bytes: int) -> int:
    """max over `layer_runs`: weights + layers with a whole cache x its bytes + windowed layers x theirs."""
    return larger(*(held + whole * whole_bytes + windowed * windowed_bytes for (whole, windowed), held in runs.items()))


def _run_layers(count: int, devices: int) -> int:
    return -(-count // devices) + 1


def fullest_rows_bytes(file: ModelFile, work: Workload, devices: int) -> int:
    """The most that one of `devices` alike holds when each has a part of the rows of every matrix (tensor split).

    weights x (1 / devices + 128 / hidden), as parts end at whole 128 rows, + the whole KV cache, which llama.cpp
    keeps on the first device. Engines that share out the cache by heads need less.
    """
    weights, cache = device_share_bytes(file, work)
    share = min(1.0, 1 / devices + _ROW_STEP / file.model.hidden)
    return round(weights * share) + cache


def shares_by_device(file: ModelFile, work: Workload, devices: int) -> tuple[int, ...]:
    """Weights and cache of each of `devices` alike, in the order in which a token passes them: layer k of g is on
    device floor(k x devices / g). Source: llama-model.cpp (upper_bound over the splits)."""
    layers, count = layer_bytes(file, work), offloaded_layers(file, work)
    found = [0] * devices
    blocks = (*layers.blocks, layers.head)
    for position, size in enumerate(blocks[len(blocks) - count :]):
        found[position * devices // count] += size
    return tuple(found)


def _proportional(file: ModelFile) -> tuple[int, ...]:
    """Layers in the proportions of an F16 file of the same shapes, rounded up: where only sums are known."""
    alike = model_file(file.model, "F16")
    inner = file.weight_bytes - host_weight_bytes(file)
    whole = alike.weight_bytes - host_weight_bytes(alike)
    return tuple(-(-size * inner // whole) for size in alike.layer_bytes)
