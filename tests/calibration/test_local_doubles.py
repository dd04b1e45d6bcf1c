"""Reports of stored runs: two observations of one name, cells without a prediction, a prior that others moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from calibration.fitters import SpeedFit, fit_speed
from calibration.fitting import fit
from calibration.local.ablation import worth_of
from calibration.local.curve import curve_of, curve_table
from calibration.local.leaving import PHASES, left_out, model_of, of_phase, predicted, repeated, runs_left_out
from calibration.local.stored import stored
from calibration.local.worst import worst_table
from calibration.observations import Observation
from tests.calibration.making import MODELS, PRICES, WORKS, observations, planted_run
from tests.calibration.test_machines import machine
from tests.calibration.test_strength import UNLIKE


def doubled(slower: float) -> list[Observation]:
    """Each cell twice under one label, as with and without an option of the engine: the second `slower`."""
    pairs = [(o, replace(o, seconds=slower * o.seconds)) for o in observations(MODELS[:3])]
    return [one for pair in pairs for one in pair]


def test_the_worth_of_a_term_compares_each_observation_with_itself() -> None:
    found = doubled(2.0)
    known = SpeedFit({name: PRICES.get(name, 0.0) for o in found for name in o.terms}, {})
    without = [replace(o, terms={n: a for n, a in o.terms.items() if n != "attention.decode"}) for o in found]
    whole, less = ([predicted(known, o, model_of(o)) for o in cells] for cells in (found, without))
    told = worth_of(of_phase(whole, "decode"), of_phase(less, "decode"))
    pairs = zip(of_phase(whole, "decode"), of_phase(less, "decode"), strict=True)
    assert told is not None
    assert told.rise == pytest.approx(fmean(abs(b.error or 0) - abs(a.error or 0) for a, b in pairs))


def test_a_run_is_held_against_the_other_runs_of_the_same_observation() -> None:
    found = [replace(o, by_run=(("a", o.seconds), ("b", o.seconds))) for o in doubled(1.5)]
    assert {one.error for one in repeated(found)} == {0.0}
    only = [replace(o, by_run=o.by_run[:1]) if number % 2 else o for number, o in enumerate(found)]
    again, new = runs_left_out(only, fit_speed)
    assert {len(one.observation.by_run) for one in (*again, *new)} == {1}
    assert len(again) == 2 * len(new) == 2 * len(PHASES) * 3 * len(WORKS)


def test_cells_without_a_prediction_do_not_count_among_those_that_err_alike() -> None:
    found = observations()
    group = model_of(found[0])
    slower = [replace(o, seconds=1.4 * o.seconds) if model_of(o) == group else o for o in found]
    unknown = [replace(o, terms={**o.terms, "weights.Q2_K": 1e9}) for o in slower if model_of(o) == group]
    held = left_out([*slower, *unknown], model_of, fit_speed)
    assert [one.predicted_s is None for one in held].count(True) == len(unknown) == 8
    told = worst_table(held).rows[0][-1]
    assert f"all {len(WORKS)} cells of this model err to this side" in told


def test_a_prior_that_other_builds_moved_is_not_called_the_shipped_one_as_it_stands(tmp_path: Path) -> None:
    shipped = fit([planted_run(tmp_path / "reference")], prior=None).coefficients
    here = machine(tmp_path, "This CPU", 10, UNLIKE, models=MODELS[:2])
    others = [machine(tmp_path, f"Other CPU {seed}", seed, UNLIKE) for seed in (1, 2)]
    for paths, words in (([here], "of Test CPU; not"), ([here, *others], "of Test CPU, moved by 2 other builds")):
        found = stored(paths, shipped)
        assert words in curve_table(found, curve_of(found, draws=1)).notes[-1]
    assert "(Test CPU, moved by 2 other builds in the records, one a machine)" in found.facts[1]
    assert "What other builds measured of a model that is left out stays in that prior." in found.facts[1]
    held = left_out(found.observations, model_of, found.fit)
    assert all(one.predicted_s for one in held)
