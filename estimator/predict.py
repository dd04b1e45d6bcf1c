"""`predict`: the answer to one question, from facts that are all arguments."""

from __future__ import annotations

from dataclasses import fields, replace

from estimator.answer import Answer, Formulas, Quantity, Verdict
from estimator.coefficients import Coefficients, MemoryCoefficients
from estimator.errors import EstimatorError
from estimator.fit import device_verdict, fit_verdict
from estimator.prices import Prices, cost_basis, cost_quantities
from estimator.reference.speed import Published, ReferenceAnswer, reference_answer
from estimator.scope import scope_warnings, unfitted_warning
from estimator.specs import Hardware, ModelFile, Workload
from estimator.speed import PhaseTimes, calibrated_times, textbook_times, theory_times
from estimator.theory import textbook
from estimator.theory.kv_cache import cells_per_sequence
from estimator.theory.memory import MemoryNeed, device_need, memory_need, resident_need
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES

Interval = tuple[float, float] | None


def predict(
    file: ModelFile,
    work: Workload,
    hardware: Hardware,
    coefficients: Coefficients | Published | None = None,
    formulas: Formulas = "engineering",
    prices: Prices | None = None,
) -> Answer:
    """Memory, speed, cost and fit of serving `work` from `file` on `hardware`. Raises EstimatorError.

    With `coefficients` the answer is calibrated wherever they cover the question; without, or with the
    textbook formulas, it is theory and says so. Coefficients belong to the machine that they were fitted on: on
    hardware of the catalogue only `Published` measurements, the reference, are applied.
    """
    _check(work)
    prices = prices or Prices()
    if formulas == "textbook" or (hardware.catalogued and not isinstance(coefficients, Published)):
        coefficients = None
    unfitted: tuple[str, ...] = ()
    referenced = None
    if isinstance(coefficients, Published):
        speed, referenced = _reference_speed(file, work, hardware, coefficients)
        coefficients = None
    else:
        speed, unfitted = _speed(file, work, hardware, coefficients, formulas)
    if formulas == "textbook":
        memory, verdict = _textbook_memory(file, work, hardware)
    elif hardware.kind != "cpu":
        memory, verdict = _device_memory(file, work, hardware)
    else:
        memory, verdict = _memory(file, work, hardware, coefficients)
    scope = scope_warnings(file, work, hardware, coefficients, formulas, bool(referenced and referenced.basis))
    return Answer(
        model=file.model.name,
        title=file.model.title,
        quant=file.quant,
        formulas=formulas,
        work=work,
        hardware=hardware,
        calibration=_origin(coefficients, referenced),
        memory=memory,
        speed=speed,
        cost=cost_quantities(speed["end_to_end_s"], work, prices),
        cost_basis=cost_basis(prices),
        fit=verdict,
        warnings=(*unfitted_warning(unfitted), *(referenced.warnings if referenced else ()), *scope),
    )


def _check(work: Workload) -> None:
    least = min(work.prompt_tokens, work.output_tokens, work.concurrency, work.ubatch_tokens)
    if least < 1 or work.depth_tokens < 0:
        raise EstimatorError("prompt, output, concurrency and micro-batch must be at least 1, and depth at least 0")
    if work.context_tokens is not None and work.context_tokens < work.longest_tokens:
        raise EstimatorError(
            f"a context of {work.context_tokens} tokens cannot hold depth + prompt + output = {work.longest_tokens}: "
            "raise the context or shorten the request"
        )


def _origin(coefficients: Coefficients | None, referenced: ReferenceAnswer | None) -> str | None:
    if coefficients is None:
        return referenced.basis if referenced else None
    records, engine = coefficients.records, coefficients.engine
    return (
        f"{engine.name} {engine.version} on {coefficients.machine.cpu}, fitted {coefficients.fitted_at} "
        f"to {records.cells} cells of {records.models} models"
    )


def _memory(
    file: ModelFile, work: Workload, hardware: Hardware, coefficients: Coefficients | None
) -> tuple[dict[str, Quantity], Verdict]:
    theory = memory_need(file, work, X86_AVX2_REPACKED_TYPES)
    fitted = None if coefficients is None else coefficients.memory
    if coefficients is None or fitted is None:
        return _components(theory, None, None, None), fit_verdict(theory, hardware.memory_free_bytes)
    beyond = fitted.fitted_bytes(file, work)
    need = resident_need(file, work, _repacked_types(coefficients, fitted), beyond, fitted.file_constant_bytes)
    anonymous, backed = _interval(coefficients, "memory_anonymous"), _interval(coefficients, "memory_file")
    factors = (1.0 if interval is None else 1 + max(0.0, interval[1]) for interval in (anonymous, backed))
    verdict = fit_verdict(need, hardware.memory_free_bytes, *factors)
    return _components(theory, need, anonymous, backed), verdict


