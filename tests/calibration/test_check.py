"""The gate: what is let through, what is not, and which cause it names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.check import Checked, as_json, check
from calibration.errors import CalibrationError, NothingToCheck
from calibration.fitting import fit
from calibration.limits import DEFAULT, limits
from estimator.belonging import Elsewhere
from estimator.coefficients import Coefficients, write_coefficients
from estimator.specs import Workload
from harness.journal import read_record
from harness.record import Probes
from tests.calibration.making import MODELS, planted_run
from tests.calibration.noisy import Slower, noisy_run, unchanged
from tests.calibration.test_cli import run
from tests.calibration.test_odd_records import rewritten

LIMITS = limits(DEFAULT)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Coefficients:
    folder = tmp_path_factory.mktemp("fit")
    return fit([noisy_run(folder / str(day), day) for day in range(3)], prior=None).coefficients


@pytest.fixture(scope="module")
def without_gemma(tmp_path_factory: pytest.TempPathFactory) -> Coefficients:
    folder, models = tmp_path_factory.mktemp("five"), tuple(m for m in MODELS if m != "gemma2:2b")
    return fit([noisy_run(folder / str(day), day, models=models) for day in range(3)], prior=None).coefficients


def slower(phase: str, factor: float, model: str | None = None) -> Slower:
    def how(which: str, name: str, _work: Workload) -> float:
        return factor if which == phase and model in (None, name) else 1.0

    return how


def checked(folder: Path, fitted: Coefficients, how: Slower = unchanged, seed: int = 40) -> Checked:
    return check([noisy_run(folder / f"new{seed}", seed, slower=how)], fitted, LIMITS)


def test_twenty_clean_runs_raise_no_alarm(fitted: Coefficients, tmp_path: Path) -> None:
    found = [checked(tmp_path, fitted, seed=seed) for seed in range(100, 120)]
    assert [one.findings for one in found if not one.passes] == []
    assert all(len(one.rows) == 4 * len(MODELS) * 2 + 2 * len(MODELS) for one in found)


@pytest.mark.parametrize(("phase", "what"), [("decode", "decode"), ("prefill", "ttft")])
def test_an_engine_that_is_ten_percent_slower_is_called_so_although_no_limit_is_exceeded(
    fitted: Coefficients, tmp_path: Path, phase: str, what: str
) -> None:
    one = checked(tmp_path, fitted, slower(phase, 1.1))
    assert not one.passes
    assert {row.state for row in one.rows} <= {"within", "edge"}
    (finding,) = one.findings
    assert (finding.cause, len(finding.labels)) == ("engine slower", 4 * len(MODELS))
    assert finding.text.startswith(f"{what}: ")
    assert "in all 24 cells" in finding.text


def test_one_model_that_became_slower_is_told_from_its_neighbours(fitted: Coefficients, tmp_path: Path) -> None:
    one = checked(tmp_path, fitted, slower("decode", 1.12, MODELS[2]))
    (finding,) = one.findings
    assert finding.cause == "engine slower"
    assert all(MODELS[2] in label for label in finding.labels)
    assert "of the other cells" in finding.text


def test_a_faster_engine_is_said_and_let_through(fitted: Coefficients, tmp_path: Path) -> None:
    one = checked(tmp_path, fitted, slower("decode", 0.91))
    assert [finding.cause for finding in one.findings] == ["engine faster"]
    assert one.passes


def test_a_model_that_the_fit_does_not_describe_is_blamed_and_not_the_engine(
    without_gemma: Coefficients, tmp_path: Path
) -> None:
    one = checked(tmp_path, without_gemma, slower("decode", 1.3, "gemma2:2b"))
    assert not one.passes
    (finding,) = one.findings
    assert finding.cause == "model"
    assert "model gemma2:2b: predicted" in finding.text
    assert "too fast in 4 cells, not measured for the fit" in finding.text


def test_what_was_wrong_when_it_was_fitted_is_the_models_fault(fitted: Coefficients, tmp_path: Path) -> None:
    dear = {name: replace(c, seconds_per_unit=c.seconds_per_unit * 1.4) for name, c in fitted.speed.items()}
    one = checked(tmp_path, replace(fitted, speed=dear))
    assert {finding.cause for finding in one.findings} == {"model"}
    assert any("was so when it was fitted" in finding.text for finding in one.findings)


def test_memory_that_grew_is_the_engines_and_memory_that_was_mispredicted_the_models(
    fitted: Coefficients, tmp_path: Path
) -> None:
    grown = checked(tmp_path, fitted, slower("memory", 1.06))
    assert {finding.cause for finding in grown.findings} == {"engine slower"}
    assert "beside the same process when it was fitted" in grown.findings[0].text
    assert fitted.memory is not None
    wrong = replace(fitted, memory=replace(fitted.memory, anonymous_constant_bytes=4e8))
    assert {finding.cause for finding in checked(tmp_path, wrong, seed=41).findings} == {"model"}


def test_cells_of_doubt_are_not_judged_and_named(fitted: Coefficients, tmp_path: Path) -> None:
    noisy = planted_run(tmp_path / "noisy", scale=lambda repeat: 1 + repeat)
    one = check([noisy], replace(fitted, engine=replace(fitted.engine, system_info="")), LIMITS, anyway=True)
    assert {row.what for row in one.rows} == {"memory"}
    assert sum("NOISY" in reason for reason in one.not_judged) == 4 * len(MODELS)


def test_cells_that_cannot_be_true_are_named_and_call_no_engine_faster(fitted: Coefficients, tmp_path: Path) -> None:
    record = read_record(noisy_run(tmp_path / "new", seed=30, slower=slower("decode", 0.5)))
    header = replace(record.header, probes=Probes(30e9, 1e12, None, 0.0, 0.0))
    subjects = tuple(replace(s, system_info="CPU : AVX2 = 1 |") for s in record.subjects)
    new = rewritten(tmp_path / "fast", replace(record, header=header, subjects=subjects))
    here = replace(fitted, engine=replace(fitted.engine, system_info="CPU : AVX2 = 1 |"))
    one = check([new], here, LIMITS)
    assert sum("where the machine reads 30" in reason for reason in one.not_judged) == 4 * len(MODELS)
    assert [finding.text for finding in one.findings] == []


def test_runs_that_the_fit_stands_on_are_no_evidence(fitted: Coefficients, tmp_path: Path) -> None:
    known = noisy_run(tmp_path / "known", seed=1)
    with pytest.raises(NothingToCheck, match="run-1: the fit stands on it, so it is no evidence"):
        check([known], fitted, LIMITS)
    one = check([known, noisy_run(tmp_path / "new", seed=50)], fitted, LIMITS)
    assert one.passes
    assert any("run-1" in reason for reason in one.not_judged)


def test_another_engine_build_or_machine_is_refused_unless_told_to(fitted: Coefficients, tmp_path: Path) -> None:
    new = noisy_run(tmp_path / "new", seed=60)
    other = replace(fitted, engine=replace(fitted.engine, version="0.9"))
    with pytest.raises(Elsewhere, match=r"simulated 0\.9, not simulated 1.*--anyway"):
        check([new], other, LIMITS)
    assert check([new], other, LIMITS, anyway=True).notes == ("checked all the same: simulated 0.9, not simulated 1",)
    with pytest.raises(Elsewhere, match="CPU Other, not Test CPU"):
        check([new], replace(fitted, machine=replace(fitted.machine, cpu="Other")), LIMITS)


def test_a_term_without_price_leaves_its_cells_unjudged(fitted: Coefficients, tmp_path: Path) -> None:
    speed = {name: c for name, c in fitted.speed.items() if name != "attention.decode"}
    one = check([noisy_run(tmp_path / "new", seed=70)], replace(fitted, speed=speed), LIMITS)
    assert "decode" not in {row.what for row in one.rows}
    assert any("never measured attention.decode" in reason for reason in one.not_judged)


def test_json_holds_rows_findings_and_what_would_have_been_seen(fitted: Coefficients, tmp_path: Path) -> None:
    plain = json.loads(json.dumps(as_json(checked(tmp_path, fitted))))
    assert plain["passes"] is True
    assert {row["state"] for row in plain["rows"]} <= {"within", "edge"}
    assert 0.03 <= plain["least_slowdown_seen"]["decode"] < 0.08


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("decod=10%", "did you mean decode"),
        ("speed=1%", "knows decode, ttft, memory, not 'speed'"),
        ("decode", "decode= is no share"),
        ("decode=fast", "decode=fast is no share above 0"),
        ("decode=0", "is no share above 0"),
        ("decode=-3%", "is no share above 0"),
        ("decode=5%,decode=6%", "names decode twice"),
        ("", "not ''"),
    ],
)
def test_limits_that_make_no_sense_are_refused(text: str, said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        limits(text)


def test_limits_are_shares_with_or_without_percent() -> None:
    assert limits("decode=7.5%, memory=0.02") == {"decode": 0.075, "memory": 0.02}


@pytest.mark.slow
def test_the_command_prints_a_table_of_what_is_out_and_ends_with_its_status(
    fitted: Coefficients, tmp_path: Path
) -> None:
    write_coefficients(tmp_path / "c.json", fitted)
    noisy_run(tmp_path / "good", seed=80)
    noisy_run(tmp_path / "bad", seed=81, slower=slower("decode", 1.4))
    arguments = ("--coefficients", "c.json")
    good = run("calibration", "check", "good", *arguments, cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    assert "check: OK" in good.stdout
    assert "would have been called" in good.stdout
    bad = run("calibration", "check", "bad", *arguments, cwd=tmp_path)
    assert bad.returncode == 1
    assert "engine slower: decode: " in bad.stdout
    assert "24 out of 0.1" in bad.stdout
    wrong = run("calibration", "check", "good", *arguments, "--max-error", "tpot=3%", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
