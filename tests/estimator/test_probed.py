"""Rates that `harness doctor` measured: kept, read back, and used for this machine alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from estimator.coefficients import find_coefficients
from estimator.errors import UnreadableFile
from estimator.machine import identity, this_machine
from estimator.probed import Probed, find_probed, keep_probed
from tests.estimator.examples import coefficients
from tests.estimator.test_command import run

CPU, CORES, _ = identity()
HERE = Probed(CPU, CORES, 2, 30e9, 250e9, "2026-11-25")


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    assert find_probed(tmp_path / "machine.json") is None


def test_the_best_rate_of_all_probes_of_a_machine_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "results" / "machine.json"
    assert keep_probed(HERE, path) == HERE
    disturbed = replace(HERE, read_bytes_per_s=20e9, matmul_flop_per_s=260e9, probed_at="2026-11-26")
    best = replace(HERE, matmul_flop_per_s=260e9, probed_at="2026-11-26")
    assert keep_probed(disturbed, path) == best == find_probed(path)
    assert keep_probed(replace(HERE, read_bytes_per_s=None), path).read_bytes_per_s == 30e9


@pytest.mark.parametrize("other", [replace(HERE, cpu="another"), replace(HERE, physical_cores=CORES + 1)])
def test_rates_of_another_machine_are_neither_kept_nor_used(tmp_path: Path, other: Probed) -> None:
    path = tmp_path / "machine.json"
    keep_probed(replace(other, read_bytes_per_s=90e9), path)
    assert this_machine(probed=find_probed(path)).bandwidth_bytes_per_s is None
    assert keep_probed(HERE, path) == HERE


def test_rates_are_stated_before_fitted_before_probed() -> None:
    probed = this_machine(probed=HERE)
    assert (probed.bandwidth_bytes_per_s, probed.compute_flop_per_s) == (30e9, 250e9)
    assert probed.source == "measured by `harness doctor`, 2026-11-25"
    known = coefficients()
    fitted = coefficients(machine=type(known.machine)(CPU, CORES, 2**34, 12e9, None))
    both = this_machine(20e9, None, fitted, HERE)
    assert (both.bandwidth_bytes_per_s, both.compute_flop_per_s) == (20e9, 250e9)
    assert both.source == "stated; measured by `harness doctor`, 2026-11-25"
    assert this_machine(coefficients=fitted, probed=HERE).bandwidth_bytes_per_s == 12e9


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        *((rate, "no rate a second; remove it and measure anew") for rate in ("0", "-1", "1e999", "1e-300", "1e300")),
        ("9" * 400, "read_bytes_per_s is too large for a number"),
        ("NaN", "is no number.*remove it and measure anew with `python -m harness doctor`"),
    ],
)
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: str, said: str) -> None:
    path = tmp_path / "machine.json"
    keep_probed(HERE, path)
    path.write_text(path.read_text().replace("30000000000.0", rate))
    with pytest.raises(UnreadableFile, match=said):
        find_probed(path)


@pytest.mark.parametrize("find", [find_probed, lambda path: find_coefficients(None, path)])
def test_where_nobody_may_look_for_a_file_a_line_says_so(tmp_path: Path, find: Callable[[Path], object]) -> None:
    with pytest.raises(UnreadableFile, match="cannot look for the .*: File name too long"):
        find(tmp_path / ("x" * 300) / "file.json")
    assert find(tmp_path / "none" / "file.json") is None


def test_what_doctor_multiplied_is_no_bound_of_prefill_and_the_answer_says_so(tmp_path: Path) -> None:
    (said,) = this_machine(probed=HERE).assumptions
    assert "may exceed it" in said
    assert this_machine(20e9, 2e11, probed=HERE).assumptions == ()
    keep_probed(HERE, tmp_path / "results" / "machine.json")
    assert said in " ".join(run(tmp_path, "predict").stdout.split())
    assert said not in " ".join(run(tmp_path, "fit").stdout.split())


def test_what_is_here_has_the_rates_that_doctor_measured(tmp_path: Path) -> None:
    keep_probed(HERE, tmp_path / "results" / "machine.json")
    told = json.loads(run(tmp_path, "hardware", "--here", "--json").stdout)
    assert told["machine"]["bandwidth_bytes_per_s"] == 30e9


def test_predict_uses_the_rates_of_the_working_directory(tmp_path: Path) -> None:
    unknown = run(tmp_path, "predict", "--json")
    assert "measure them with `python -m harness doctor`" in unknown.stdout
    keep_probed(HERE, tmp_path / "results" / "machine.json")
    told = json.loads(run(tmp_path, "predict", "--json").stdout)
    assert told["hardware"]["bandwidth_bytes_per_s"] == 30e9
    assert told["speed"]["time_per_token_s"]["theory"] > 0
    (tmp_path / "results" / "machine.json").write_text("{")
    broken = run(tmp_path, "predict")
    assert (broken.returncode, broken.stderr.count("\n")) == (4, 1)
