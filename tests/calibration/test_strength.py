"""How strongly prices are drawn toward a prior: few cells move it, many replace it, and who chooses has not seen it."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console

from calibration.fitters import PRIOR_SD, fit_speed
from calibration.fitting import fit, prior_errors
from calibration.local.ablation import ablations
from calibration.report import show_fit
from calibration.strength import LEAST_MODELS, SDS, Fits, Known, Strength
from calibration.validate import fits_without, shape_of
from estimator.coefficients import read_coefficients, write_coefficients
from tests.calibration.making import MODELS, PRICES, observations, planted_run
from tests.calibration.noisy import Day, noisy_run
from tests.calibration.test_local_evidence import Q4_0, of_types
from tests.planted import seconds

# A machine whose prices are half or twice the prior's, in each phase some of either.
TWICE = ("weights.Q8_0", "attention.row", "layer")
UNLIKE = {name: price * (2 if name in TWICE else 0.5) for name, price in PRICES.items()}


def off(prices: Mapping[str, float]) -> float:
    """Mean |log(predicted / measured)| of a model that nobody fitted, on that machine."""
    asked = observations(models=["mistral:7b"], prices=UNLIKE)
    return fmean(abs(math.log(seconds(o.terms, prices) / o.seconds)) for o in asked)


def test_few_cells_move_the_prior_toward_the_machine_and_many_replace_it() -> None:
    seen = observations(noise=0.02, prices=UNLIKE)
    cell, model, all_models = (off(fit_speed(some, PRICES).seconds_per_unit) for some in (seen[:2], seen[:8], seen))
    assert all_models < 0.04
    assert off(PRICES) > cell > 2 * all_models
    assert cell > model > all_models


def test_a_strong_prior_keeps_its_ratios_and_a_weak_one_leaves_the_records_alone() -> None:
    seen = observations(prices=UNLIKE)
    strong, weak = (fit_speed(seen, PRICES, sd).seconds_per_unit for sd in (1e-4, 1e3))
    for phase in (("weights.Q8_0", "attention.decode"), ("matmul.Q8_0", "attention.row")):
        one, other = phase
        assert strong[one] / strong[other] == pytest.approx(PRICES[one] / PRICES[other], rel=1e-3)
    assert {name: weak[name] for name in PRICES} == pytest.approx(UNLIKE, rel=0.01)


def test_the_strength_may_be_another_for_each_price() -> None:
    seen = observations(noise=0.02, prices=UNLIKE)[:8]
    held = fit_speed(seen, PRICES, {name: 1e-4 if name == "attention.decode" else 1.0 for name in PRICES})
    free = fit_speed(seen, PRICES, 1.0)
    both = PRICES["attention.decode"], UNLIKE["attention.decode"]
    near = [abs(math.log(fit.seconds_per_unit["attention.decode"] / both[0])) for fit in (held, free)]
    assert near[0] < near[1]


def test_a_weight_type_that_the_prior_lacks_does_not_make_the_prices_that_it_has_dear() -> None:
    """A machine like the prior's: what the prior knows stays as it is, whether a file has two unknown types or one."""
    seen = of_types(["Q4_0"])[:4]
    assert not PRICES.keys() & {"weights.Q4_0", "matmul.Q4_0"}
    assert fit_speed(seen, PRICES).seconds_per_unit["attention.decode"] == pytest.approx(
        PRICES["attention.decode"], rel=0.5
    )
    both = of_types(["Q8_0", "Q4_0"])
    merged = ablations(both)["one price for all weights.T"]
    assert fit_speed(merged, PRICES | Q4_0).seconds_per_unit["attention.decode"] == pytest.approx(
        PRICES["attention.decode"], rel=0.5
    )


def test_a_price_of_nothing_in_the_prior_is_one_where_no_cell_has_the_term() -> None:
    free = {**PRICES, "attention.decode_flop": 0.0, "attention.row": 0.0}
    decode = [replace(o, terms={n: a for n, a in o.terms.items() if n in free}) for o in observations()]
    fit = fit_speed([o for o in decode if o.phase == "decode"], free)
    assert fit.seconds_per_unit["attention.row"] == 0.0
    prefill = next(o for o in decode if o.phase == "prefill")
    assert "attention.row" in prefill.terms
    assert fit.seconds(prefill.terms) is not None


