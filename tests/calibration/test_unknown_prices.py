"""What a fit does where neither the records nor the prior say what something costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.fitters import MEMORY_NOISE_SD, PRIOR_SD, fit_memory, fit_speed
from calibration.fitting import fit, prior_errors, reference
from calibration.observations import MemoryObservation, Observation, PhaseName
from calibration.strength import Known
from calibration.validate import speed_residuals
from estimator.catalog import find_model
from estimator.coefficients import MemoryCoefficients
from estimator.tensors import model_file
from estimator.theory.terms import decode_terms, prefill_terms
from tests.calibration.making import BUILD, PRICES, WORKS, observations, planted_run
from tests.calibration.test_fitters import MEMORY, seen
from tests.planted import seconds

# Q5_K_M of this model is Q5_1 and Q5_K in fixed parts: its columns are no whole blocks of 256.
MIXED = "smollm2:360m"
TYPES = {f"{head}.{kind}": price for kind in ("Q5_1", "Q5_K", "Q6_K", "Q8_0")
         for head, price in (("weights", 1 / 60e9), ("matmul", 1 / 1.6e12))}  # fmt: skip
TRUTH = PRICES | TYPES


def of_type(names: Iterable[str], quant: str) -> list[Observation]:
    """What a machine of TRUTH shows of them."""
    found = []
    for name in names:
        file = model_file(find_model(name), quant)
        for work in WORKS:
            terms: dict[PhaseName, dict[str, float]] = {
                "prefill": prefill_terms(file, work), "decode": decode_terms(file, work),
            }  # fmt: skip
            found += [
                Observation(BUILD, phase, file, work, told, seconds(told, TRUTH), 4, "planted")
                for phase, told in terms.items()
            ]
    return found


def test_of_types_that_always_come_together_and_no_prior_knows_none_costs_nothing() -> None:
    fitted = fit_speed([*observations(["llama3.2:1b"]), *of_type([MIXED], "Q5_K_M")], PRICES)
    for kind in ("Q5_1", "Q5_K"):
        assert fitted.seconds_per_unit[f"weights.{kind}"] == pytest.approx(1 / 60e9, rel=0.25)
    assert {"weights.Q5_1", "weights.Q5_K"} <= fitted.guessed
    assert "weights.Q8_0" not in fitted.guessed


def test_a_model_whose_types_the_others_cannot_tell_apart_is_not_counted_as_predicted() -> None:
    known = {name: price for name, price in TRUTH.items() if not name.endswith(("Q5_1", "Q5_K"))}
    told = [*observations(["tinyllama:1.1b", "llama3.2:1b"]), *of_type([MIXED, "qwen3:0.6b"], "Q5_K_M")]
    judged = {residual.label.split()[2] for residual in speed_residuals(told, known)["decode"]}
    assert judged == {"tinyllama:1.1b", "llama3.2:1b"}
    # With a third model of them the types are told apart, and the others are judged.
    more = [*told, *of_type(["llama3.2:3b"], "Q5_K_M")]
    judged = {residual.label.split()[2] for residual in speed_residuals(more, known)["decode"]}
    assert {"qwen3:0.6b", "llama3.2:3b"} <= judged


def test_a_price_that_the_prior_hardly_knew_is_drawn_weakly_and_one_that_it_knew_strongly() -> None:
    wrong = PRICES | {"request": PRICES["request"] / 10}
    trusted = fit_speed(observations(), wrong, Known(wrong).sds(PRIOR_SD)).seconds_per_unit
    doubted = fit_speed(observations(), wrong, Known(wrong, errors={"request": 1.0}).sds(PRIOR_SD)).seconds_per_unit
    off = [abs(found["request"] / PRICES["request"] - 1) for found in (trusted, doubted)]
    assert off[1] < off[0] / 2


def test_errors_of_a_prior_are_its_standard_errors_and_no_more_than_a_guess(tmp_path: Path) -> None:
    prior = fit([planted_run(tmp_path / "run")], prior=None).coefficients
    names = ("weights.Q8_0", "layer", "step")
    entries = {name: replace(prior.speed["weights.Q8_0"], seconds_per_unit=2.0) for name in names}
    for name, error in zip(names, (0.5, 50.0, None), strict=True):
        entries[name] = replace(entries[name], standard_error=error)
    free = replace(entries["layer"], seconds_per_unit=0.0)
    assert prior_errors(replace(prior, speed=entries | {"vector": free})) == {
        "weights.Q8_0": 0.25, "layer": 1.0, "step": 1.0,
    }  # fmt: skip
    assert prior_errors(None) == {}


def test_attention_query_by_query_costs_as_in_decode_where_the_cells_are_too_short_to_tell() -> None:
    short = [o for o in observations(prices=PRICES | {"attention.row": PRICES["attention.decode"]}, noise=0.01)
             if o.phase == "decode" or not o.work.depth_tokens]  # fmt: skip
    found = fit_speed(short).seconds_per_unit
    assert found["attention.row"] == pytest.approx(found["attention.decode"], rel=0.7)


def test_a_type_that_no_process_had_is_repacked_as_the_priors_engine_did() -> None:
    prior = replace(MEMORY, repacked_types=("Q4_0", "Q8_0"))
    assert fit_memory([seen("tinyllama")], prior).repacked_types == ("Q4_0",)
    assert fit_memory([seen("tinyllama")]).repacked_types == ()


def test_prices_of_memory_are_drawn_to_the_priors_by_what_one_process_says() -> None:
    def of(memory: MemoryObservation, more: float) -> MemoryObservation:
        return replace(memory, anonymous_bytes=round(memory.anonymous_bytes * (1 + more)))

    names = ("tinyllama", "llama3.2:1b", "gemma2:2b", "qwen2.5:1.5b")
    scattered = [of(seen(name, rows=64 * (at + 1)), MEMORY_NOISE_SD * (-1) ** at) for at, name in enumerate(names)]
    drawn, free = fit_memory(scattered, MEMORY), fit_memory(scattered)

    def off(found: MemoryCoefficients) -> float:
        prices = ("anonymous_bytes_per_vocabulary_entry", "anonymous_bytes_per_tensor", "anonymous_bytes_per_row")
        return max(abs(float(getattr(found, name)) / float(getattr(MEMORY, name)) - 1) for name in prices)

    assert off(drawn) < 0.5 * off(free)


def test_the_shipped_prior_prices_attention_query_by_query_like_that_of_decode() -> None:
    prior = reference()
    assert prior is not None
    row, decode = (prior.speed[f"attention.{kind}_flop"].seconds_per_unit for kind in ("row", "decode"))
    assert row == pytest.approx(decode, rel=1.0)
