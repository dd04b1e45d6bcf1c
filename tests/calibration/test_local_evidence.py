"""The evidence for a fit to stored runs, from cells of a planted machine: what is planted must show."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import NothingToFit
from calibration.fitters import fit_speed
from calibration.fitting import Fitted, fit
from calibration.local.ablation import ablation_table, ablations
from calibration.local.curve import ALL, curve_of, curve_table, drawn
from calibration.local.errors import coverage_table, each_table, left_out_table
from calibration.local.leaving import (
    PHASES,
    Held,
    left_out,
    model_of,
    of_phase,
    repeated,
    runs_left_out,
    sizes_of,
    type_of,
)
from calibration.local.nested import coverage, residuals_of, speed_intervals
from calibration.local.stored import WITHOUT, Stored, stored
from calibration.local.worst import NOT_EXPLAINED, reasons, worst_table
from calibration.observations import Observation
from calibration.shown.sides import same_side
from estimator.catalog import find_model
from estimator.coefficients import Coefficients
from estimator.tensors import model_file
from estimator.theory.terms import decode_terms, prefill_terms
from harness.journal import read_record
from tests.calibration.making import BUILD, WORKS, observations, planted_run
from tests.calibration.test_odd_records import rewritten
from tests.planted import MODELS, PRICES, seconds

Q4_0 = {"weights.Q4_0": 1 / 45e9, "matmul.Q4_0": 1 / 1.4e12}


def of_types(quants: Iterable[str], noise: float = 0.0, seed: int = 1) -> list[Observation]:
    """The planted machine's cells of every model in each weight type, with relative `noise`."""
    rng, found = random.Random(seed), []
    for quant in quants:
        for name in MODELS:
            file = model_file(find_model(name), quant)
            for work in WORKS:
                for phase, terms in (("prefill", prefill_terms(file, work)), ("decode", decode_terms(file, work))):
                    time_s = seconds(terms, PRICES | Q4_0) * (1 + noise * rng.gauss(0, 1))
                    found.append(Observation(BUILD, phase, file, work, terms, time_s, 4, "planted"))  # type: ignore[arg-type]
    return found


def median_error(held: list[Held], phase: str = "decode") -> float:
    sizes = sizes_of(of_phase(held, phase))
    assert sizes is not None
    return sizes.median


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fit([planted_run(tmp_path_factory.mktemp("planted") / "run")], prior=None)


def runs(fitted: Fitted, found: Iterable[Observation], prior: Coefficients | None = None, seen: int = 0) -> Stored:
    """As if `found` had been stored, with the prices of `prior`."""
    prices = {name: c.seconds_per_unit for name, c in prior.speed.items()} if prior else None
    refit = partial(fit_speed, prior=prices)
    return Stored(replace(fitted, observations=tuple(found), prices=prices, refit=refit), prior, seen)


def twice_as_dear(fitted: Fitted) -> Coefficients:
    """Coefficients of a machine of half the speed."""
    c = fitted.coefficients
    speed = {name: replace(one, seconds_per_unit=2 * one.seconds_per_unit) for name, one in c.speed.items()}
    return replace(c, speed=speed)


def row_of(table: object, label: str) -> dict[str, str]:
    """The row that begins with `label`, by its heads."""
    (row,) = [row for row in table.rows if row[0] == label]  # type: ignore[attr-defined]
    return dict(zip(table.heads, row, strict=True))  # type: ignore[attr-defined]


def test_errors_of_models_left_out_are_those_that_the_fit_itself_tells(fitted: Fitted) -> None:
    held = left_out(fitted.observations, model_of, fit_speed)
    for phase in PHASES:
        told = sorted((r.label, r.predicted) for r in fitted.residuals[phase])  # type: ignore[index]
        assert sorted((r.label, r.predicted) for r in residuals_of(of_phase(held, phase))) == told


def test_a_weight_type_that_nothing_else_has_is_not_predicted_without_a_prior(fitted: Fitted) -> None:
    found = of_types(["Q8_0", "Q4_0"])
    alone = row_of(each_table("", left_out(found, type_of, fit_speed)), "Q4_0")
    assert (alone["decode median (p90, worst)"], alone["decode cells"]) == ("not predicted", "0 of 24")
    prices = fit_speed(found).seconds_per_unit
    by_prior = left_out(found, type_of, lambda some: fit_speed(some, prices))
    assert median_error(by_prior) < 0.03
    together = row_of(left_out_table(runs(fitted, found)), f"weight type, {WITHOUT}")
    assert together["decode cells, groups"].startswith("24 of 48, 1")


