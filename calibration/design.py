"""Which measurements shrink the mean variance of predictions most per second: I-optimal design, as linear algebra.

Knows nothing of models and engines. A *cell* is a pair of rows (prefill and decode: the share of each term in the
predicted time) with a variance and a cost; cells belong to *parts*, which cost something once (a model file to build
and to load). The belief about the relative prices is Gaussian, so that its covariance after some cells is known before
they are measured (Atkinson, Donev and Tobias, Optimum Experimental Designs, 10 and 12):

    A(chosen) = (A0^-1 + sum over rows x x' / v)^-1,    criterion = tr(A Q),    Q = mean of q q' over what may be asked
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Unopened parts of which a whole bundle of cells is tried; the others are judged by their best cell alone.
_SHORTLIST = 6
# Cells that the cost of opening a part is thought to be shared by, when parts are short-listed.
_SHARED_BY = 4
# Passes over all exchanges; a pass that gains under a thousandth is the last.
_PASSES = 3
# Of the criterion, a second: less is rounding.
_LEAST_GAIN = 1e-9


@dataclass(frozen=True, slots=True)
class Problem:
    """`rows` cells x 2 x prices, `variance` and `cost_s` of each cell, its part; what opening each part costs.

    `covariance` is the belief before anything is chosen, `asked` the matrix Q, `budget_s` what all may cost together.
    The opened parts' `size_bytes` (none given: nothing) may be `disk_bytes` together.
    """

    rows: Array
    variance: Array
    cost_s: Array
    part: NDArray[np.int64]
    opening_s: Array
    covariance: Array
    asked: Array
    budget_s: float
    size_bytes: Array | None = None
    disk_bytes: float = math.inf

    def affordable(self, found: list[int]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Cells beside those found that the rest of budget and disk allows, and whether the part of each is open."""
        opened = np.isin(np.arange(len(self.opening_s)), self.part[found])
        free = np.setdiff1d(np.arange(len(self.cost_s)), found)
        inside = opened[self.part[free]]
        cost_s = self.cost_s[free] + np.where(inside, 0.0, self.opening_s[self.part[free]])
        fits = cost_s <= self.budget_s - self.spent_s(found)
        if self.size_bytes is not None:
            fits &= inside | (self.size_bytes[self.part[free]] <= self.disk_bytes - self.size_bytes[opened].sum())
        return free[fits], inside[fits]

    def holds(self, chosen: list[int]) -> bool:
        """Whether budget and disk allow the cells together."""
        opened = np.unique(self.part[chosen])
        size_bytes = 0.0 if self.size_bytes is None else float(self.size_bytes[opened].sum())
        return self.spent_s(chosen) <= self.budget_s and size_bytes <= self.disk_bytes

    def spent_s(self, chosen: Iterable[int]) -> float:
        """Cost of the cells and of opening their parts."""
        cells = list(chosen)
        return float(self.cost_s[cells].sum() + self.opening_s[np.unique(self.part[cells])].sum()) if cells else 0.0

    def after(self, chosen: Iterable[int]) -> Array:
        """The covariance when the cells have been measured."""
        cells = list(chosen)
        if not cells:
            return self.covariance
        rows = self.rows[cells].reshape(2 * len(cells), -1)
        weights = 1 / np.repeat(self.variance[cells], 2)
        known: Array = np.linalg.inv(self.covariance) + (rows.T * weights) @ rows
        return np.asarray(np.linalg.inv(known), dtype=np.float64)

    def criterion(self, chosen: Iterable[int]) -> float:
        """Mean variance of what may be asked: tr(A Q)."""
        return float(np.sum(self.after(chosen) * self.asked))


def gains(problem: Problem, covariance: Array, cells: NDArray[np.int64]) -> Array:
    """By how much each cell alone lowers tr(A Q): tr((v I + X A X')^-1 X A Q A X'), of its two rows X."""
    rows = problem.rows[cells]
    spread = rows @ covariance
    inner = spread @ rows.transpose(0, 2, 1) + problem.variance[cells][:, None, None] * np.eye(2)
    outer = (spread @ problem.asked) @ spread.transpose(0, 2, 1)
    found: Array = np.trace(np.linalg.solve(inner, outer), axis1=1, axis2=2)
    return found


def measured(problem: Problem, covariance: Array, cell: int) -> Array:
    """The covariance when one more cell has been measured (Woodbury)."""
    rows = problem.rows[cell]
    spread = rows @ covariance
    inner = spread @ rows.T + problem.variance[cell] * np.eye(2)
    return np.asarray(covariance - spread.T @ np.linalg.solve(inner, spread), dtype=np.float64)


