"""What a question needs of memory, by component, and whether that fits: the one judgement behind every command."""

from __future__ import annotations

from dataclasses import fields, replace

from estimator.answer import Formulas, Quantity, Verdict, quantity
from estimator.coefficients import Coefficients, Interval, MemoryCoefficients, interval_of
from estimator.errors import EstimatorError
from estimator.specs import Hardware, ModelFile, Workload
from estimator.theory import textbook
from estimator.theory.bounds import bounded_host_need, bounded_need
from estimator.theory.memory import MemoryNeed, device_need, memory_need, resident_need
from estimator.theory.split import host_share_bytes, offloaded_layers
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES
from estimator.verdict import device_verdict, fit_verdict, host_verdict

Memory = dict[str, Quantity]
# Ten times the longest context that any model was trained for; far beyond, somebody has mistyped.
MOST_TOKENS = 100_000_000
MOST_CONCURRENCY = 2**16


def memory_and_verdict(
    file: ModelFile, work: Workload, hardware: Hardware, coefficients: Coefficients | None, formulas: Formulas
) -> tuple[Memory, Verdict]:
    """The components of memory as expected, and the verdict on their upper bounds.

    Coefficients are those of this machine's CPU: hardware of the catalogue and the textbook have none.
    """
    if formulas == "textbook":
        return _textbook_memory(file, work, hardware)
    if hardware.kind != "cpu":
        return _device_memory(file, work, hardware)
    return _host_memory(file, work, hardware, None if hardware.catalogued else coefficients)


def check(work: Workload, hardware: Hardware) -> None:
    """Raises EstimatorError for work that makes no sense, or not on `hardware`."""
    least = min(work.prompt_tokens, work.output_tokens, work.concurrency, work.ubatch_tokens)
    if least < 1 or work.depth_tokens < 0:
        raise EstimatorError("prompt, output, concurrency and micro-batch must be at least 1, and depth at least 0")
    longest = max(work.longest_tokens, work.context_tokens or 0)
    if longest > MOST_TOKENS or work.concurrency > MOST_CONCURRENCY:
        raise EstimatorError(
            f"{longest:,} tokens for each of {work.concurrency:,} requests: at most {MOST_TOKENS:,} and "
            f"{MOST_CONCURRENCY:,} can be asked for"
        )
    if work.context_tokens is not None and work.context_tokens < work.longest_tokens:
        raise EstimatorError(
            f"a context of {work.context_tokens} tokens cannot hold depth + prompt + output = {work.longest_tokens}: "
            "raise the context or shorten the request"
        )
    if work.gpu_layers is not None and hardware.kind != "gpu":
        raise EstimatorError("layers are split only between a CPU and a GPU with memory of its own: name one")
    if work.gpu_layers is not None and work.gpu_layers < 0:
        raise EstimatorError("the number of layers on the GPU must be at least 0")
    if work.split == "tensor" and hardware.devices < 2:
        raise EstimatorError("tensors are split over several GPUs: name them like '2x RTX 3090'")


def _host_memory(
    file: ModelFile, work: Workload, hardware: Hardware, coefficients: Coefficients | None
) -> tuple[Memory, Verdict]:
    theory = memory_need(file, work, X86_AVX2_REPACKED_TYPES)
    fitted = None if coefficients is None else coefficients.memory
    if coefficients is None or fitted is None:
        verdict = fit_verdict(bounded_need(file, work, X86_AVX2_REPACKED_TYPES), hardware.memory_free_bytes)
        return _components(theory, None, None, None), verdict
    repacked = _repacked_types(coefficients, fitted)
    need = resident_need(file, work, repacked, fitted.fitted_bytes(file, work), fitted.file_constant_bytes)
    anonymous, backed = interval_of(coefficients, "memory_anonymous"), interval_of(coefficients, "memory_file")
    upper = _upper(need, _most(coefficients, "memory_anonymous"), _most(coefficients, "memory_file"))
    planned = bounded_need(file, work, repacked, need.runtime_bytes, need.libraries_bytes)
    worse = max(upper, planned, key=lambda bound: bound.anonymous_bytes + bound.hot_file_bytes)
    return _components(theory, need, anonymous, backed), fit_verdict(worse, hardware.memory_free_bytes)


