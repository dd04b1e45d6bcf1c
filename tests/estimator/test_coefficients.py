"""The coefficient file: written whole, read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest

from estimator.coefficients import (
    FORMAT,
    coefficients_text,
    find_coefficients,
    read_coefficients,
    speed_coefficient,
    time_s,
    write_coefficients,
)
from estimator.errors import UnreadableFile
from tests.estimator.examples import coefficients


def test_coefficients_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "coefficients.json"
    write_coefficients(path, coefficients())
    assert read_coefficients(path) == coefficients()


def test_coefficients_without_memory_or_intervals_come_back_too(tmp_path: Path) -> None:
    bare = coefficients(memory=None, held_out={})
    write_coefficients(tmp_path / "c.json", bare)
    assert read_coefficients(tmp_path / "c.json") == bare


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    write_coefficients(tmp_path / "c.json", coefficients())
    write_coefficients(tmp_path / "c.json", coefficients())
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_the_file_starts_with_its_format_and_shows_each_price_as_a_rate() -> None:
    plain = json.loads(coefficients_text(coefficients()))
    assert next(iter(plain)) == "format"
    assert plain["speed"]["weights.Q4_K"] == {
        "seconds_per_unit": 1e-10,
        "shown": "10 GB/s",
        "cells": 5,
        "origin": "measured",
        "standard_error": None,
    }


def test_a_price_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    broken = coefficients(speed={"step": speed_coefficient("step", float("nan"))})
    with pytest.raises(ValueError, match="JSON"):
        write_coefficients(tmp_path / "c.json", broken)
    assert list(tmp_path.iterdir()) == []


def test_time_is_the_sum_of_prices_times_amounts() -> None:
    speed = {"layer": speed_coefficient("layer", 2e-6), "step": speed_coefficient("step", 1e-4)}
    assert time_s(speed, {"layer": 32.0, "step": 2.0, "vector": 9.0}) == pytest.approx(32 * 2e-6 + 2 * 1e-4)


def _plain() -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(coefficients_text(coefficients()))
    return plain


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}, newer than {FORMAT}: upgrade"),
        ({"format": None}, "is no coefficient file"),
        ({"format": 1}, f"format 1, older than {FORMAT}: fit again"),
        ({"speed": []}, r"speed must be dict"),
        ({"speed": {"step": {"shown": ""}}}, "lacks the field 'seconds_per_unit'"),
        ({"speed": {"step": {"shown": "", "seconds_per_unit": -1e-9}}}, r"speed\.step holds no possible time"),
        ({"fitted_at": float("nan")}, "is not JSON .NaN is no number"),
        ({"extra": 1}, "unknown field 'extra'"),
        ({"valid": None}, "valid must be an object"),
    ],
)
def test_a_file_of_another_shape_is_refused_by_name(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(_plain() | changed), "utf-8")
    with pytest.raises(UnreadableFile, match=message):
        read_coefficients(path)


@pytest.mark.parametrize("price", [float("nan"), float("inf"), -1e-9])
def test_a_price_or_a_time_that_cannot_be_is_refused_by_name(price: float, tmp_path: Path) -> None:
    path, plain = tmp_path / "c.json", _plain()
    speed = {"step": {"seconds_per_unit": price, "shown": ""}}
    path.write_text(json.dumps(plain | {"speed": speed}), "utf-8")
    with pytest.raises(UnreadableFile, match=r"speed\.step holds no possible time|is no number"):
        read_coefficients(path)
    cell = {"seconds": min(price, 0.0), "relative_error": None, "requests": 1, "runs": 1}
    path.write_text(json.dumps(plain | {"evidence": {"cells": {"decode of a": cell}}}), "utf-8")
    with pytest.raises(UnreadableFile, match=r"cells\.decode of a holds no possible time|is no number"):
        read_coefficients(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff", "[" * 200_000])
def test_a_file_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(text, "latin-1")
    with pytest.raises(UnreadableFile, match=r"c\.json"):
        read_coefficients(path)


def test_a_named_file_must_exist_but_the_default_need_not(tmp_path: Path) -> None:
    assert find_coefficients(None, tmp_path / "none.json") is None
    with pytest.raises(UnreadableFile, match="cannot read coefficients"):
        find_coefficients(tmp_path / "none.json", tmp_path / "none.json")


def test_the_default_is_read_where_it_stands(tmp_path: Path) -> None:
    write_coefficients(tmp_path / "c.json", coefficients())
    assert find_coefficients(None, tmp_path / "c.json") == coefficients()
