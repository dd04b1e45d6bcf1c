"""Changes of cells since a fit: shifts of all, of groups beside their neighbours, and chance."""

from __future__ import annotations

import math

import pytest

from calibration.changes import Change, judged
from calibration.uncertainty import UNKNOWN_RUNS, jackknife_error


def changes(ratios: dict[str, list[float]], error: float = 0.005) -> list[Change]:
    return [
        Change(f"{model} {at}", (model, f"{model} {at}"), math.log(ratio), error, 1, 3)
        for model, listed in ratios.items()
        for at, ratio in enumerate(listed)
    ]


SAME = [1.004, 0.997, 1.001, 0.999]


def test_cells_that_are_as_before_give_no_shift() -> None:
    told = judged(changes({"a": SAME, "b": SAME, "c": SAME}), UNKNOWN_RUNS, 8)
    assert told.shifts == ()
    assert 0.03 < told.least_seen < 0.1


def test_all_cells_slower_are_one_shift_and_not_one_for_each_model() -> None:
    slow = [1.1 * ratio for ratio in SAME]
    (shift,) = judged(changes({"a": slow, "b": slow, "c": slow}), UNKNOWN_RUNS, 8).shifts
    assert (shift.where, shift.slower, len(shift.labels)) == ("", True, 12)
    assert shift.ratio == pytest.approx(1.1, rel=0.01)


def test_a_slow_model_is_found_beside_its_neighbours_on_a_day_when_the_machine_is_faster() -> None:
    day = 0.975
    told = judged(
        changes({"a": [day * 1.12 * r for r in SAME], "b": [day * r for r in SAME], "c": [day * r for r in SAME]}),
        UNKNOWN_RUNS,
        8,
    )
    (shift,) = told.shifts
    assert (shift.where, shift.slower) == ("a", True)
    assert shift.neighbours == pytest.approx(math.log(day), abs=0.005)


def test_neighbours_that_became_faster_do_not_make_the_others_slow() -> None:
    told = judged(changes({"a": SAME, "b": SAME, "c": [0.8 * r for r in SAME]}), UNKNOWN_RUNS, 8)
    assert [(shift.where, shift.slower) for shift in told.shifts] == [("c", False)]


def test_a_sure_change_of_two_percent_is_too_small_to_be_called() -> None:
    slow = {name: [1.02] * 20 for name in "abc"}
    assert judged(changes(slow, error=0.0), UNKNOWN_RUNS, 1000).shifts == ()


def test_without_common_cells_nothing_is_said() -> None:
    assert judged([], UNKNOWN_RUNS, 8) == judged([], UNKNOWN_RUNS, 8)
    assert judged([], UNKNOWN_RUNS, 8).shifts == ()


def test_the_jackknife_error_of_a_mean_is_its_standard_error_and_none_of_two() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    without = [(sum(values) - value) / 3 for value in values]
    mean = sum(values) / 4
    by_hand = math.sqrt(sum((value - mean) ** 2 for value in values) / 3 / 4)
    assert jackknife_error(without) == pytest.approx(by_hand)
    assert jackknife_error([1.0, 2.0]) is None