def _upper(need: MemoryNeed, anonymous_factor: float, file_factor: float) -> MemoryNeed:
    """`need` with its anonymous and file-backed parts as many times as large; the rest is put down to the process."""
    more = need.anonymous_bytes * (anonymous_factor - 1)
    backed = need.file_bytes * (file_factor - 1)
    return replace(
        need,
        runtime_bytes=need.runtime_bytes + round(more),
        libraries_bytes=need.libraries_bytes + round(backed),
    )


def _most(coefficients: Coefficients, part: str) -> float:
    """How much more than predicted a part of memory may be: the interval's end, or the worst that was seen."""
    found = coefficients.held_out.get(part)
    if found is None:
        return 1.0
    return 1.0 + max(0.0, found.worst, found.relative_interval_90[1] if found.relative_interval_90 else 0.0)


def _device_memory(file: ModelFile, work: Workload, hardware: Hardware) -> tuple[Memory, Verdict]:
    shared = hardware.kind == "unified"
    need = device_need(file, work, hardware.devices, shares_host_memory=shared)
    names = ["weights_bytes", "kv_cache_bytes", "compute_bytes", "output_bytes", "total_bytes", "host_weights_bytes"]
    memory = {name: quantity(float(getattr(need, name)), None, None) for name in names}
    bounded = not file.model.kv_lora_rank
    verdict = device_verdict(need, hardware.devices, hardware.memory_free_bytes, bounded)
    if shared:
        return memory, verdict
    whole = offloaded_layers(file, work) > file.model.layers
    if not whole:
        memory["host_kv_cache_bytes"] = quantity(float(host_share_bytes(file, work)[1]), None, None)
    return memory, host_verdict(verdict, bounded_host_need(file, work), hardware.host, whole)


def _repacked_types(coefficients: Coefficients, fitted: MemoryCoefficients) -> frozenset[str]:
    """What was measured to be repacked; of types that were not measured, what a build that repacks is known to."""
    measured = frozenset(fitted.repacked_types)
    if "REPACK = 1" not in coefficients.engine.system_info:
        return measured
    return measured | (X86_AVX2_REPACKED_TYPES - frozenset(coefficients.valid.weight_types))


def _components(theory: MemoryNeed, need: MemoryNeed | None, anonymous: Interval, backed: Interval) -> Memory:
    found = {}
    for field in fields(theory):
        known = None if field.name in ("runtime_bytes", "libraries_bytes") else float(getattr(theory, field.name))
        found[field.name] = quantity(known, None if need is None else float(getattr(need, field.name)), None)
    stays = quantity(theory.anonymous_bytes, None if need is None else need.anonymous_bytes, anonymous)
    file_backed = quantity(theory.file_bytes, None if need is None else need.file_bytes, backed)
    return {**found, "anonymous_bytes": stays, "total_bytes": stays.plus(file_backed)}


def _textbook_memory(file: ModelFile, work: Workload, hardware: Hardware) -> tuple[Memory, Verdict]:
    weights = textbook.model_bytes(file.parameters, textbook.precision_of(file.quant))
    cache = textbook.cache_bytes(file.model, work, work.room_tokens)
    total = textbook.total_bytes(weights, cache)
    named = {
        "weights_bytes": weights,
        "kv_cache_bytes": cache,
        "margin_bytes": total - weights - cache,
        "total_bytes": total,
    }
    need = MemoryNeed(0, 0, round(total), 0, 0)
    return {name: quantity(value, None, None) for name, value in named.items()}, fit_verdict(
        need, hardware.memory_free_bytes
    )
