"""What to measure next: from a budget, what was measured already and the prior to the cells that are worth most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.belief import PHASES, Belief, belief, cell_variance, terms_of
from calibration.candidates import (
    LEAST_WEIGHTS_BYTES,
    QUANTS,
    REPEATS,
    BuildSeconds,
    Cell,
    NoRoom,
    cell_cost_s,
    files_that_fit,
    fresh_build_s,
    measurable,
    opening_cost_s,
    questions,
    usual_models,
)
from calibration.design import Array, Problem, exchanged, greedy
from calibration.errors import CalibrationError
from calibration.observations import Observation
from estimator.catalog import find_mixture, find_model
from estimator.coefficients import Coefficients
from estimator.specs import ModelFile
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a plan. No `models`: all usual ones that fit; `measure` limits what is measured, not asked."""

    budget_s: float
    memory_bytes: int
    models: tuple[str, ...] = ()
    measure: tuple[str, ...] = ()
    quants: tuple[str, ...] = QUANTS
    repeats: int = REPEATS
    exchange: bool = True


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """One model file of a plan: what opening it costs, its cells with the cost of each, cheapest first."""

    file: ModelFile
    opening_s: float
    cells: tuple[tuple[Cell, float], ...]

    @property
    def requests_s(self) -> float:
        """Seconds of its requests."""
        return sum(cost_s for _, cost_s in self.cells)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and the relative standard deviation of predictions, by phase, before it and expected after it."""

    budget_s: float
    parts: tuple[PlannedPart, ...]
    before: dict[str, float]
    after: dict[str, float]
    asked: int
    worst: tuple[tuple[str, float], ...]

    @property
    def cost_s(self) -> float:
        """Seconds of everything: building, loading, requests."""
        return sum(part.opening_s + part.requests_s for part in self.parts)


@dataclass(frozen=True, slots=True)
class Choice:
    """A problem with what its numbers stand for."""

    problem: Problem
    cells: tuple[Cell, ...]
    files: tuple[ModelFile, ...]
    believed: Belief
    asked: tuple[Cell, ...]


def plan(
    observations: Sequence[Observation],
    prior: Coefficients | None,
    wish: Wish,
    build_s: BuildSeconds = fresh_build_s,
) -> Planned:
    """The cells that shrink the mean variance of what may be asked most, within the budget.

    Raises CalibrationError where the budget holds no cell or nothing fits memory, NothingToFit where nothing is known
    of costs, UnknownName.
    """
    choice = choose_from(observations, prior, wish, build_s)
    chosen = greedy(choice.problem)
    if not chosen:
        raise CalibrationError(_too_small(choice))
    return planned(choice, exchanged(choice.problem, chosen) if wish.exchange else chosen)


def choose_from(
    observations: Sequence[Observation],
    prior: Coefficients | None,
    wish: Wish,
    build_s: BuildSeconds = fresh_build_s,
) -> Choice:
    """The cells to choose from, their costs, and what may be asked."""
    quants = [find_mixture(quant) for quant in wish.quants]
    named = [find_model(name) for name in wish.models]
    memory = prior.memory if prior else None
    files = files_that_fit(named or usual_models(), quants, wish.memory_bytes, memory)
    only = [find_model(name) for name in dict.fromkeys(wish.measure)]
    cells = measurable(files_that_fit(only, quants, wish.memory_bytes, memory) if only else files, wish.repeats)
    if not cells:
        raise CalibrationError(
            f"nothing to measure: weights under {LEAST_WEIGHTS_BYTES >> 20} MiB may lie in a cache and show little of "
            "what reading memory costs: name a larger model with --model or --measure"
        )
    prices = {name: entry.seconds_per_unit for name, entry in prior.speed.items()} if prior else None
    repacked = frozenset(memory.repacked_types) if memory else X86_AVX2_REPACKED_TYPES
    return choice_among(cells, questions(files), observations, prices, wish, (build_s, repacked))


def choice_among(
    cells: Sequence[Cell],
    asked: Sequence[Cell],
    observations: Sequence[Observation],
    prices: Mapping[str, float] | None,
    wish: Wish,
    files_known: tuple[BuildSeconds, frozenset[str]] = (fresh_build_s, X86_AVX2_REPACKED_TYPES),
) -> Choice:
    """The choice among these cells; those whose file alone takes the whole budget are left out.

    `prices` are the prior's; `files_known` says what building a model file takes and which types an engine repacks.
    Raises NoRoom where no file can be built.
    """
    names = {name for cell in (*asked, *cells) for found in terms_of(cell.file, cell.work).values() for name in found}
    files = list({id(cell.file): cell.file for cell in cells}.values())
    believed = belief(observations, prices, names, list(dict.fromkeys(file.model.name for file in files)))
    openings = {id(file): opening_cost_s(believed, file, *files_known) for file in files}
    if min(openings.values()) == math.inf:
        raise NoRoom("there is no disk to build any model file: free some, or set YARDSTICK_CACHE to another folder")
    within = [file for file in files if openings[id(file)] < wish.budget_s] or [
        min(files, key=lambda file: openings[id(file)])
    ]
    kept_ids = {id(file) for file in within}
    kept = tuple(cell for cell in cells if id(cell.file) in kept_ids)
    problem = _problem(believed, kept, within, [openings[id(file)] for file in within], asked, wish)
    return Choice(problem, kept, tuple(within), believed, tuple(asked))


def _problem(
    believed: Belief,
    cells: Sequence[Cell],
    files: Sequence[ModelFile],
    openings: Sequence[float],
    asked: Sequence[Cell],
    wish: Wish,
) -> Problem:
    at = {id(file): index for index, file in enumerate(files)}
    return Problem(
        rows=_rows(believed, cells),
        variance=np.full(len(cells), cell_variance(wish.repeats)),
        cost_s=np.array([cell_cost_s(believed, cell) for cell in cells]),
        part=np.array([at[id(cell.file)] for cell in cells]),
        opening_s=np.array(openings),
        covariance=believed.covariance,
        asked=np.mean([_moment(believed, asked, phase) for phase in range(len(PHASES))], axis=0),
        budget_s=wish.budget_s,
    )


def _rows(believed: Belief, cells: Iterable[Cell]) -> Array:
    """Cells x phases x columns of the belief."""
    found = []
    for cell in cells:
        terms = terms_of(cell.file, cell.work)
        found.append([believed.row(terms[phase], phase, cell.file) for phase in PHASES])
    return np.array(found)


def _moment(believed: Belief, asked: Sequence[Cell], phase: int) -> Array:
    """Mean of q q' over what may be asked of one phase."""
    rows = _rows(believed, asked)[:, phase]
    return np.asarray(rows.T @ rows / len(rows), dtype=np.float64)