def test_a_run_that_was_slower_is_off_by_as_much_and_so_is_the_same_cell_of_the_other(fitted: Fitted) -> None:
    pairs = [replace(o, by_run=(("a", o.seconds), ("b", 1.2 * o.seconds))) for o in observations()]
    again, new = runs_left_out(pairs, fit_speed)
    assert new == []
    assert {one.group for one in again} == {"a", "b"}
    assert sorted({round(one.error or 0, 3) for one in repeated(pairs)}) == [-0.167, 0.2]
    for run, error in (("a", 0.2), ("b", -1 / 6)):
        assert np.median([one.error for one in again if one.group == run]) == pytest.approx(error, abs=0.01)


def test_cells_that_only_the_run_left_out_has_are_told_apart_from_those_measured_again() -> None:
    found = [replace(o, by_run=(("a", o.seconds),) if o.work == WORKS[0] else (("a", o.seconds), ("b", o.seconds)))
             for o in observations()]  # fmt: skip
    again, new = runs_left_out(found, fit_speed)
    assert {one.observation.work for one in new} == {WORKS[0]}
    assert len(again) == 2 * 3 * 2 * len(MODELS)


def test_a_planted_term_that_is_left_out_shows_and_one_that_was_never_planted_earns_nothing() -> None:
    found = observations(noise=0.003)
    held = left_out(found, model_of, fit_speed)
    table = ablation_table(found, held, fit_speed)
    assert row_of(table, "no attention.decode")["decode says"] == "earns"
    assert row_of(table, "no matmul")["prefill says"] == "earns"
    assert row_of(table, "no step")["decode says"] != "earns"
    assert row_of(table, "no matmul")["decode says"] == ""
    assert "no step" in table.notes[-1]
    assert "no matmul," not in table.notes[-1]
    assert table.rows[-1][0] == "none of those that do not earn alone"
    assert "earns" not in (table.rows[-1][3], table.rows[-1][6])


def test_one_price_for_types_that_cost_unlike_shows_too() -> None:
    found = of_types(["Q8_0", "Q4_0"], noise=0.003)
    table = ablation_table(found, left_out(found, model_of, fit_speed), fit_speed)
    assert row_of(table, "one price for all weights.T")["decode says"] == "earns"
    assert "one price for all weights.T" not in ablations(observations())


def test_the_learning_curve_falls_with_the_cells_of_other_models() -> None:
    found = of_types(["Q8_0", "Q4_0"], noise=0.05)
    points = drawn(found, fit_speed, draws=3)
    assert list(points) == ["3", "5", "10", "20", ALL]
    sizes = [median_error(points[count]) for count in points]
    assert sizes[0] > 2 * sizes[-1]
    assert sizes[1] > sizes[-1]
    few = sizes_of(points["3"])
    assert few is not None
    assert few.known < few.asked == 3 * len(found)


def test_zero_cells_are_the_prior_as_it_stands_and_three_are_scaled(fitted: Fitted) -> None:
    known = runs(fitted, observations(noise=0.01), twice_as_dear(fitted))
    curve = curve_of(known, draws=1)
    with_prior = curve.points[known.words]
    assert median_error(list(with_prior["0"])) == pytest.approx(1.0, abs=0.05)
    assert median_error(list(with_prior["3"])) < 0.05
    assert "0" not in curve.points[WITHOUT]
    assert "not scaled to this machine" in curve_table(known, curve).notes[-1]


def test_a_model_whose_others_have_too_few_cells_is_left_out_of_that_point() -> None:
    one, *others = MODELS[:3]
    found = [
        o for o in observations([one, *others]) if o.file.model.name == find_model(one).name or o.work in WORKS[:2]
    ]
    points = drawn(found, fit_speed, draws=1)
    assert {o.observation.file.model.name for o in points["5"]} == {find_model(name).name for name in others}
    assert "10" not in points


def test_a_prior_that_has_seen_the_runs_is_not_believed(tmp_path: Path) -> None:
    folder = planted_run(tmp_path / "run")
    prior = fit([folder], prior=None).coefficients
    seen = stored([folder], prior)
    assert (seen.runs_seen, seen.believed) == (1, None)
    assert seen.fit(seen.observations) == fit_speed(seen.observations, None)
    assert "it is no evidence" in seen.facts[1]
    assert "evidence here" in curve_table(seen, curve_of(seen, draws=1)).notes[-1]
    other = stored([planted_run(tmp_path / "other")], prior)
    assert (other.runs_seen, other.believed) == (0, prior)
    assert other.fit is other.fitted.refit
    few = other.observations[:2]
    assert other.fit(few) != fit_speed(few)


