"""From journals to coefficients to answers, through the command lines."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.dataset import dataset
from calibration.errors import NothingToFit
from calibration.fitting import fit
from estimator.coefficients import read_coefficients
from harness.journal import read_record
from harness.record import Probes
from tests.calibration.making import MODELS, PRICES, planted_run
from tests.calibration.test_odd_records import rewritten


def test_journals_become_coefficients_with_their_origin(tmp_path: Path) -> None:
    fitted = fit([planted_run(tmp_path / "run")], prior=None)
    c = fitted.coefficients
    assert {name: c.speed[name].seconds_per_unit for name in PRICES} == pytest.approx(PRICES, rel=0.01)
    assert (c.records.models, c.records.cells) == (len(MODELS), 4 * len(MODELS))
    assert c.records.digest.startswith("sha256:")
    assert c.valid.weight_types == ("Q8_0",)
    assert c.held_out["decode"].groups == len(MODELS)
    assert c.memory is not None
    assert c.memory.anonymous_bytes_per_vocabulary_entry == pytest.approx(200, rel=0.02)


def test_cells_of_doubt_are_left_out_by_name(tmp_path: Path) -> None:
    noisy = planted_run(tmp_path / "noisy", scale=lambda repeat: 1 + repeat)
    with pytest.raises(NothingToFit, match=r"no usable cell.*NOISY"):
        fit([noisy], prior=None)
    fitted = fit([noisy], prior=None, include_noisy=True)
    assert len(fitted.noisy) == fitted.coefficients.records.cells == 4 * len(MODELS)


def test_one_model_borrows_the_priors_interval_and_says_so(tmp_path: Path) -> None:
    prior = fit([planted_run(tmp_path / "reference")], prior=None).coefficients
    assert prior.held_out["decode"].relative_interval_90 is not None
    alone = fit([planted_run(tmp_path / "run", models=MODELS[:1])], prior).coefficients
    assert alone.held_out["decode"].interval_origin == "prior"
    assert alone.held_out["decode"].relative_interval_90 is not None
    unaided = fit([tmp_path / "run"], prior=None).coefficients
    assert unaided.held_out["decode"].relative_interval_90 is None


def test_the_priors_interval_is_widened_to_hold_what_was_predicted_too_fast_here(tmp_path: Path) -> None:
    """One cell that takes twice as long as the fit without it says: measured / predicted - 1 is 1, the error a half."""
    prior = fit([planted_run(tmp_path / "reference")], prior=None).coefficients
    record = read_record(planted_run(tmp_path / "run", models=MODELS[:1]))
    odd = record.requests[0].cell
    slow = tuple(
        replace(r, chunks=tuple(c._replace(wire_ns=2 * c.wire_ns) for c in r.chunks), ended_ns=2 * r.ended_ns)
        if r.cell == odd else r for r in record.requests
    )  # fmt: skip
    rewritten(tmp_path / "slow", replace(record, requests=slow))
    fitted = fit([tmp_path / "slow"], prior)
    for phase, residuals in fitted.residuals.items():
        interval = fitted.coefficients.held_out[phase].relative_interval_90
        assert interval is not None
        beside = [r.measured / r.predicted - 1 for r in residuals]
        assert max(beside) > 0.5
        assert interval[0] <= min(beside) <= max(beside) <= interval[1]


def test_two_runs_of_the_same_cells_are_pooled(tmp_path: Path) -> None:
    folders = [planted_run(tmp_path / name) for name in ("a", "b")]
    data = dataset(read_record(folder) for folder in folders)
    assert len(data.observations) == 2 * 4 * len(MODELS)
    assert {o.requests for o in data.observations} == {8}


def test_a_machine_is_as_fast_as_its_best_probe_and_a_disturbed_one_changes_nothing(tmp_path: Path) -> None:
    records = [read_record(planted_run(tmp_path / name)) for name in ("a", "b", "c")]
    rates = [(20e9, 1e11), (25e9, None), (13e9, 4e10)]
    disturbed = [
        replace(record, header=replace(record.header, probes=Probes(read, multiplied, None, 1.0, 0.0)))
        for record, (read, multiplied) in zip(records, rates, strict=True)
    ]
    (probes,) = dataset(disturbed).probes.values()
    assert (probes.read_bytes_per_s, probes.matmul_flop_per_s) == (25e9, 1e11)


def test_memory_is_used_of_a_run_whose_times_are_not(tmp_path: Path) -> None:
    record = read_record(planted_run(tmp_path / "run", models=MODELS[:1]))
    once = replace(record, requests=tuple(r for r in record.requests if r.repeat == 0))
    data = dataset([once])
    assert not data.observations
    assert len(data.left_out) == 4
    assert len(data.memory) == 1


def test_records_of_another_build_are_left_out_and_the_newest_build_is_fitted(tmp_path: Path) -> None:
    planted_run(tmp_path / "old", engine="older", started_at="2026-11-22T12:00:00+00:00")
    planted_run(tmp_path / "new", models=MODELS[:2])
    fitted = fit([tmp_path], prior=None)
    assert fitted.build.engine == "simulated"
    assert fitted.coefficients.records.models == 2
    assert any("observations of another build: older" in reason for reason in fitted.left_out)


def run(package: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", package, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_fit_compare_and_predict_work_on_each_others_files(tmp_path: Path) -> None:
    planted_run(tmp_path / "results/local/run")
    fitted = run("calibration", "fit", cwd=tmp_path)
    assert fitted.returncode == 0, fitted.stderr
    assert "60 GB/s" in fitted.stdout
    assert read_coefficients(tmp_path / "results/coefficients.json").records.models == len(MODELS)
    compared = run("calibration", "compare", "--json", cwd=tmp_path)
    errors = [abs(entry["relative_error"]) for entry in json.loads(compared.stdout)]
    assert max(errors) < 0.01
    assert "median error" in run("calibration", "compare", cwd=tmp_path).stdout
    answer = run(
        "estimator",
        "predict",
        "--model",
        "mistral",
        "--quant",
        "q8_0",
        "--prompt-tokens",
        "48",
        "--json",
        "--anyway",
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert "calibrated" in answer.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("fit",), 7, "no results at results/local"),
        (("fit", "nowhere"), 7, "no results at nowhere"),
        (("compare", "nowhere"), 7, "no results at nowhere"),
    ],
)
def test_what_cannot_be_fitted_is_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = run("calibration", *arguments, cwd=tmp_path)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", [("fit", "nowhere", "--debug"), ("--debug", "fit", "nowhere")])
def test_a_traceback_is_shown_where_it_is_asked_for(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert "Traceback" in run("calibration", *words, cwd=tmp_path).stderr


@pytest.mark.slow
def test_coefficients_that_are_none_or_cannot_be_written_are_refused(tmp_path: Path) -> None:
    planted_run(tmp_path / "run", models=MODELS[:1])
    (tmp_path / "bad.json").write_text("{")
    assert run("calibration", "compare", "run", "--coefficients", "bad.json", cwd=tmp_path).returncode == 4
    (tmp_path / "file").write_text("")
    refused = run("calibration", "fit", "run", "--output", "file/c.json", cwd=tmp_path)
    assert refused.returncode == 2
    assert "choose another with --output" in refused.stderr
