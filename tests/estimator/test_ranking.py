"""`estimator models --min-speed`: what a machine runs at a speed, ranked."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from estimator.catalog import find_model
from estimator.coefficients import speed_coefficient
from estimator.device import catalogued_hardware
from estimator.errors import EstimatorError
from estimator.hardware import find_part
from estimator.predict import predict
from estimator.ranking.ranked import Ranked, ranked_models
from estimator.ranking.text import ranking_text
from estimator.specs import Hardware, Workload
from estimator.tensors import MIXTURES, model_file
from tests.estimator.examples import PRICES, coefficients

GIB = 2**30
WORK = Workload(512, 128, context_tokens=4096)
HARDWARE = Hardware("Test CPU", 16 * GIB, 10 * GIB, 25e9, 200e9, "stated")


@cache
def rows_at_10() -> tuple[Ranked, ...]:
    """One ranking for the tests that only look at it: it takes a third of a second."""
    return ranked_models(WORK, HARDWARE, None, 10)


def test_every_row_fits_is_fast_enough_and_has_the_most_bits_that_do() -> None:
    rows = rows_at_10()
    assert len(rows) > 10
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        model = find_model(row.model)
        work = replace(WORK, context_tokens=row.context_tokens)
        answers = {
            name: predict(model_file(model, name), work, HARDWARE)
            for name in MIXTURES
            if name != "MXFP4_MOE" or model.experts
        }
        good = {
            name
            for name, answer in answers.items()
            if answer.fit.fits == "yes" and (answer.speed["decode_tokens_per_s"].value or 0) >= 10
        }
        assert row.quant in good
        assert row.weights_bytes == max(model_file(model, name).weight_bytes for name in good)


def test_the_largest_model_comes_first() -> None:
    sizes = [row.parameters for row in rows_at_10()]
    assert sizes == sorted(sizes, reverse=True)


def test_a_higher_speed_leaves_fewer_models_and_none_at_last() -> None:
    counts = [len(ranked_models(WORK, HARDWARE, None, speed, ("Q8_0",))) for speed in (2, 20, 1e9)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0
    assert "no model of the catalogue does" in ranking_text((), HARDWARE, 1e9)


def test_where_there_is_an_interval_its_low_end_must_be_fast_enough() -> None:
    fitted = coefficients(
        speed={
            name: speed_coefficient(name, price, 5)
            for name, price in (PRICES | {f"weights.{kind}": 1e-10 for kind in ("Q4_0", "Q4_K", "Q6_K", "F32")}).items()
        }
    )
    rows = ranked_models(WORK, HARDWARE, fitted, 1.0, ("Q4_0",))
    lows = [row.decode_tokens_per_s.low for row in rows]
    assert any(low is not None for low in lows)
    assert all(low is None or low >= 1.0 for low in lows)
    # A speed between the low end and the value of a row: its value alone would do.
    row = max(rows, key=lambda row: (row.decode_tokens_per_s.low is not None, row.decode_tokens_per_s.value))
    low, value = row.decode_tokens_per_s.low, row.decode_tokens_per_s.value
    assert low is not None
    assert value is not None
    between = ranked_models(WORK, HARDWARE, fitted, (low + value) / 2, ("Q4_0",))
    assert row.model not in {other.model for other in between}


def test_one_weight_type_can_be_asked_for() -> None:
    assert {row.quant for row in ranked_models(WORK, HARDWARE, None, 5, ("Q8_0",))} == {"Q8_0"}


def test_a_machine_of_unknown_speed_or_a_speed_below_zero_is_refused() -> None:
    with pytest.raises(EstimatorError, match="--bandwidth"):
        ranked_models(WORK, replace(HARDWARE, bandwidth_bytes_per_s=None), None, 10)
    with pytest.raises(EstimatorError, match="at least 0"):
        ranked_models(WORK, HARDWARE, None, float("nan"))


def test_the_table_has_80_columns_and_says_that_theory_is_the_fastest() -> None:
    hardware = catalogued_hardware(find_part("RTX 3060 12GB"))
    text = ranking_text(ranked_models(WORK, hardware, None, 20, ("Q8_0",)), hardware, 20)
    assert max(map(len, text.splitlines())) <= 80
    assert "real engines are slower" in text
    assert "usable" in text
