"""Records of many machines: others move the prior of one, each keeps its own prices and file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from calibration.__main__ import fit as fit_command
from calibration.every import effects, every, file_of, show_every
from calibration.fitters import PRIOR_SD, fit_speed
from calibration.fitting import Builds, fit
from calibration.machines import pooled, told, units
from calibration.reading import read_dataset
from calibration.report import show_fit
from calibration.strength import Known
from estimator.coefficients import Coefficients, read_coefficients
from harness.journal import read_record
from tests.calibration.making import BUILD, MODELS, PRICES, observations, planted_run
from tests.calibration.noisy import Day, noisy_run
from tests.calibration.test_odd_records import rewritten
from tests.calibration.test_strength import UNLIKE, off
from tests.planted import random_prices

# The planted prices as a prior has them: every term, some of them free.
PRIOR = {name: PRICES.get(name, 0.0) for o in observations() for name in o.terms}

UNIT = units(PRIOR, observations())


def spread_of(known: Known, name: str) -> float:
    return known.sds(1.0)[name]


def machine(folder: Path, name: str, seed: int, prices: Mapping[str, float], models: tuple[str, ...] = MODELS) -> Path:
    """A run on the machine of that name."""
    record = read_record(noisy_run(folder / f"raw-{name}", seed, Day(prices=prices), models=models))
    host = replace(record.header.host, cpu=name)
    return rewritten(folder / name, replace(record, header=replace(record.header, host=host)))


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Coefficients:
    return fit([planted_run(tmp_path_factory.mktemp("reference") / "run")], prior=None).coefficients


def test_without_other_machines_the_prior_is_as_it_was() -> None:
    assert pooled(PRIOR, UNIT, []) == Known(PRIOR)


def test_machines_that_agree_move_the_prior_and_make_it_narrow() -> None:
    says = [told(observations(noise=0.02, prices=UNLIKE), PRIOR, UNIT)] * 6
    known = pooled(PRIOR, UNIT, [one for one in says if one is not None])
    assert known.prices is not None
    assert known.machines == 6
    for one, other in (("weights.Q8_0", "attention.decode"), ("attention.row", "matmul.Q8_0")):
        ratios = [prices[one] / prices[other] for prices in (PRICES, known.prices, UNLIKE)]
        assert ratios[1] == pytest.approx(ratios[2], rel=0.5)
        assert ratios[1] > 2 * ratios[0]
    few = observations(noise=0.02, prices=UNLIKE)[:2]
    alone, together = fit_speed(few, PRIOR), fit_speed(few, known.prices, known.sds(PRIOR_SD))
    assert off(together.seconds_per_unit) < 0.8 * off(alone.seconds_per_unit)
    assert spread_of(known, "weights.Q8_0") < 0.8


def test_machines_that_differ_in_a_price_make_it_wide_and_leave_it_where_it_was() -> None:
    prices = [{**PRICES, "attention.decode": PRICES["attention.decode"] * (2 if at % 2 else 0.25)} for at in range(8)]
    says = [told(observations(noise=0.02, prices=one), PRIOR, UNIT) for one in prices]
    known = pooled(PRIOR, UNIT, [one for one in says if one is not None])
    assert spread_of(known, "attention.decode") > 1.5
    assert spread_of(known, "attention.decode") > 2 * spread_of(known, "weights.Q8_0")


def test_a_machine_that_is_slower_as_a_whole_says_nothing_of_ratios() -> None:
    slow = [replace(o, seconds=3 * o.seconds) for o in observations(noise=0.01)]
    says = told(slow, PRIOR, UNIT)
    assert says is not None
    known = pooled(PRIOR, UNIT, [says])
    assert known.prices is not None
    for name in ("weights.Q8_0", "matmul.Q8_0", "attention.decode"):
        assert known.prices[name] == pytest.approx(PRICES[name], rel=0.05)


def test_a_machine_that_was_hardly_measured_moves_the_prior_hardly() -> None:
    whole, cell = (told(observations(prices=UNLIKE)[:count], PRIOR, UNIT) for count in (48, 2))
    assert whole is not None
    assert cell is not None
    far, near = (pooled(PRIOR, UNIT, [one]).prices for one in (whole, cell))
    assert far is not None
    assert near is not None
    moved = [abs(found["attention.decode"] / PRICES["attention.decode"] - 1) for found in (near, far)]
    assert moved[0] < 0.3 * moved[1]


def test_a_price_that_is_free_on_the_shipped_machine_and_dear_on_others_is_told() -> None:
    free = {**PRIOR, "attention.row": 0.0}
    unit = units(free, observations())
    says = [told(observations(noise=0.02), free, unit)] * 6
    known = pooled(free, unit, [one for one in says if one is not None])
    assert known.prices is not None
    parts = {
        name: observations()[0].terms[name] * known.prices[name] for name in ("attention.row", "attention.row_flop")
    }
    true = observations()[0].terms["attention.row"] * PRICES["attention.row"]
    assert sum(parts.values()) == pytest.approx(true, rel=0.5)


def test_cells_of_a_weight_type_without_a_price_say_nothing() -> None:
    unknown = [replace(o, terms={**o.terms, "weights.Q2_K": 1e9}) for o in observations()]
    assert told(unknown, PRIOR, UNIT) is None


def test_a_fit_of_few_cells_is_better_with_the_records_of_other_machines(tmp_path: Path, prior: Coefficients) -> None:
    for seed in range(4):
        machine(tmp_path / "others", f"Other CPU {seed}", seed, UNLIKE)
    here = machine(tmp_path / "here", "This CPU", 10, UNLIKE, models=MODELS[:1])
    alone, together = fit([here], prior), fit([here, *tmp_path.glob("others/Other*")], prior)
    assert together.coefficients.machine.cpu == "This CPU"
    assert (alone.coefficients.prior["other_machines"], together.coefficients.prior["other_machines"]) == (0, 4)
    errors = [
        off({name: entry.seconds_per_unit for name, entry in fitted.coefficients.speed.items()})
        for fitted in (alone, together)
    ]
    assert errors[1] < 0.5 * errors[0]
    words = io.StringIO()
    show_fit(Console(file=words, width=400), together)
    assert "moved by 4 other builds in the records, one a machine" in words.getvalue()


def test_of_each_other_machine_the_newest_build_counts_and_of_other_engines_none(
    tmp_path: Path, prior: Coefficients
) -> None:
    planted_run(tmp_path / "same", models=MODELS[:3], engine="simulated engine", started_at="2026-11-20T12:00:00+00:00")
    planted_run(tmp_path / "odd", models=MODELS[:3], engine="other", started_at="2026-11-21T12:00:00+00:00")
    machine(tmp_path, "Other CPU", 1, UNLIKE)
    planted_run(tmp_path / "new", models=MODELS[:3], started_at="2026-11-25T12:00:00+00:00")
    runs = [tmp_path / name for name in ("same", "odd", "Other CPU", "new")]
    assert fit(runs, prior).coefficients.prior["other_machines"] == 2
    assert fit(runs, None).coefficients.prior == {}


def test_a_gpu_says_nothing_of_a_processor_nor_a_processor_of_a_gpu(tmp_path: Path, prior: Coefficients) -> None:
    here = machine(tmp_path, "This CPU", 10, PRICES)
    record = read_record(machine(tmp_path, "raw", 1, UNLIKE))
    on_gpu = tuple(replace(s, system_info="CUDA : ARCHS = 900 | CPU : AVX2 = 1 |") for s in record.subjects)
    card = rewritten(tmp_path / "card", replace(record, subjects=on_gpu))
    alone, beside = fit([here], prior), Builds(*read_dataset([here, card]), prior)
    fitted = {build.system_info: beside.fit(build) for build in beside.parts}
    assert {one.coefficients.prior["other_machines"] for one in fitted.values()} == {0}
    assert fitted[""].coefficients.speed == alone.coefficients.speed


def test_runs_that_the_prior_was_fitted_to_do_not_count_again_as_another_machine(tmp_path: Path) -> None:
    reference = planted_run(tmp_path / "reference", started_at="2026-11-20T12:00:00+00:00")
    shipped = fit([reference], prior=None).coefficients
    here = machine(tmp_path, "This CPU", 10, UNLIKE)
    alone, beside = fit([here], shipped), fit([here, reference], shipped)
    assert beside.coefficients.machine.cpu == "This CPU"
    assert beside.coefficients.prior["other_machines"] == 0
    assert beside.coefficients.speed == alone.coefficients.speed


def test_an_engine_without_a_name_has_no_prior(tmp_path: Path, prior: Coefficients) -> None:
    assert fit([planted_run(tmp_path / "run", engine="")], prior).coefficients.prior == {}


def test_every_build_has_a_file_of_its_own_and_a_factor_against_the_first(tmp_path: Path) -> None:
    machine(tmp_path / "runs", "Fast CPU", 1, PRICES)
    machine(tmp_path / "runs", "Slow CPU", 2, {name: 2 * price for name, price in PRICES.items()})
    machine(tmp_path / "runs", "Third CPU", 3, random_prices(1))
    runs = sorted(tmp_path.glob("runs/* CPU"))
    fit_command(runs, tmp_path / "c.json", False, False, True)
    found = {c.machine.cpu: c for c in map(read_coefficients, (tmp_path / "c").glob("*.json"))}
    assert sorted(found) == ["Fast CPU", "Slow CPU", "Third CPU"]
    newest = read_coefficients(tmp_path / "c.json")
    assert found["Third CPU"].speed == newest.speed
    for name in ("weights.Q8_0", "matmul.Q8_0"):
        slower = found["Slow CPU"].speed[name].seconds_per_unit / found["Fast CPU"].speed[name].seconds_per_unit
        assert slower == pytest.approx(2, rel=0.1)
    fitted, failed = every(Builds(*read_dataset(runs), None))
    assert not failed
    assert [one.build.cpu for one in fitted] == ["Third CPU", "Slow CPU", "Fast CPU"]
    third, slow, fast = effects(fitted)
    for phase in ("decode", "prefill"):
        one, two, three = third[phase], slow[phase], fast[phase]
        assert one is not None
        assert two is not None
        assert three is not None
        assert one.factor == pytest.approx(1, abs=0.05)
        assert one.beyond < 0.05 < two.beyond
        assert two.factor / three.factor == pytest.approx(2, rel=0.05)
    words = io.StringIO()
    show_every(Console(file=words, width=400), fitted, [file_of(tmp_path, one.build) for one in fitted])
    assert all(name in words.getvalue() for name in ("Fast CPU", "decode x", "prefill x", ".json"))


def test_an_output_without_a_suffix_has_its_folder_beside_it(tmp_path: Path) -> None:
    fit_command([planted_run(tmp_path / "run")], tmp_path / "c", False, False, True)
    assert read_coefficients(tmp_path / "c").machine.cpu == "Test CPU"
    assert [read_coefficients(path).machine.cpu for path in (tmp_path / "c-builds").iterdir()] == ["Test CPU"]


def test_builds_that_differ_in_anything_have_names_of_their_own() -> None:
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"threads": 4},
        {"system_info": "AVX512"},
        {"memory_total_bytes": 1},
        {"version": "2"},
    )
    builds = [replace(BUILD, **change) for change in changes]
    names = [file_of(Path("c"), build).name for build in builds]
    assert len(set(names)) == len(builds)
    assert all(name.startswith("test-cpu-simulated-") and "/" not in name for name in names)


def test_a_build_of_impossible_cells_is_named_and_the_others_have_files(tmp_path: Path) -> None:
    machine(tmp_path / "runs", "Fast CPU", 1, PRICES)
    record = read_record(machine(tmp_path / "runs", "Odd CPU", 2, PRICES, models=MODELS[:1]))
    cpu = tuple(replace(s, system_info="CPU : AVX2 = 1 |") for s in record.subjects)
    probes = replace(record.header.probes, read_bytes_per_s=1e6)
    rewritten(tmp_path / "runs" / "slow", replace(record, header=replace(record.header, probes=probes), subjects=cpu))
    fitted, failed = every(Builds(*read_dataset([tmp_path / "runs" / name for name in ("Fast CPU", "slow")]), None))
    assert [one.build.cpu for one in fitted] == ["Fast CPU"]
    assert len(failed) == 1
    assert "Odd CPU" in failed[0]
    assert "no possible cell" in failed[0]