def test_models_that_agree_with_the_prior_choose_it_strong_and_models_that_do_not_weak() -> None:
    alike, unlike = observations(noise=0.1), observations(noise=0.02, prices=UNLIKE)
    strong, weak = (Fits(seen, Known(PRICES)).strength(seen) for seen in (alike, unlike))
    assert strong.relative_sd < PRIOR_SD < weak.relative_sd
    assert strong.models == weak.models == len(MODELS)
    assert {strong.relative_sd, weak.relative_sd} <= set(SDS)


def test_under_three_models_and_without_a_prior_the_strength_is_the_default() -> None:
    few = observations(models=MODELS[: LEAST_MODELS - 1], prices=UNLIKE)
    assert Fits(few, Known(PRICES)).strength(few) == Strength(PRIOR_SD, 0)
    enough = observations(prices=UNLIKE)
    assert Fits(enough, Known(None)).strength(enough) == Strength(PRIOR_SD, 0)


@pytest.mark.parametrize(("number", "times"), [(0, 20), (9, 1 / 20), (33, 1 / 20)])
def test_one_disturbed_cell_does_not_choose_the_strength(number: int, times: float) -> None:
    seen = observations(noise=0.02, prices=UNLIKE)
    disturbed = [replace(o, seconds=times * o.seconds) if at == number else o for at, o in enumerate(seen)]
    chosen, quiet = (Fits(some, Known(PRICES)).strength(some) for some in (disturbed, seen))
    assert chosen.relative_sd > PRIOR_SD
    assert quiet.relative_sd > PRIOR_SD


def test_where_no_strength_is_surely_better_the_default_stays() -> None:
    """Six models that a weaker prior serves best, by less than they tell apart."""
    rng = random.Random(3)
    prices = {name: price * math.exp(0.3 * rng.gauss(0, 1)) for name, price in PRICES.items()}
    seen = observations(noise=0.03, prices=prices)
    kept = Fits(seen, Known(PRICES)).strength(seen)
    assert kept == Strength(PRIOR_SD, len(MODELS))
    assert "none surely better" in kept.words


def test_a_model_that_is_left_out_is_left_out_of_the_choice_of_the_strength_too() -> None:
    seen = observations(models=MODELS[-LEAST_MODELS:], noise=0.02, prices=UNLIKE)
    fits = Fits(seen, Known(PRICES))
    assert fits.strength(seen).relative_sd > PRIOR_SD
    for model, without in fits_without(seen, fits.fit).items():
        rest = [o for o in seen if shape_of(o.file) != model]
        assert without == fit_speed(rest, PRICES), "two models cannot choose: the default"


def test_the_held_out_error_is_of_fits_that_choose_without_the_model(tmp_path: Path) -> None:
    """Three models choose a weak prior; the two that are left when one is held out cannot choose: the default."""
    prior = fit([planted_run(tmp_path / "reference")], prior=None).coefficients
    prices = {name: entry.seconds_per_unit for name, entry in prior.speed.items()}
    fitted = fit([noisy_run(tmp_path / "run", 1, Day(prices=UNLIKE), models=MODELS[-LEAST_MODELS:])], prior)
    assert fitted.coefficients.prior["relative_sd"] > PRIOR_SD
    assert len(fitted.residuals["decode"]) == 4 * LEAST_MODELS
    for residual in fitted.residuals["decode"]:
        rest = [o for o in fitted.observations if shape_of(o.file) != residual.group]
        terms = next(o.terms for o in fitted.observations if o.label == residual.label)
        by_default = fit_speed(rest, prices, Known(prices, errors=prior_errors(prior)).sds(PRIOR_SD))
        assert residual.predicted == pytest.approx(by_default.seconds(terms), rel=1e-9)


def test_the_coefficient_file_says_how_strong_the_prior_was_and_who_chose_it(tmp_path: Path) -> None:
    prior = fit([planted_run(tmp_path / "reference")], prior=None).coefficients
    assert not prior.prior
    for models, chosen in ((MODELS, len(MODELS)), (MODELS[:2], 0)):
        fitted = fit([planted_run(tmp_path / f"run{len(models)}", models=models)], prior)
        write_coefficients(tmp_path / "c.json", fitted.coefficients)
        told = read_coefficients(tmp_path / "c.json").prior
        assert told["relative_sd"] in (PRIOR_SD, *SDS)
        assert (told["chosen_over_models"], told["other_machines"]) == (chosen, 0)
        words = io.StringIO()
        show_fit(Console(file=words, width=400), fitted)
        assert (
            f"drawn toward the prior: Test CPU, {len(MODELS)} models; relative sd {told['chosen']}" in words.getvalue()
        )
        assert ("by leaving out each of 6 models" if chosen else "under 3 models cannot choose") in words.getvalue()
