"""The textbook formulas, exactly as calculators print them: the baseline, known to be wrong in places.

KV with all query heads, whole or half bytes a parameter, compute and memory time added up, and a flat
20 % margin. `--formulas textbook` answers with these; the other modules of theory/ say what is true.
Prices come from data/textbook.toml (source: project brief).
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from estimator.errors import EstimatorError, UnknownName
from estimator.specs import Model, ModelFile, Workload

_TABLE = Path(__file__).parent.parent / "data/textbook.toml"
SAFETY_FACTOR = 1.2
_PRECISION = {
    "F32": "FP32",
    "F16": "FP16",
    "BF16": "FP16",
    "Q8_0": "INT8",
    "Q4_0": "INT4",
    "Q4_K_S": "INT4",
    "Q4_K_M": "INT4",
    "MXFP4_MOE": "INT4",
}


@cache
def prices() -> dict[str, Any]:
    """The textbook's tables: api_usd_per_1000_tokens, instance_usd_per_hour, instance_usd_per_month, ..."""
    return tomllib.loads(_TABLE.read_text("utf-8"))


def precision_of(quant: str) -> str:
    """The textbook's word for a GGUF weight type. Raises EstimatorError where it has none."""
    if quant not in _PRECISION:
        raise EstimatorError(f"the textbook has no bytes per parameter for {quant}: choose F16, Q8_0, Q4_0 or Q4_K_M")
    return _PRECISION[quant]


def model_bytes(parameters: float, precision: str) -> float:
    """parameters x bytes per parameter: FP32 4, FP16 2, INT8 1, INT4 0.5. Raises UnknownName."""
    table: dict[str, float] = prices()["bytes_per_parameter"]
    if precision not in table:
        raise UnknownName(f"the textbook knows no precision {precision!r}: choose one of {', '.join(table)}")
    return parameters * table[precision]


def kv_bytes(model: Model, sequence_tokens: int, batch: int = 1, bytes_per_element: float = 2.0) -> float:
    """2 x layers x heads x head_dim x sequence length x batch x bytes per element (heads, not kv_heads: too large)."""
    return 2 * model.layers * model.heads * model.key_length * sequence_tokens * batch * bytes_per_element


def cache_bytes(model: Model, work: Workload, sequence_tokens: int) -> float:
    """`kv_bytes` of all requests of `work` at so many tokens each, elements as wide as its KV type says."""
    return kv_bytes(model, sequence_tokens, work.concurrency, model_bytes(1, precision_of(work.kv_type)))


def total_bytes(weights_bytes: float, cache_bytes: float) -> float:
    """(model_bytes + kv_bytes) x 1.2, the flat 20 % safety margin."""
    return (weights_bytes + cache_bytes) * SAFETY_FACTOR


def local_latency_s(
    flop: float, compute_flop_per_s: float, bytes_accessed: float, bandwidth_bytes_per_s: float, overhead_s: float = 0.0
) -> float:
    """FLOP / (FLOP/s) + bytes / bandwidth + overhead, in seconds."""
    return flop / compute_flop_per_s + bytes_accessed / bandwidth_bytes_per_s + overhead_s


def prefill_latency_s(
    file: ModelFile, work: Workload, bandwidth_bytes_per_s: float, compute_flop_per_s: float
) -> float:
    """local_latency of the prompt: 2 x parameters x prompt tokens of FLOP, the model's bytes once."""
    flop = 2 * file.parameters * work.prompt_tokens
    weights_bytes = model_bytes(file.parameters, precision_of(file.quant))
    return local_latency_s(flop, compute_flop_per_s, weights_bytes, bandwidth_bytes_per_s)


def token_latency_s(file: ModelFile, work: Workload, bandwidth_bytes_per_s: float, compute_flop_per_s: float) -> float:
    """local_latency of an output token of each request: 2 x parameters x batch of FLOP, bytes of model and cache."""
    weights_bytes = model_bytes(file.parameters, precision_of(file.quant))
    accessed_bytes = weights_bytes + cache_bytes(file.model, work, work.longest_tokens)
    flop = 2 * file.parameters * work.concurrency
    return local_latency_s(flop, compute_flop_per_s, accessed_bytes, bandwidth_bytes_per_s)


def api_latency_s(network_round_trip_s: float, server_processing_s: float) -> float:
    """network round trip + server processing."""
    return network_round_trip_s + server_processing_s


def local_cost_usd(
    hardware_price_usd: float, lifetime_h: float, time_h: float, power_kw: float, electricity_usd_per_kwh: float
) -> float:
    """price / lifetime x time + power x electricity rate x time."""
    return hardware_price_usd / lifetime_h * time_h + power_kw * electricity_usd_per_kwh * time_h


def api_cost_usd(provider: str, input_tokens: int, output_tokens: int) -> float:
    """input tokens x input price + output tokens x output price, as quoted for `provider`. Raises UnknownName."""
    table = prices()["api_usd_per_1000_tokens"]
    if provider not in table:
        raise UnknownName(f"the textbook quotes no price for {provider!r}: choose one of {', '.join(table)}")
    input_usd, output_usd = table[provider]
    return float(input_tokens * input_usd + output_tokens * output_usd) / 1000
