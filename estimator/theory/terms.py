"""The physical terms of a pass through the engine, as plain amounts: what calibration fits prices to.

time = Σ over terms: coefficient (seconds per unit) x amount. Everything here is linear, per sequence,
and knows no machine. One table, TERMS, says which terms there are; the functions below count them.
A term whose name ends in a dot is a family with one member per GGML block type (`weights.Q4_K`).

The attention kernels are those of llama.cpp's CPU flash attention (ggml-cpu/ops.cpp): one query at a
time over F16 keys for decode and short batches, tiles of 64 queries x 64 keys from 64 queries on.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from estimator.specs import Model, ModelFile, Workload
from estimator.theory.columns import larger, smaller
from estimator.theory.weights import MATRIX_ROLES, flop_per_row, read_bytes

TILE = 64
# llama.cpp's CPU kernels multiply 16 rows of a batch at once and the rest in fours and ones, which is slower.
ROW_BLOCK = 16
# Architectures whose windows are chunks: a position sees its own chunk only.
CHUNKED = ("llama4",)


@dataclass(frozen=True, slots=True)
class Term:
    """One physical term: the unit of its amount, and how the inverse of its coefficient reads.

    A coefficient of c seconds per unit is shown as 1 / c / `per` `inverse` where `inverse` is a rate
    ("GB/s"), else as c / `per` `inverse` ("µs").
    """

    name: str
    unit: str
    inverse: str
    per: float
    meaning: str


TERMS = (
    Term("weights.", "byte", "GB/s", 1e9, "weights of this block type read for one row: decode, and the head"),
    Term("matmul.", "FLOP", "GFLOP/s", 1e9, "multiplying rows with weights of this block type, in blocks of 16 rows"),
    Term("matmul_rest.", "FLOP", "GFLOP/s", 1e9, "the same for the rows left over after the last block of 16"),
    Term("attention.decode", "score", "ns", 1e-9, "one query against one position in one head, decode"),
    Term("attention.decode_flop", "FLOP", "GFLOP/s", 1e9, "the same, by the arithmetic of keys and values"),
    Term("attention.row", "score", "ns", 1e-9, "one query against one position in one head, 2 to 63 queries"),
    Term("attention.row_flop", "FLOP", "GFLOP/s", 1e9, "the same, by the arithmetic of keys and values"),
    Term("attention.tiled_flop", "FLOP", "GFLOP/s", 1e9, "tiles of 64 queries x 64 positions, 64 queries or more"),
    Term("vector", "element", "ns", 1e-9, "element-wise work: one hidden element of one token in one layer"),
    Term("layer", "layer", "µs", 1e-6, "starting and synchronising one layer of one pass"),
    Term("step", "pass", "µs", 1e-6, "one pass through the engine, whatever its size"),
    Term("request", "request", "µs", 1e-6, "one request, whatever its size"),
)


def term(name: str) -> Term:
    """The row of TERMS that `name` belongs to. Raises KeyError."""
    family = name.split(".", maxsplit=1)[0] + "."
    for row in TERMS:
        if row.name in (name, family):
            return row
    raise KeyError(name)


def shown(name: str, seconds_per_unit: float) -> str:
    """The coefficient of `name` as a person reads it: "12.3 GB/s", "4.1 µs", "free" for zero."""
    row = term(name)
    if seconds_per_unit <= 0:
        return "free"
    value = 1 / seconds_per_unit / row.per if row.inverse.endswith("/s") else seconds_per_unit / row.per
    return f"{value:.3g} {row.inverse}"


def step_terms(file: ModelFile, batch_tokens: int, past_tokens: int, *, output: bool = True) -> dict[str, float]:
    """One pass over `batch_tokens` new tokens of one sequence that has `past_tokens` in its cache.

    weights.T        bytes of T                      (matrices for a batch of one; the head if `output`)
    matmul.T         2 x elements of T x rows        (matrices for a larger batch, its full blocks of 16 rows), FLOP
                     of experts only the share that a token uses, in both
    matmul_rest.T    the same for the rows after the last full block
    attention.*      see `_attention_terms`
    vector           layers x hidden x batch;  layer: layers;  step: 1
    """
    terms: defaultdict[str, float] = defaultdict(float)
    for group in file.groups:
        if group.role in MATRIX_ROLES and batch_tokens > 1:
            rest, flop = batch_tokens % ROW_BLOCK, flop_per_row(group, file.model)
            terms[f"matmul.{group.quant_type}"] += flop * (batch_tokens - rest)
            terms[f"matmul_rest.{group.quant_type}"] += flop * rest
        elif group.role in MATRIX_ROLES or (group.role == "head" and output):
            terms[f"weights.{group.quant_type}"] += read_bytes(group, file.model, 1)
    model = file.model
    fixed = {"vector": float(model.layers * model.hidden * batch_tokens), "layer": float(model.layers), "step": 1.0}
    return {
        **{name: amount for name, amount in terms.items() if amount},
        **_attention_terms(model, batch_tokens, past_tokens),
        **fixed,
    }


def prefill_terms(file: ModelFile, work: Workload) -> dict[str, float]:
    """The whole prompt after `depth_tokens`: Σ over micro-batches of `ubatch_tokens`, one head row, one request."""
    terms: defaultdict[str, float] = defaultdict(float, request=1.0)
    done = 0
    while done < work.prompt_tokens:
        batch = min(work.ubatch_tokens, work.prompt_tokens - done)
        last = done + batch == work.prompt_tokens
        for name, amount in step_terms(file, batch, work.depth_tokens + done, output=last).items():
            terms[name] += amount
        done += batch
    return dict(terms)


def decode_terms(file: ModelFile, work: Workload) -> dict[str, float]:
    """Mean per output token after the first, `past` running from depth + prompt to depth + prompt + output - 2.

    Only attention depends on the past, so the mean is one step with the mean number of positions.
    """
    steps = max(1, work.output_tokens - 1)
    past = work.depth_tokens + work.prompt_tokens
    terms = step_terms(file, 1, past)
    for name, amount in _row_terms("decode", file.model, steps, past).items():
        terms[name] = amount / steps
    return terms


def attended_positions(batch_tokens: int, past_tokens: int, window_tokens: int | None = None) -> int:
    """Σ over i = 1 .. batch: min(past + i, window): positions that the batch's queries attend to, per head."""
    if window_tokens is None:
        return batch_tokens * past_tokens + batch_tokens * (batch_tokens + 1) // 2
    growing = larger(0, smaller(batch_tokens, window_tokens - past_tokens))
    return attended_positions(growing, past_tokens) + (batch_tokens - growing) * window_tokens


