"""Cells measured on a machine move the reference: few a little, many wholly, those alike the most."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator.answer import Quantity
from estimator.reference.amounts import position
from estimator.reference.file import MovedErrors, Moving, Reference, Strength
from estimator.reference.moving import MOST_CELLS, Measured, Own, OwnCell, pooled, shift_at
from estimator.reference.speed import Published, reference_answer
from estimator.specs import Workload
from tests.estimator.test_reference import BUILD, FILE, MACHINE, WORK, reference, residual

STRENGTH = Strength(0.5, 0.3, 1.0, 0.2)
HERE, FAR = (0.0, 0.0), (50.0, 0.0)
PLACES = st.tuples(st.floats(-3, 3), st.floats(-3, 3))
CELLS = st.lists(st.builds(OwnCell, PLACES, st.floats(-1, 1)), min_size=1, max_size=8, unique_by=lambda cell: cell.at)


def test_without_cells_nothing_moves() -> None:
    found = shift_at(STRENGTH, (), HERE)
    assert (found.log, found.spread) == (0.0, 1.0)


def test_one_cell_moves_its_like_by_both_shares_and_others_by_the_common_one() -> None:
    cells = (OwnCell(HERE, 0.4),)
    alike, far = shift_at(STRENGTH, cells, HERE), shift_at(STRENGTH, cells, FAR)
    assert alike.log == pytest.approx(0.8 * 0.4)
    assert alike.spread == pytest.approx(math.sqrt(1 - 0.8**2))
    assert far.log == pytest.approx(0.5 * 0.4)
    assert far.spread == pytest.approx(math.sqrt(1 - 0.5**2))


def test_n_unlike_cells_count_as_n_beside_the_stated_strength() -> None:
    """With shares c and 1 - c the mean of n cells weighs n / (n + (1 - c) / c)."""
    strength = Strength(0.25, 0.0, 1.0, 0.75)
    for count in (1, 3, 12, 60):
        cells = tuple(OwnCell((100.0 * n, 0.0), 0.4) for n in range(count))
        assert shift_at(strength, cells, (-100.0, 0.0)).log == pytest.approx(0.4 * count / (count + 3))


def test_many_cells_replace_the_reference() -> None:
    cells = tuple(OwnCell((100.0 * n, 0.0), 0.4) for n in range(MOST_CELLS))
    assert shift_at(STRENGTH, cells, (-100.0, 0.0)).log == pytest.approx(0.4, rel=0.02)


def test_only_the_nearest_are_used_where_there_are_very_many() -> None:
    near = tuple(OwnCell((0.001 * n, 0.0), 0.4) for n in range(MOST_CELLS))
    far = tuple(OwnCell((9.0 + n, 0.0), -5.0) for n in range(50))
    assert shift_at(STRENGTH, (*far, *near), HERE) == shift_at(STRENGTH, near, HERE)


def test_repeats_of_a_cell_are_one_cell_with_their_mean() -> None:
    repeated = pooled([OwnCell(HERE, 0.1), OwnCell(FAR, 0.7), OwnCell(HERE, 0.3)])
    assert [cell.at for cell in repeated] == [HERE, FAR]
    assert [cell.log for cell in repeated] == pytest.approx([0.2, 0.7])


@settings(max_examples=60, deadline=None)
@given(CELLS, PLACES)
def test_another_cell_never_widens_and_their_order_does_not_matter(
    cells: list[OwnCell], at: tuple[float, float]
) -> None:
    spreads = [shift_at(STRENGTH, cells[:count], at).spread for count in range(len(cells) + 1)]
    assert all(after <= before + 1e-9 for before, after in pairwise(spreads))
    forward, backward = shift_at(STRENGTH, cells, at), shift_at(STRENGTH, cells[::-1], at)
    assert forward.log == pytest.approx(backward.log, abs=1e-9)


def measured(times: float, phase: str = "decode", work: Workload = WORK) -> Measured:
    """`times` as slow as the reference made by hand says."""
    found = reference_answer(FILE, work, Published(reference(), MACHINE))
    answer = found.step if phase == "decode" else found.prefill
    assert answer is not None
    assert answer.value is not None
    return Measured(phase, FILE, work, answer.value * times)


def own(*cells: Measured, left_out: dict[str, int] | None = None) -> Own:
    return Own("bench.json", "CUDA", cells, left_out or {})


def with_moving(moving: Moving) -> Reference:
    return replace(reference(), moving=dict.fromkeys(("prefill", "decode"), moving))


def step(published: Published) -> Quantity:
    answer = reference_answer(FILE, WORK, published).step
    assert answer is not None
    return answer


def test_an_answer_is_moved_toward_what_was_measured_with_a_narrower_interval() -> None:
    plain = step(Published(reference(), MACHINE))
    moved = step(Published(reference(), MACHINE, own=own(measured(1.5))))
    assert plain.value is not None
    assert moved.value is not None
    assert moved.high is not None
    assert (plain.basis, moved.basis) == ("reference", "moved")
    assert moved.value == pytest.approx(plain.value * 1.5**0.8)
    assert math.log(moved.high / moved.value) == pytest.approx(math.log(1.5) * 1.1 * math.sqrt(1 - 0.8**2))


def test_cells_of_one_phase_leave_the_other_where_it_was() -> None:
    answer = reference_answer(FILE, WORK, Published(reference(), MACHINE, own=own(measured(1.5, "prefill"))))
    assert answer.step == step(Published(reference(), MACHINE))
    assert answer.prefill is not None
    assert answer.prefill.basis == "moved"
    assert answer.basis is not None
    assert "prefill moved by 1 cell measured on it" in answer.basis
    assert "decode moved" not in answer.basis


def test_own_cells_are_compared_with_the_reference_as_its_residual_corrects_it() -> None:
    corrected = reference(**residual(position("decode", FILE, WORK, MACHINE, BUILD)))
    plain = step(Published(reference(), MACHINE)).value
    assert plain is not None
    found = step(Published(corrected, MACHINE, own=own(measured(1.5))))
    assert found.value == pytest.approx(plain * math.exp(0.2 + 0.8 * (math.log(1.5) - 0.2)))


def test_without_machines_to_say_how_wide_a_moved_answer_has_no_interval() -> None:
    unsaid = Moving(STRENGTH, None, {})
    found = step(Published(with_moving(unsaid), MACHINE, own=own(measured(1.5))))
    assert (found.low, found.high, found.basis) == (None, None, "moved")


def test_the_basis_names_the_cells_and_what_as_many_did_elsewhere() -> None:
    lines = (MovedErrors(1, 90, 30, 0.12, 0.08, 0.05, 0.9), MovedErrors(3, 80, 12, 0.12, 0.06, 0.04, 0.9))
    moving = Moving(STRENGTH, 1.0, {"discrete": (*lines, MovedErrors(None, 90, 30, 0.12, 0.03, 0.02, 0.9))})
    cells = [measured(1.5, work=replace(WORK, output_tokens=128 * (n + 1))) for n in range(4)]
    given_back = own(*cells, left_out={"several devices": 2})
    answer = reference_answer(FILE, WORK, Published(with_moving(moving), MACHINE, own=given_back))
    assert answer.basis is not None
    assert "decode moved by 4 cells measured on it (as 3 of their own cells moved 12 machines left" in answer.basis
    assert "from 12% to 6% off on average" in answer.basis
    assert "their intervals held 90%" in answer.basis
    assert "2 of the results in bench.json moved nothing: several devices" in answer.warnings