def greedy(problem: Problem, chosen: Iterable[int] = ()) -> list[int]:
    """Cells by the highest gain a second, until nothing fits the rest of the budget; begins with `chosen`."""
    found = list(chosen)
    covariance = problem.after(found)
    while more := _best_addition(problem, found, covariance):
        for cell in more:
            covariance = measured(problem, covariance, cell)
        found += more
    return found


def _best_addition(problem: Problem, found: list[int], covariance: Array) -> list[int]:
    """The cell of an open part, or the bundle of cells that opens another, with the highest gain a second."""
    left_s = problem.budget_s - problem.spent_s(found)
    free, inside = problem.affordable(found)
    if not len(free):
        return []
    gain = gains(problem, covariance, free)
    rates = gain / (problem.cost_s[free] + np.where(inside, 0.0, problem.opening_s[problem.part[free]] / _SHARED_BY))
    best: tuple[float, list[int]] = (_LEAST_GAIN, [])
    if inside.any():
        at = int(np.argmax(np.where(inside, rates, -np.inf)))
        best = max(best, (float(rates[at]), [int(free[at])]))
    order = [int(at) for at in np.argsort(-rates, kind="stable") if not inside[at]]
    for part in list(dict.fromkeys(int(problem.part[free[at]]) for at in order))[:_SHORTLIST]:
        best = max(best, _bundle(problem, covariance, free[problem.part[free] == part], left_s), key=lambda b: b[0])
    return best[1]


def _bundle(problem: Problem, covariance: Array, cells: NDArray[np.int64], left_s: float) -> tuple[float, list[int]]:
    """The cells of one unopened part, taken greedily, up to where their gain a second with the opening is highest."""
    cost_s = float(problem.opening_s[problem.part[cells[0]]])
    total, taken, best = 0.0, list[int](), (0.0, list[int]())
    while len(cells := cells[problem.cost_s[cells] <= left_s - cost_s]):
        gain = gains(problem, covariance, cells)
        at = int(np.argmax(gain / problem.cost_s[cells]))
        cell = int(cells[at])
        total, cost_s = total + float(gain[at]), cost_s + float(problem.cost_s[cell])
        taken.append(cell)
        if total / cost_s > best[0]:
            best = (total / cost_s, list(taken))
        else:
            break
        covariance = measured(problem, covariance, cell)
        cells = np.delete(cells, at)
    return best


def beginning(problem: Problem, parts: Iterable[int], count: int) -> list[int]:
    """Of each part so many cells, one after the other those with the highest gain a second; whatever they cost."""
    found: list[int] = []
    for part in parts:
        cells = np.flatnonzero(problem.part == part)
        for _ in range(min(count, len(cells))):
            rates = gains(problem, problem.after(found), cells) / problem.cost_s[cells]
            at = int(np.argmax(rates))
            found.append(int(cells[at]))
            cells = np.delete(cells, at)
    return found


def exchanged(problem: Problem, chosen: list[int], kept: Iterable[int] = ()) -> list[int]:
    """`chosen` improved by leaving out a cell, or a whole part, and filling up, while that helps.

    What is left out makes room for the cell that is worth most, or for those that are worth most a second; one that is
    `kept` for another of its own part. Each pass tries every exchange and keeps those that lower the criterion.
    """
    best, fixed = problem.criterion(chosen), set(kept)
    for _ in range(_PASSES):
        before = best
        for out in _exchanges(problem, chosen):
            if not out <= set(chosen) or (out & fixed and len(out) > 1):
                continue
            rest, place = [cell for cell in chosen if cell not in out], out & fixed
            for more in _others_of_its_part(problem, rest, out) if place else ([], _largest(problem, rest)):
                tried = greedy(problem, rest + more)
                value = problem.criterion(tried)
                if value < best * (1 - 1e-6):
                    chosen, best = tried, value
                    if place:  # what took the place of a kept cell is kept in its stead
                        fixed, place = fixed - place | set(more), set(more)
        if best > before * (1 - 1e-3):
            break
    return chosen


def _largest(problem: Problem, found: list[int]) -> list[int]:
    """The cell that is worth most, whatever it costs, of those that fit the rest of the budget."""
    free, _ = problem.affordable(found)
    return [int(free[np.argmax(gains(problem, problem.after(found), free))])] if len(free) else []


def _others_of_its_part(problem: Problem, rest: list[int], out: set[int]) -> list[list[int]]:
    """Each other cell of the part of the only one in `out` that the budget holds beside the rest."""
    alike = np.flatnonzero(problem.part == problem.part[min(out)])
    others = [int(cell) for cell in alike if cell not in out and cell not in rest]
    return [[cell] for cell in others if problem.holds([*rest, cell])]


def _exchanges(problem: Problem, chosen: list[int]) -> list[set[int]]:
    parts = sorted({int(problem.part[cell]) for cell in chosen})
    whole = [{cell for cell in chosen if problem.part[cell] == part} for part in parts]
    return [*whole, *({cell} for cell in chosen)]