def test_intervals_of_models_left_out_are_from_the_other_models_alone() -> None:
    found = observations(noise=0.03)
    whole = speed_intervals(found, fit_speed)
    assert len(whole) == 2 * len(MODELS)
    these = speed_intervals(found, fit_speed, another_run=False)
    assert all(low < these[key][0] < these[key][1] < high for key, (low, high) in whole.items())
    group = model_of(found[0])
    slower = [replace(o, seconds=1.5 * o.seconds) if model_of(o) == group else o for o in found]
    changed = speed_intervals(slower, fit_speed)
    assert changed[group, "decode"] == whole[group, "decode"]
    others = [name for name, _ in whole if name != group]
    assert changed[others[0], "decode"][1] > whole[others[0], "decode"][1]
    told = coverage(residuals_of(left_out(found, model_of, fit_speed)), whole, "decode")
    assert told is not None
    assert 0.7 <= told.cells_share <= 1
    missed = coverage(residuals_of(left_out(slower, model_of, fit_speed)), whole, "decode")
    assert missed is not None
    assert missed.models_share < told.models_share


def test_five_models_have_no_interval_for_the_one_left_out_and_that_is_said(fitted: Fitted) -> None:
    found = observations(MODELS[:5])
    few = replace(runs(fitted, found), fitted=replace(fitted, observations=tuple(found), memory=()))
    table = coverage_table(few, left_out(found, model_of, fit_speed), speed_intervals(found, fit_speed))
    assert table.rows == ()
    assert "under 6 models" in table.notes[-1]


def test_a_model_that_is_slower_as_a_whole_is_the_worst_and_named_as_such() -> None:
    found = [replace(o, seconds=1.4 * o.seconds) if o.file.model.name == find_model(MODELS[2]).name else o
             for o in observations()]  # fmt: skip
    table = worst_table(left_out(found, model_of, fit_speed))
    assert len(table.rows) == 10
    assert find_model(MODELS[2]).name in table.rows[0][0]
    assert "all 4 cells of this model err to this side" in table.rows[0][-1]


def told_of(cells: list[Observation], chosen: Observation) -> str:
    held = left_out(cells, model_of, fit_speed)
    (one,) = [one for one in held if one.observation.label == chosen.label]
    return "; ".join(reasons(held, one)) or NOT_EXPLAINED


def test_a_cell_is_explained_by_what_holds_for_it_and_else_not_at_all() -> None:
    found = observations()
    middle = next(
        o
        for o in found
        if o.file.model.name == find_model(MODELS[3]).name and o.work == WORKS[2] and o.phase == "decode"
    )
    odd = replace(middle, seconds=1.3 * middle.seconds)

    def with_odd(one: Observation) -> list[Observation]:
        return [one if o is middle else o for o in found]

    assert told_of(with_odd(odd), odd) == NOT_EXPLAINED
    assert "NOISY" in told_of(with_odd(replace(odd, noisy=True)), odd)
    assert "standard error of its median is 20.0%" in told_of(with_odd(replace(odd, relative_error=0.2)), odd)
    apart = replace(odd, by_run=(("a", odd.seconds), ("b", 1.3 * odd.seconds)))
    assert "its 2 runs differ by 30.0%" in told_of(with_odd(apart), odd)


def test_depth_beyond_the_others_and_short_requests_are_said() -> None:
    found = observations()
    deep = next(o for o in found if o.work == WORKS[3] and o.phase == "decode")
    shallow = [o for o in found if o.work != WORKS[3] or model_of(o) == model_of(deep)]
    assert "1,200 tokens in the cache, others 0 to 400" in told_of(shallow, deep)
    short = next(o for o in found if o.work == WORKS[0] and o.phase == "prefill")
    assert "short: " in told_of(found, short)


def test_a_term_that_one_other_model_has_is_said() -> None:
    q8, q4 = of_types(["Q8_0"]), of_types(["Q4_0"])
    found = [*q8, *(o for o in q4 if o.file.model.name in {find_model(name).name for name in MODELS[:2]})]
    chosen = next(o for o in found if o.file.quant == "Q4_0" and o.phase == "decode")
    assert "weights.Q4_0 is " in told_of(found, chosen)
    assert "5% or more of it in 1 other model" in told_of(found, chosen)


@pytest.mark.parametrize(("logs", "own", "same"), [
    ([0.1, 0.2, 0.3], 0.3, True), ([0.1, 0.2, 0.3], 0.5, False),
    ([-0.1, 0.2, 0.3], 0.3, False), ([0.2, 0.2], -0.2, False),
])  # fmt: skip
def test_errors_are_alike_on_one_side_and_of_half_the_size(logs: list[float], own: float, same: bool) -> None:
    assert same_side(np.array(logs), own) is same


def test_one_model_alone_is_refused_in_a_line_and_so_is_one_cell(tmp_path: Path) -> None:
    with pytest.raises(
        NothingToFit, match=r"^no model can be left out: all 4 cells are of .*; measure a second model$"
    ):
        stored([planted_run(tmp_path / "run", models=MODELS[:1])], None)
    record = read_record(tmp_path / "run")
    cell = record.requests[0].cell
    rewritten(tmp_path / "one", replace(record, requests=tuple(r for r in record.requests if r.cell == cell)))
    with pytest.raises(NothingToFit, match="the only cell is of"):
        stored([tmp_path / "one"], None)
