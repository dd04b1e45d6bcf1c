"""The benchmarks of planted truth and of growth (docs/accuracy.md), scaled down: what they count still holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.check import check
from calibration.limits import DEFAULT, limits
from estimator.coefficients import Coefficients
from tests.benchmarks import gate, laws, machines
from tests.calibration.noisy import QUIET, Slower, noisy_run, unchanged
from tests.planted import PRICES

pytestmark = pytest.mark.slow


def test_the_prices_of_a_random_law_come_back(tmp_path: Path) -> None:
    # Within 2 % on a machine with nothing else to do (the benchmark); seen 2.1 % off beside other work.
    found = laws.served(7, tmp_path, repeats=3, include_noisy=False)
    assert found.off == pytest.approx(dict.fromkeys(PRICES, 0.0), abs=0.08)


def test_about_nine_in_ten_cells_of_unseen_models_are_in_their_interval(tmp_path: Path) -> None:
    found = [laws.stored(seed, gate.DAYS["drifting"], tmp_path / str(seed)) for seed in range(12)]
    held = laws.coverage(found)
    # 288 cells a phase of 72 models on 12 days: the benchmark has ten times as many.
    assert 0.75 < held["prefill", "another"] < 0.98
    assert 0.75 < held["decode", "another"] < 0.98
    assert min(held["prefill", "same"], held["decode", "same"]) > 0.9


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> list[Coefficients]:
    folder = tmp_path_factory.mktemp("known")
    return [gate.fitted(folder / str(at), QUIET, gate.FIRST_SEED + 10 * at) for at in range(8)]


def failing(known: list[Coefficients], folder: Path, slower: Slower) -> int:
    """Of how many fits a new run fails."""
    runs = [noisy_run(folder / str(at), gate.FIRST_SEED + 10 * at + 9, slower=slower) for at in range(len(known))]
    return sum(not check([run], fit, limits(DEFAULT)).passes for run, fit in zip(runs, known, strict=True))


def test_clean_runs_pass_and_an_engine_slower_by_ten_percent_never_does(
    known: list[Coefficients], tmp_path: Path
) -> None:
    assert failing(known, tmp_path / "clean", unchanged) <= 1
    assert failing(known, tmp_path / "slow", gate.CASES["decode +10 %, all"][0]) == len(known)
    assert failing(known, tmp_path / "deep", gate.CASES["decode +10 %, deep cells"][0]) >= len(known) - 1


def test_records_of_other_machines_are_counted_and_hardly_need_memory(tmp_path: Path) -> None:
    times, memory = machines.times(), list[float]()
    for count in (10, 40):
        machines.written(tmp_path, range(0 if count == 10 else 10, count), times)
        _, highest, said = machines.measured(tmp_path)
        assert f"({count - 1} other machines in all)" in said
        memory.append(highest)
    assert memory[1] < 400e6
    assert memory[1] - memory[0] < 50e6
