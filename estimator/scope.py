"""Warnings: in which ways a question leaves what theory describes and what calibration has measured."""

from __future__ import annotations

from collections.abc import Iterator

from estimator.answer import Formulas
from estimator.coefficients import Coefficients, time_s
from estimator.shapes import ARCHITECTURES
from estimator.specs import Hardware, ModelFile, Workload
from estimator.theory.split import offloaded_layers
from estimator.theory.terms import decode_terms, prefill_terms

# Below this share of a time, a price that was not measured is not worth a warning.
_NOTABLE_SHARE = 0.1


def scope_warnings(
    file: ModelFile,
    work: Workload,
    hardware: Hardware,
    coefficients: Coefficients | None,
    formulas: Formulas,
    referenced: bool = False,
) -> tuple[str, ...]:
    """One sentence for each reason to trust the answer less, the gravest first; `referenced`: the reference answers."""
    return (
        *_basis_warnings(work, hardware, coefficients, formulas, referenced),
        *_split_warnings(file, work, hardware),
        *(() if coefficients is None else _prior_warnings(file, work, coefficients)),
        *(() if coefficients is None else _range_warnings(file, work, coefficients)),
        *_model_warnings(file, work),
    )


def memory_warnings(
    file: ModelFile, work: Workload, hardware: Hardware, coefficients: Coefficients | None
) -> tuple[str, ...]:
    """What an answer about memory alone stands on; of hardware that nobody looked at, its assumptions."""
    found = [text for text in assumptions(work, hardware) if not text.startswith("prefill by")]
    if coefficients is None and not hardware.catalogued:
        found.append("not calibrated: the process itself is counted at the reference's size and a quarter more")
    elif coefficients is not None and coefficients.machine.cpu != hardware.name:
        found.append(f"calibrated on another machine ({coefficients.machine.cpu}); this one is {hardware.name}")
    return (*found, *(text for text in _model_warnings(file, work) if not text.startswith("concurrency")))


def unfitted_warning(unfitted: tuple[str, ...]) -> tuple[str, ...]:
    """The warning about terms whose price was never measured, if there are any."""
    if not unfitted:
        return ()
    return (f"never measured: {', '.join(unfitted)}; the times that need them fall back to theory",)


def _basis_warnings(
    work: Workload, hardware: Hardware, coefficients: Coefficients | None, formulas: Formulas, referenced: bool
) -> Iterator[str]:
    if formulas == "textbook":
        yield "textbook formulas: uncalibrated, and known to be wrong (KV cache with all heads, times added up)"
    elif referenced:
        yield "not calibrated on it: its speed is by the reference, its memory is theory"
    elif hardware.catalogued:
        yield (
            "theory only, the fastest that the hardware allows: it comes from the catalogue, nothing was measured on "
            "it, and coefficients fitted on another machine are not applied"
        )
    elif coefficients is None:
        yield "no coefficients: theory only, the fastest that the hardware allows; measure and fit to calibrate"
    elif coefficients.machine.cpu != hardware.name:
        yield f"calibrated on another machine ({coefficients.machine.cpu}); this one is {hardware.name}"
    yield from assumptions(work, hardware)
    if hardware.bandwidth_bytes_per_s is None or hardware.compute_flop_per_s is None:
        # What doctor measures is this machine's processor.
        here = hardware.kind == "cpu" and not hardware.catalogued
        measure = "measure them with `python -m harness doctor`, or " if here else ""
        yield f"theory times need the machine's rates: {measure}state them with --bandwidth 25GB/s --compute 200GFLOP/s"


def assumptions(work: Workload, hardware: Hardware) -> Iterator[str]:
    """Those of the hardware, but how whole layers are split not where tensors are."""
    for text in hardware.assumptions:
        if work.split == "layer" or not text.startswith("layers split"):
            yield text


def _split_warnings(file: ModelFile, work: Workload, hardware: Hardware) -> Iterator[str]:
    if hardware.kind != "gpu":
        return
    if work.split == "tensor":
        yield (
            "tensors split: the KV cache counts whole on the first GPU; a step takes as long as all GPUs reading "
            "together and the bytes of their exchanges, without the delay of each message: the fastest possible"
        )
        if hardware.link_bandwidth_bytes_per_s is None:
            yield "the speed of split tensors depends on the link between the GPUs: state it with --link 25GB/s"
    if offloaded_layers(file, work) > file.model.layers:
        return
    if hardware.host is None or hardware.host.bandwidth_bytes_per_s is None:
        yield "a token waits for the host's layers too: state the host's memory rate with --host-bandwidth 50GB/s"
    if hardware.link_bandwidth_bytes_per_s is None:
        yield "for a long prompt the host's layers are copied to the GPU: state that link with --link 25GB/s"


def _prior_warnings(file: ModelFile, work: Workload, coefficients: Coefficients) -> Iterator[str]:
    """Where a good part of a time stands on prices of the prior, which were scaled to this machine and not measured."""
    for phase, terms in (("time to first token", prefill_terms(file, work)), ("token", decode_terms(file, work))):
        unmeasured = {name: amount for name, amount in terms.items() if _origin(coefficients, name) == "prior"}
        total = time_s(coefficients.speed, terms)
        share = time_s(coefficients.speed, unmeasured) / total if total else 0.0
        if share > _NOTABLE_SHARE:
            named = ", ".join(sorted(unmeasured, key=lambda name: -time_s(coefficients.speed, {name: terms[name]}))[:3])
            yield f"{share:.0%} of the {phase} stands on the prior, not on a measurement here: {named}"


def _origin(coefficients: Coefficients, name: str) -> str:
    return coefficients.speed[name].origin if name in coefficients.speed else ""


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
    if file.model.experts or file.model.kv_lora_rank:
        yield "speed was measured on dense models: that of experts and latent attention is theory at their prices"
    without = [
        phase
        for phase in ("prefill", "decode", "memory_anonymous", "memory_file")
        if _has_no_interval(coefficients, phase)
    ]
    borrowed = [name for name, found in coefficients.held_out.items() if found.interval_origin == "prior"]
    if borrowed:
        yield f"intervals of {', '.join(borrowed)}: the reference machine's, widened to the worst error seen here"
    if without:
        yield f"no interval for {', '.join(without)}: too few groups of measurements were held out"


def _has_no_interval(coefficients: Coefficients, phase: str) -> bool:
    found = coefficients.held_out.get(phase)
    return found is None or found.relative_interval_90 is None


def _model_warnings(file: ModelFile, work: Workload) -> Iterator[str]:
    model = file.model
    if model.architecture not in ARCHITECTURES:
        yield f"architecture {model.architecture!r} was never checked against the engine"
    longest = work.room_tokens
    if longest > model.context_tokens:
        yield f"{longest:,} tokens of context exceed the {model.context_tokens:,} that the model was trained for"
    if work.concurrency > 1:
        yield "concurrency: all prompts arrive together, so the TTFT is that of the last one"
