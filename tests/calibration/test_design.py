"""The linear algebra of designs: against plain formulas, and against every possible plan of a small problem."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest

from calibration.design import Problem, exchanged, gains, greedy, measured


def problem(seed: int = 1, cells: int = 8, budget_s: float = 12.0) -> Problem:
    """Cells of four parts over three prices, drawn."""
    rng = np.random.default_rng(seed)
    rows = rng.random((cells, 2, 3))
    asked = rng.random((20, 3))
    return Problem(
        rows=rows / rows.sum(axis=2, keepdims=True),
        variance=np.full(cells, 0.05**2),
        cost_s=rng.uniform(1, 4, cells),
        part=np.arange(cells) % 4,
        opening_s=rng.uniform(0.5, 3, 4),
        covariance=np.diag([0.3, 0.5, 1.0]) ** 2,
        asked=asked.T @ asked / len(asked),
        budget_s=budget_s,
    )


def test_a_cells_gain_is_what_the_criterion_falls_by() -> None:
    some = problem()
    found = gains(some, some.after([2]), np.arange(8))
    assert found == pytest.approx([some.criterion([2]) - some.criterion([2, cell]) for cell in range(8)])


def test_one_more_cell_gives_the_covariance_of_all_together() -> None:
    some = problem()
    assert measured(some, some.after([1, 4]), 6) == pytest.approx(some.after([1, 4, 6]))


def test_opening_a_part_is_paid_once() -> None:
    some = problem()
    together = some.cost_s[0] + some.cost_s[4] + some.opening_s[0]
    assert some.spent_s([0, 4]) == pytest.approx(together)
    assert some.spent_s([]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_plan_costs_more_than_the_budget_and_no_exchange_makes_it_worse(seed: int) -> None:
    some = problem(seed, cells=24, budget_s=20)
    first = greedy(some)
    better = exchanged(some, first)
    assert max(some.spent_s(first), some.spent_s(better)) <= 20
    assert some.criterion(better) <= some.criterion(first)
    assert len(set(better)) == len(better)


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_is_nearly_as_good_as_the_best_of_all(seed: int) -> None:
    some = problem(seed)
    every = chain.from_iterable(combinations(range(8), size) for size in range(1, 9))
    best = min(some.criterion(cells) for cells in every if some.spent_s(cells) <= 12)
    assert some.criterion(exchanged(some, greedy(some))) <= 1.2 * best


def test_a_cell_that_must_stay_makes_room_for_another_of_its_own_part_and_for_no_other() -> None:
    some = problem()
    dear, cheap = (cell for cell in range(len(some.cost_s)) if some.part[cell] == 0)
    # The same rows at nine times the price: whoever must have one of the two takes the cheap one.
    rows = some.rows.copy()
    rows[dear] = rows[cheap]
    cost_s = some.cost_s.copy()
    cost_s[dear] = 9 * cost_s[cheap]
    some = replace(some, rows=rows, cost_s=cost_s, budget_s=float(cost_s[dear] + some.opening_s[0]))
    better = exchanged(some, greedy(some, [dear]), [dear])
    assert dear not in better
    assert cheap in better
    assert some.criterion(better) < some.criterion(greedy(some, [dear]))
    # Where all of its part is worthless the part stays all the same.
    rows[[dear, cheap]] = 0.0
    assert {dear, cheap} & set(exchanged(replace(some, rows=rows), greedy(some, [dear]), [dear]))


def test_a_budget_that_holds_no_cell_gives_no_plan() -> None:
    assert greedy(problem(budget_s=1.0)) == []
