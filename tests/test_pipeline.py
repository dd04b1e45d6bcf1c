"""The whole loop against engines of planted truth: measure, store, fit, recover, predict; and be found out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration.dataset import dataset
from calibration.fitters import fit_speed
from calibration.validate import held_out, speed_residuals
from estimator.specs import Workload
from estimator.theory.terms import decode_terms, prefill_terms
from harness.record import Record
from tests.loop import measured
from tests.planted import MODELS, PRICES, file_of, law_of, seconds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return measured(tmp_path_factory.mktemp("honest"), {name: law_of(name) for name in MODELS})


def test_the_planted_prices_come_back_within_two_percent(honest: list[Record]) -> None:
    fit = fit_speed(dataset(honest).observations)
    found = {name: fit.seconds_per_unit[name] for name in PRICES}
    assert found == pytest.approx(PRICES, rel=0.02)


def test_a_model_that_was_left_out_is_predicted_within_two_percent(honest: list[Record]) -> None:
    residuals = speed_residuals(dataset(honest).observations, None)
    for phase in ("prefill", "decode"):
        error = held_out(residuals[phase])
        assert error is not None
        assert error.groups == len(MODELS)
        assert error.median < 0.02


def test_what_was_not_measured_is_predicted_as_the_planted_machine_would_take(honest: list[Record]) -> None:
    fit = fit_speed(dataset(honest).observations)
    for name in ("mistral:7b", "llama2:7b"):
        file, work = file_of(name), Workload(32, 64, depth_tokens=800)
        assert fit.seconds(decode_terms(file, work)) == pytest.approx(seconds(decode_terms(file, work)), rel=0.03)
        assert fit.seconds(prefill_terms(file, work)) == pytest.approx(seconds(prefill_terms(file, work)), rel=0.03)


def test_an_engine_that_breaks_the_law_is_shown_by_the_held_out_error(honest: list[Record], tmp_path: Path) -> None:
    odd = law_of("llama3.2:1b")
    broken = measured(tmp_path, {"llama3.2:1b": replace(odd, decode_s_per_token=odd.decode_s_per_token * 1.6)})
    others = [record for record in honest if record.header.run_id != "llama3.2:1b"]
    residuals = speed_residuals(dataset([*others, *broken]).observations, None)["decode"]
    error = held_out(residuals)
    assert error is not None
    assert error.worst > 0.25
    worst = max(residuals, key=lambda r: abs(r.relative))
    assert "llama3.2:1b" in worst.label
