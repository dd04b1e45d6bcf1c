"""`predict`: the answer to one question, from facts that are all arguments."""

from __future__ import annotations

from estimator.answer import Answer, Formulas, Quantity, quantity
from estimator.coefficients import Coefficients, interval_of
from estimator.needs import check, memory_and_verdict
from estimator.prices import Prices, cost_basis, cost_quantities
from estimator.scope import scope_warnings, unfitted_warning
from estimator.specs import Hardware, ModelFile, Workload
from estimator.speed import PhaseTimes, calibrated_times, textbook_times, theory_times
from estimator.theory.load import load_from_disk_s, load_from_page_cache_s


def predict(
    file: ModelFile,
    work: Workload,
    hardware: Hardware,
    coefficients: Coefficients | None = None,
    formulas: Formulas = "engineering",
    prices: Prices | None = None,
) -> Answer:
    """Memory, speed, cost and fit of serving `work` from `file` on `hardware`. Raises EstimatorError.

    With `coefficients` the answer is calibrated wherever they cover the question; without, or with the
    textbook formulas, it is theory and says so. Hardware of the catalogue is always theory: coefficients belong to
    the machine that they were fitted on.
    """
    check(work, hardware)
    prices = prices or Prices()
    if formulas == "textbook" or hardware.catalogued:
        coefficients = None
    memory, verdict = memory_and_verdict(file, work, hardware, coefficients, formulas)
    speed, unfitted = _speed(file, work, hardware, coefficients, formulas)
    return Answer(
        model=file.model.name,
        title=file.model.title,
        quant=file.quant,
        formulas=formulas,
        work=work,
        hardware=hardware,
        calibration=None if coefficients is None else _origin(coefficients),
        memory=memory,
        speed=speed,
        cost=cost_quantities(speed["end_to_end_s"], work, prices),
        cost_basis=cost_basis(prices),
        fit=verdict,
        warnings=(*unfitted_warning(unfitted), *scope_warnings(file, work, hardware, coefficients, formulas)),
    )


def _origin(coefficients: Coefficients) -> str:
    records, engine = coefficients.records, coefficients.engine
    return (
        f"{engine.name} {engine.version} on {coefficients.machine.cpu}, fitted {coefficients.fitted_at} "
        f"to {records.cells} cells of {records.models} models"
    )


def _speed(
    file: ModelFile, work: Workload, hardware: Hardware, coefficients: Coefficients | None, formulas: Formulas
) -> tuple[dict[str, Quantity], tuple[str, ...]]:
    theory = (textbook_times if formulas == "textbook" else theory_times)(file, work, hardware)
    if coefficients is None:
        found, prefill_interval, decode_interval = PhaseTimes(None, None), None, None
    else:
        found = calibrated_times(file, work, coefficients)
        prefill_interval, decode_interval = interval_of(coefficients, "prefill"), interval_of(coefficients, "decode")
    prefill = quantity(theory.prefill_s, found.prefill_s, prefill_interval)
    step = quantity(theory.step_s, found.step_s, decode_interval)
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
    return speed | _load(file, hardware), found.unfitted


def _load(file: ModelFile, hardware: Hardware) -> dict[str, Quantity]:
    """Seconds until the model is loaded, where the disk's rate was stated; theory, whatever was fitted."""
    if hardware.disk_bytes_per_s is None:
        return {}
    found = {"load_from_disk_s": quantity(load_from_disk_s(file, hardware.disk_bytes_per_s), None, None)}
    cached = load_from_page_cache_s(file, hardware)
    if cached is not None:
        found["load_from_page_cache_s"] = quantity(cached, None, None)
    return found