def _device_memory(file: ModelFile, work: Workload, hardware: Hardware) -> tuple[dict[str, Quantity], Verdict]:
    need = device_need(file, work, hardware.devices, shares_host_memory=hardware.kind == "unified")
    names = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "output_bytes", "total_bytes", "host_weights_bytes")
    memory = {name: _quantity(float(getattr(need, name)), None, None) for name in names}
    bounded = not file.model.kv_lora_rank
    return memory, device_verdict(need, hardware.devices, hardware.memory_free_bytes, bounded)


def _repacked_types(coefficients: Coefficients, fitted: MemoryCoefficients) -> frozenset[str]:
    """What was measured to be repacked; of types that were not measured, what a build that repacks is known to."""
    measured = frozenset(fitted.repacked_types)
    if "REPACK = 1" not in coefficients.engine.system_info:
        return measured
    return measured | (X86_AVX2_REPACKED_TYPES - frozenset(coefficients.valid.weight_types))


def _components(
    theory: MemoryNeed, need: MemoryNeed | None, anonymous: Interval, backed: Interval
) -> dict[str, Quantity]:
    found = {}
    for field in fields(theory):
        known = None if field.name in ("runtime_bytes", "libraries_bytes") else float(getattr(theory, field.name))
        found[field.name] = _quantity(known, None if need is None else float(getattr(need, field.name)), None)
    stays = _quantity(theory.anonymous_bytes, None if need is None else need.anonymous_bytes, anonymous)
    file_backed = _quantity(theory.file_bytes, None if need is None else need.file_bytes, backed)
    return {**found, "anonymous_bytes": stays, "total_bytes": stays.plus(file_backed)}


def _textbook_memory(file: ModelFile, work: Workload, hardware: Hardware) -> tuple[dict[str, Quantity], Verdict]:
    weights = textbook.model_bytes(file.parameters, textbook.precision_of(file.quant))
    cache = textbook.kv_bytes(file.model, cells_per_sequence(work), work.concurrency)
    total = textbook.total_bytes(weights, cache)
    named = {
        "weights_bytes": weights,
        "kv_cache_bytes": cache,
        "margin_bytes": total - weights - cache,
        "total_bytes": total,
    }
    need = MemoryNeed(0, 0, round(total), 0, 0)
    return {name: _quantity(value, None, None) for name, value in named.items()}, fit_verdict(
        need, hardware.memory_free_bytes
    )


def _speed(
    file: ModelFile, work: Workload, hardware: Hardware, coefficients: Coefficients | None, formulas: Formulas
) -> tuple[dict[str, Quantity], tuple[str, ...]]:
    theory = (textbook_times if formulas == "textbook" else theory_times)(file, work, hardware)
    if coefficients is None:
        found, prefill_interval, decode_interval = PhaseTimes(None, None), None, None
    else:
        found = calibrated_times(file, work, coefficients)
        prefill_interval, decode_interval = _interval(coefficients, "prefill"), _interval(coefficients, "decode")
    prefill = _quantity(theory.prefill_s, found.prefill_s, prefill_interval)
    step = _quantity(theory.step_s, found.step_s, decode_interval)
    return _speeds(prefill, step, work), found.unfitted


def _reference_speed(
    file: ModelFile, work: Workload, hardware: Hardware, published: Published
) -> tuple[dict[str, Quantity], ReferenceAnswer]:
    """By the reference where it answers, else by theory."""
    theory = theory_times(file, work, hardware)
    found = reference_answer(file, work, published)
    pairs = ((found.prefill, theory.prefill_s), (found.step, theory.step_s))
    prefill, step = (_quantity(time, None, None) if q is None else replace(q, theory=time) for q, time in pairs)
    return _speeds(prefill, step, work), found


def _speeds(prefill: Quantity, step: Quantity, work: Workload) -> dict[str, Quantity]:
    """Everything that follows from one prompt's prefill and one decode step."""
    # Prompts that arrive together are prefilled together: the last first token waits for all of them.
    ttft = prefill.scaled(work.concurrency)
    speed = {
        "ttft_s": ttft,
        "time_per_token_s": step,
        "end_to_end_s": ttft.plus(step.scaled(work.output_tokens - 1)),
        "prefill_tokens_per_s": prefill.rate_of(work.prompt_tokens),
        "decode_tokens_per_s": step.rate_of(1),
    }
    if work.concurrency > 1:
        speed["throughput_tokens_per_s"] = step.rate_of(work.concurrency)
    return speed


def _interval(coefficients: Coefficients, phase: str) -> Interval:
    found = coefficients.held_out.get(phase)
    return None if found is None else found.relative_interval_90


def _quantity(theory: float | None, calibrated: float | None, interval: Interval) -> Quantity:
    if calibrated is None:
        return Quantity(theory, theory=theory, basis="unknown" if theory is None else "theory")
    if interval is None:
        return Quantity(calibrated, theory=theory, basis="calibrated")
    low, high = (calibrated * (1 + share) for share in interval)
    return Quantity(calibrated, low, high, theory, "calibrated")
