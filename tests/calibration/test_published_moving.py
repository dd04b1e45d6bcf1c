"""Moving the reference by a machine's own cells, validated on machines made by hand whose truth is known."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from calibration.published.choosing import LENGTHS, HeldOutRows, Nested
from calibration.published.fitting import Array, Samples, samples_of
from calibration.published.learning import errors_by_count, learning_chart, learning_table
from calibration.published.moving import Moved, draws_of, moved, smoother
from calibration.shown.tables import markdown
from estimator.reference.file import Strength
from estimator.reference.moving import OwnCell, shift_at
from tests.calibration.published_rows import on, row

QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q4_0")
MACHINES = 12


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Twelve cards, each with four weight types at four lengths."""
    rows = []
    for number in range(MACHINES):
        for quant in QUANTS:
            base = on(f"card {number:02}", row("decode", quant))
            rows += [replace(base, work=replace(base.work, output_tokens=128 * (n + 1))) for n in range(4)]
    return samples_of("discrete", "decode", rows, LENGTHS)


def planted(samples: Samples, common: float, own: float, reach: float = 0.2) -> Nested:
    """Predictions that miss by an effect of each machine, and of each row, of these standard deviations."""
    random = np.random.default_rng(5)
    effect = {name: common * value for name, value in zip(samples.machines, random.normal(size=MACHINES), strict=True)}
    logs = np.array([effect[r.machine_name] for r in samples.rows]) + own * random.normal(size=len(samples.rows))
    return nested_of(samples, logs, reach)


def nested_of(samples: Samples, logs: Array, reach: float = 0.2) -> Nested:
    """As if every fit had left log(measured / predicted) = `logs`, whatever it left out."""
    held = HeldOutRows(samples.seconds / np.exp(logs), np.zeros(len(logs)))
    widths = np.full(len(logs), reach)
    without = dict.fromkeys(samples.machines, (held, widths))
    return Nested(held, widths, np.zeros(len(logs)), Counter(), without)


def outcome(samples: Samples, nested: Nested) -> Moved:
    return moved({"discrete": (samples, nested)})


def test_plain_python_moves_as_the_validation_does(samples: Samples) -> None:
    strength = Strength(0.2, 0.7, 2.0, 0.1)
    squared = ((samples.at[:, None, :] - samples.at[None, :, :]) ** 2).sum(axis=2)
    given, asked = np.array([0, 3, 5, 9]), np.array([1, 12, 15])
    logs = np.random.default_rng(1).normal(size=len(samples.rows))
    weights, spreads = smoother(strength, squared, given, asked)
    cells = [OwnCell(tuple(samples.at[i]), float(logs[i])) for i in given]
    for index, log, spread in zip(asked, weights @ logs[given], spreads, strict=True):
        found = shift_at(strength, cells, tuple(samples.at[index]))
        assert found.log == pytest.approx(log, abs=1e-12)
        assert found.spread == pytest.approx(spread, abs=1e-12)


def test_what_is_asked_shares_no_model_and_type_with_what_is_given(samples: Samples) -> None:
    draws = draws_of("discrete", samples)
    assert {draw.cells for draw in draws} == {1, 3, 5, 10, None}
    for draw in draws:
        kinds = [{samples.rows[i].quant for i in rows} for rows in (draw.given, draw.asked)]
        assert not kinds[0] & kinds[1]
        assert {samples.rows[i].machine_name for i in (*draw.given, *draw.asked)} == {draw.machine}
        assert len(draw.given) == (12 if draw.cells is None else draw.cells)


def test_a_machine_with_one_model_and_type_is_never_drawn() -> None:
    rows = [on(f"card {n}", row("decode")) for n in range(3)]
    assert draws_of("discrete", samples_of("discrete", "decode", rows, LENGTHS)) == []


def test_where_machines_differ_as_a_whole_one_cell_halves_the_error(samples: Samples) -> None:
    lines = errors_by_count(outcome(samples, planted(samples, 0.3, 0.05)))["discrete"]
    assert lines[0].cells == 1
    assert lines[0].mean < 0.5 * lines[0].unmoved
    assert lines[-1].cells is None
    assert lines[-1].mean <= lines[0].mean