def chunked_positions(batch_tokens: int, past_tokens: int, chunk_tokens: int) -> int:
    """Σ over positions p of the batch: p mod chunk + 1, since a chunk sees nothing of those before it (Llama 4)."""

    def up_to(end: int) -> int:
        chunks, rest = divmod(end, chunk_tokens)
        return chunks * (chunk_tokens * (chunk_tokens + 1) // 2) + rest * (rest + 1) // 2

    return up_to(past_tokens + batch_tokens) - up_to(past_tokens)


def windowed_positions(model: Model, batch_tokens: int, past_tokens: int) -> int:
    """Positions that the batch's queries attend to in a layer with a window, or with chunks, per head."""
    window = 0 if model.sliding_window_tokens is None else model.sliding_window_tokens
    if model.architecture in CHUNKED:
        return chunked_positions(batch_tokens, past_tokens, window)
    return attended_positions(batch_tokens, past_tokens, window)


def attention_lengths(model: Model) -> tuple[int, int]:
    """Elements of the key and of the value that a query meets, per head.

    With latent attention all heads meet the latent itself (kv_lora_rank + rope_length, and its kv_lora_rank): the
    engine multiplies the queries, not the cache, with what would unpack it. Source: deepseek2.cpp.
    """
    if model.kv_lora_rank:
        return model.kv_lora_rank + model.rotated, model.kv_lora_rank
    return model.key_length, model.value_length


def attention_tiles(
    batch_tokens: int, past_tokens: int, window_tokens: int | None = None, *, chunked: bool = False
) -> int:
    """Tiles of 64 queries x 64 positions with at least one pair that is not masked, per head."""
    tiles = 0
    for first in range(0, batch_tokens, TILE):
        end = past_tokens + min(first + TILE, batch_tokens)
        begin = 0
        if window_tokens is not None:
            at = past_tokens + first
            begin = at // window_tokens * window_tokens if chunked else max(0, at + 1 - window_tokens)
        tiles += -(-end // TILE) - begin // TILE
    return tiles


def windowed_layers(model: Model) -> int:
    """Layers that attend within the sliding window only: index modulo period is not period - 1."""
    return 0 if model.sliding_window_tokens is None else model.layers - model.layers // model.window_period


def _attention_terms(model: Model, batch_tokens: int, past_tokens: int) -> dict[str, float]:
    """attention.<kernel> = Σ layers: heads x positions attended (scores), attention.<kernel>_flop = x 2 (key + value);
    from 64 queries on attention.tiled_flop = Σ layers: heads x tiles x 64 x 64 x 2 (key + value)."""
    if batch_tokens < TILE:
        return _row_terms("decode" if batch_tokens == 1 else "row", model, batch_tokens, past_tokens)
    windowed = windowed_layers(model)
    tiles = (model.layers - windowed) * attention_tiles(batch_tokens, past_tokens)
    if windowed:
        chunked = model.architecture in CHUNKED
        tiles += windowed * attention_tiles(batch_tokens, past_tokens, model.sliding_window_tokens, chunked=chunked)
    flop_per_tile = TILE * TILE * 2 * sum(attention_lengths(model))
    return {"attention.tiled_flop": float(model.heads * tiles * flop_per_tile)}


def _row_terms(kernel: str, model: Model, queries: int, past_tokens: int) -> dict[str, float]:
    windowed = windowed_layers(model)
    positions = (model.layers - windowed) * attended_positions(queries, past_tokens)
    if windowed:
        positions += windowed * windowed_positions(model, queries, past_tokens)
    scores = model.heads * positions
    return {
        f"attention.{kernel}": float(scores),
        f"attention.{kernel}_flop": float(scores * 2 * sum(attention_lengths(model))),
    }