def planned(choice: Choice, chosen: Sequence[int]) -> Planned:
    """The plan of the cells, its parts in the order in which they are worth most."""
    problem = choice.problem
    parts = []
    for part in dict.fromkeys(int(problem.part[cell]) for cell in chosen):
        cells = [(choice.cells[cell], float(problem.cost_s[cell])) for cell in chosen if problem.part[cell] == part]
        cells.sort(key=lambda entry: entry[1])
        parts.append(PlannedPart(choice.files[part], float(problem.opening_s[part]), tuple(cells)))
    after = problem.after(chosen)
    return Planned(
        problem.budget_s, tuple(parts), deviations(choice, problem.covariance), deviations(choice, after),
        len(choice.asked), _worst(choice, problem.covariance),
    )  # fmt: skip


def deviations(choice: Choice, covariance: Array) -> dict[str, float]:
    """Relative standard deviation of predictions by phase: sqrt of the mean variance over what may be asked."""
    return {
        phase: math.sqrt(float(np.sum(covariance * _moment(choice.believed, choice.asked, at))))
        for at, phase in enumerate(PHASES)
    }


def _worst(choice: Choice, covariance: Array) -> tuple[tuple[str, float], ...]:
    """The least certain question of each phase, with its standard deviation."""
    rows = _rows(choice.believed, choice.asked)
    found = []
    for at, phase in enumerate(PHASES):
        variance = np.einsum("ij,jk,ik->i", rows[:, at], covariance, rows[:, at])
        worst = int(np.argmax(variance))
        found.append((f"{phase} of {choice.asked[worst].label}", math.sqrt(float(variance[worst]))))
    return tuple(found)


def _too_small(choice: Choice) -> str:
    problem = choice.problem
    cost_s = problem.cost_s + problem.opening_s[problem.part]
    cheapest = int(np.argmin(cost_s))
    return (
        f"a budget of {problem.budget_s:.3g} s holds no cell: the cheapest, {choice.cells[cheapest].label} x "
        f"{choice.cells[cheapest].repeats}, takes {cost_s[cheapest]:.0f} s with its model file built and loaded: "
        f"give --budget {math.ceil(cost_s[cheapest] * 1.05)}s or more"
    )