def test_where_only_cells_differ_little_is_moved_and_nothing_made_worse_than_by_a_tenth(samples: Samples) -> None:
    found = outcome(samples, planted(samples, 0.0, 0.2))
    assert found.strength.noise == 0.4
    for line in errors_by_count(found)["discrete"]:
        assert line.mean < 1.1 * line.unmoved


def test_intervals_narrow_with_the_cells_and_hold_what_they_say(samples: Samples) -> None:
    found = outcome(samples, planted(samples, 0.3, 0.05, reach=0.5))
    assert found.widening is not None
    for line in errors_by_count(found)["discrete"]:
        assert line.coverage is not None
        assert 0.8 <= line.coverage <= 1.0
    one, many = ([o for o in found.outcomes if o.draw.cells == count] for count in (1, 10))
    assert np.mean([o.after.mean() for o in many]) < np.mean([o.after.mean() for o in one])


def test_a_machine_has_no_say_in_its_own_strength_and_widening(samples: Samples) -> None:
    """Errors of one machine huge and without order: the others' intervals change, its own stay as wide."""
    nested = planted(samples, 0.3, 0.05)
    mine = np.array([r.machine_name == "card 00" for r in samples.rows])
    logs = np.log(samples.seconds / nested.held.seconds)
    noise = 100 * np.random.default_rng(2).normal(size=len(logs))
    before, after = (outcome(samples, nested_of(samples, values)) for values in (logs, np.where(mine, noise, logs)))
    assert after.strength != before.strength
    for one, other in zip(before.outcomes, after.outcomes, strict=True):
        same = np.array_equal(one.after, other.after)
        assert same == (one.draw.machine == "card 00")


def test_predictions_that_a_machine_was_fitted_to_are_not_used_for_it(samples: Samples) -> None:
    """Only what is known without card 03 may move card 03: all else is made absurd."""
    nested = planted(samples, 0.3, 0.05)
    absurd = HeldOutRows(nested.held.seconds * 1e9, nested.held.distance)
    widths = np.full(len(samples.rows), 0.2)
    without = {name: entry if name == "card 03" else (absurd, widths) for name, entry in nested.without.items()}
    good, bad = outcome(samples, nested), outcome(samples, replace(nested, held=absurd, without=without))
    for one, other in zip(good.outcomes, bad.outcomes, strict=True):
        if one.draw.machine == "card 03":
            assert np.array_equal(one.moved, other.moved)
            assert np.array_equal(one.after, other.after)


def test_under_nine_machines_there_is_no_interval(samples: Samples) -> None:
    few = [r for r in samples.rows if r.machine_name < "card 08"]
    made = samples_of("discrete", "decode", few, LENGTHS)
    found = outcome(made, nested_of(made, np.full(len(few), 0.1)))
    assert found.widening is None
    assert all(line.coverage is None for line in errors_by_count(found)["discrete"])


def test_errors_are_of_tokens_per_second_each_machine_the_same(samples: Samples) -> None:
    """All rows measured exp(0.1) times as long as predicted: rates are predicted 10.5 % too high."""
    found = outcome(samples, nested_of(samples, np.full(len(samples.rows), 0.1)))
    for line in errors_by_count(found)["discrete"]:
        assert line.unmoved == pytest.approx(math.expm1(0.1), abs=1e-4)
        assert line.machines == MACHINES


def test_table_and_chart_show_every_count_beside_what_it_was_without(samples: Samples) -> None:
    found = outcome(samples, planted(samples, 0.3, 0.05))
    text = markdown(learning_table({"decode": found, "prefill": found}))
    for words in ("graphics cards, decode | 1 |", "graphics cards, prefill | all |", "chosen by"):
        assert words in text
    moved_line, without = learning_chart({"decode": found}, "decode").figure["data"]
    assert moved_line["x"] == ["1", "3", "5", "10", "all others"]
    assert max(moved_line["y"]) < min(without["y"])
