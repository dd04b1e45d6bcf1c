"""Money and counts as people read them: digits, rounding to the side that keeps a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.amounts import count, rounded, usd


def test_a_tiny_price_keeps_its_digits_and_its_column() -> None:
    assert usd(1.2345e-8) == "$1.23e-8"
    assert usd(1.2399e-8, "≥") == "≥$1.23e-8"
    assert usd(0.000562) == "$0.000562"


@pytest.mark.parametrize(
    ("value", "mark", "expected"),
    [
        (None, "", "-"),
        (0.0, "", "$0"),
        (0.0190, "", "$0.0190"),
        (14.6153, "", "$14.6"),
        (5779.17, "", "$5,779"),
        (734.9, "≥", "≥$734"),
        (0.0024199, "≥", "≥$0.00241"),
        (0.99999, "", "$1.00"),
    ],
)
def test_money_is_rounded_to_three_digits_and_bounds_downwards(value: float | None, mark: str, expected: str) -> None:
    assert usd(value, mark) == expected


def test_a_load_that_breaks_even_is_rounded_up() -> None:
    assert [count(value, "up") for value in (1270.6, 1280.0000000000002, 12.34)] == ["1,280", "1,280", "12.4"]


@given(st.floats(1e-9, 1e15))
def test_rounding_keeps_its_side_and_three_digits(value: float) -> None:
    down, up = float(rounded(value, "down")), float(rounded(value, "up"))
    assert down <= value * (1 + 1e-12)
    assert up >= value * (1 - 1e-12)
    assert up - down <= value * 0.0100001
