"""Warnings: in which ways a question leaves what theory describes and what calibration has measured."""

from __future__ import annotations

from collections.abc import Iterator

from estimator.answer import Formulas
from estimator.coefficients import Coefficients
from estimator.specs import Hardware, ModelFile, Workload

_VERIFIED_ARCHITECTURES = ("llama", "qwen2", "gemma2", "phi3")


def scope_warnings(
    file: ModelFile, work: Workload, hardware: Hardware, coefficients: Coefficients | None, formulas: Formulas
) -> tuple[str, ...]:
    """One sentence for each reason to trust the answer less, the gravest first."""
    return (
        *_basis_warnings(hardware, coefficients, formulas),
        *(() if coefficients is None else _range_warnings(file, work, coefficients)),
        *_model_warnings(file, work),
    )


def unfitted_warning(unfitted: tuple[str, ...]) -> tuple[str, ...]:
    """The warning about terms whose price was never measured, if there are any."""
    if not unfitted:
        return ()
    return (f"never measured: {', '.join(unfitted)}; the times that need them fall back to theory",)


def _basis_warnings(hardware: Hardware, coefficients: Coefficients | None, formulas: Formulas) -> Iterator[str]:
    if formulas == "textbook":
        yield "textbook formulas: uncalibrated, and known to be wrong (KV cache with all heads, times added up)"
    elif coefficients is None:
        yield "no coefficients: theory only, the fastest that the hardware allows; measure and fit to calibrate"
    elif coefficients.machine.cpu != hardware.name:
        yield f"calibrated on another machine ({coefficients.machine.cpu}); this one is {hardware.name}"
    if hardware.bandwidth_bytes_per_s is None or hardware.compute_flop_per_s is None:
        yield "theory times need the machine's rates: state them with --bandwidth 25GB/s --compute 200GFLOP/s"


def _range_warnings(file: ModelFile, work: Workload, coefficients: Coefficients) -> Iterator[str]:
    valid = coefficients.valid
    asked = (
        ("parameters", file.parameters, *valid.parameters),
        ("prompt tokens", work.prompt_tokens, *valid.prompt_tokens),
        ("tokens in the cache", work.longest_tokens, *valid.depth_tokens),
        ("concurrent requests", work.concurrency, 1, valid.concurrency),
    )
    for what, value, least, most in asked:
        if not least <= value <= most:
            yield f"extrapolated: {value:,} {what}, measured were {least:,.0f} to {most:,.0f}"
    if work.kv_type != "F16":
        yield f"speed was measured with an F16 cache: with {work.kv_type} attention differs"
    if not work.flash_attention:
        yield "speed was measured with flash attention: without it attention differs"
    without = [
        phase
        for phase in ("prefill", "decode", "memory_anonymous", "memory_file")
        if _has_no_interval(coefficients, phase)
    ]
    if without:
        yield f"no interval for {', '.join(without)}: too few groups of measurements were held out"


def _has_no_interval(coefficients: Coefficients, phase: str) -> bool:
    found = coefficients.held_out.get(phase)
    return found is None or found.relative_interval_90 is None


def _model_warnings(file: ModelFile, work: Workload) -> Iterator[str]:
    model = file.model
    if model.architecture not in _VERIFIED_ARCHITECTURES:
        yield f"architecture {model.architecture!r} was never checked against the engine"
    longest = work.context_tokens or work.longest_tokens
    if longest > model.context_tokens:
        yield f"{longest:,} tokens of context exceed the {model.context_tokens:,} that the model was trained for"
    if work.concurrency > 1:
        yield "concurrency: all prompts arrive together, so the TTFT is that of the last one"
