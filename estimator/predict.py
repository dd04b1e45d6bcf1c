"""`predict`: the answer to one question, from facts that are all arguments."""

from __future__ import annotations

from dataclasses import replace

from estimator.answer import Answer, Formulas, Quantity, quantity
from estimator.coefficients import Coefficients, interval_of
from estimator.needs import check, memory_and_verdict
from estimator.prices import Prices, cost_basis, cost_quantities
from estimator.reference.speed import Calibration, Published, ReferenceAnswer, reference_answer
from estimator.scope import scope_warnings, unfitted_warning
from estimator.specs import Hardware, ModelFile, Workload
from estimator.speed import PhaseTimes, calibrated_times, textbook_times, theory_times
from estimator.theory.load import load_from_disk_s, load_from_page_cache_s


def predict(
    file: ModelFile,
    work: Workload,
    hardware: Hardware,
    coefficients: Calibration | None = None,
    formulas: Formulas = "engineering",
    prices: Prices | None = None,
) -> Answer:
    """Memory, speed, cost and fit of serving `work` from `file` on `hardware`. Raises EstimatorError.

    With `coefficients` the answer is calibrated wherever they cover the question; without, or with the
    textbook formulas, it is theory and says so. Coefficients belong to the machine that they were fitted on: on
    hardware of the catalogue only `Published` measurements, the reference, are applied.

    >>> from estimator import Workload, hardware_named, model_file_named, predict
    >>> answer = predict(model_file_named("mistral:7b", "q4_0"), Workload(512, 128), hardware_named("RTX 4090"))
    >>> answer.fit.fits, answer.calibration
    ('yes', None)
    >>> step = answer.speed["time_per_token_s"]
    >>> step.basis, round(1000 * step.value, 2)  # (4.03 GB of weights + 577 x 128 KiB of cache) / 1,008 GB/s, in ms
    ('theory', 4.08)
    """
    check(work, hardware)
    prices = prices or Prices()
    published = coefficients if isinstance(coefficients, Published) and formulas != "textbook" else None
    referenced = None if published is None else reference_answer(file, work, published)
    fitted = coefficients if isinstance(coefficients, Coefficients) else None
    if formulas == "textbook" or hardware.catalogued:
        fitted = None
    memory, verdict = memory_and_verdict(file, work, hardware, fitted, formulas)
    prefill, step, warnings = _phases(file, work, hardware, referenced or fitted, formulas)
    speed = _speed(prefill, step, work) | _load(file, hardware)
    answered = bool(referenced and referenced.basis)
    return Answer(
        model=file.model.name,
        title=file.model.title,
        quant=file.quant,
        formulas=formulas,
        work=work,
        hardware=hardware,
        calibration=_origin(referenced or fitted),
        memory=memory,
        speed=speed,
        cost=cost_quantities(speed["end_to_end_s"], work, prices),
        cost_basis=cost_basis(prices),
        fit=verdict,
        warnings=(*warnings, *scope_warnings(file, work, hardware, fitted, formulas, answered)),
    )


def _origin(coefficients: Coefficients | ReferenceAnswer | None) -> str | None:
    if coefficients is None or isinstance(coefficients, ReferenceAnswer):
        return coefficients.basis if coefficients else None
    records, engine = coefficients.records, coefficients.engine
    return (
        f"{engine.name} {engine.version} on {coefficients.machine.cpu}, fitted {coefficients.fitted_at} "
        f"to {records.cells} cells of {records.models} models"
    )


def _phases(
    file: ModelFile,
    work: Workload,
    hardware: Hardware,
    coefficients: Coefficients | ReferenceAnswer | None,
    formulas: Formulas,
) -> tuple[Quantity, Quantity, tuple[str, ...]]:
    """One prompt's prefill and one decode step in seconds, calibrated or by theory, and what to say of them."""
    theory = (textbook_times if formulas == "textbook" else theory_times)(file, work, hardware)
    if isinstance(coefficients, ReferenceAnswer):
        pairs = ((coefficients.prefill, theory.prefill_s), (coefficients.step, theory.step_s))
        first, then = (quantity(time, None, None) if q is None else replace(q, theory=time) for q, time in pairs)
        return first, then, coefficients.warnings
    if coefficients is None:
        found, prefill_interval, decode_interval = PhaseTimes(None, None), None, None
    else:
        found = calibrated_times(file, work, coefficients)
        prefill_interval, decode_interval = interval_of(coefficients, "prefill"), interval_of(coefficients, "decode")
    prefill = quantity(theory.prefill_s, found.prefill_s, prefill_interval)
    step = quantity(theory.step_s, found.step_s, decode_interval)
    return prefill, step, unfitted_warning(found.unfitted)


def _speed(prefill: Quantity, step: Quantity, work: Workload) -> dict[str, Quantity]:
    """Everything that follows from the two."""
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


def _load(file: ModelFile, hardware: Hardware) -> dict[str, Quantity]:
    """Seconds until the model is loaded, where the disk's rate was stated; theory, whatever was fitted."""
    if hardware.disk_bytes_per_s is None:
        return {}
    found = {"load_from_disk_s": quantity(load_from_disk_s(file, hardware.disk_bytes_per_s), None, None)}
    cached = load_from_page_cache_s(file, hardware)
    if cached is not None:
        found["load_from_page_cache_s"] = quantity(cached, None, None)
    return found
