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
    telling,
    usual_models,
    warmup_s,
)
from calibration.design import Array, Problem, beginning, exchanged, gains, greedy
from calibration.errors import CalibrationError
from calibration.observations import Observation
from estimator.catalog import find_mixture, find_model
from estimator.coefficients import Coefficients
from estimator.specs import Model, ModelFile
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES

# Cells of each model file that a plan is to hold in any case.
INCLUDED_CELLS = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a plan. No `models`: all usual ones that fit; `measure` limits what is measured, not asked.

    Of `include`, models each with a weight type, `INCLUDED_CELLS` cells are planned whatever they are worth, and cells
    of `least_models` different models where the budget holds them; all model files together may take `disk_bytes`.
    """

    budget_s: float
    memory_bytes: int
    models: tuple[str, ...] = ()
    measure: tuple[str, ...] = ()
    quants: tuple[str, ...] = QUANTS
    repeats: int = REPEATS
    exchange: bool = True
    include: tuple[tuple[str, str], ...] = ()
    least_models: int = 1
    disk_bytes: float = math.inf


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """One model file of a plan: building and loading, the warm-up, its cells with the cost of each, cheapest first."""

    file: ModelFile
    opening_s: float
    warmup_s: float
    cells: tuple[tuple[Cell, float], ...]

    @property
    def requests_s(self) -> float:
        """Seconds of its requests, the warm-up among them."""
        return self.warmup_s + sum(cost_s for _, cost_s in self.cells)


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
    first = _of_several_models(choice, wish, _included(choice, wish))
    chosen = greedy(choice.problem, first)
    if not chosen:
        raise CalibrationError(_too_small(choice))
    return planned(choice, exchanged(choice.problem, chosen, first) if wish.exchange else chosen)


def _included(choice: Choice, wish: Wish) -> list[int]:
    """The cells that are planned in any case. Raises CalibrationError where the budget does not hold them."""
    parts = [at for at, file in enumerate(choice.files) if (file.model.name, file.quant) in wish.include]
    found = beginning(choice.problem, parts, INCLUDED_CELLS)
    if len(parts) < len(wish.include) or not choice.problem.holds(found):
        named = ", ".join(" ".join(entry) for entry in wish.include)
        raise CalibrationError(
            f"a budget of {wish.budget_s:.3g} s, or the disk, does not hold {INCLUDED_CELLS} cells each of {named}, "
            "building and loading included: give a larger --budget, free disk, or leave --include out"
        )
    return found


def _of_several_models(choice: Choice, wish: Wish, first: list[int]) -> list[int]:
    """The first cells and of further models one each, until `least_models` are there or no other can be afforded.

    Each time the cell worth most a second with its file, of those that a fit without its model can predict.
    """
    problem, found = choice.problem, list(first)
    while len(names := {choice.cells[cell].file.model.name for cell in found}) < wish.least_models:
        cells, _ = problem.affordable(found)
        listed = [(cell, choice.cells[cell]) for cell in cells]
        able = [at for at, c in listed if c.file.model.name not in names and choice.believed.knows(c.file, c.work)]
        cells = np.array(able, dtype=np.int64)
        if not len(cells):
            break
        cost_s = problem.cost_s[cells] + problem.opening_s[problem.part[cells]]
        found.append(int(cells[np.argmax(gains(problem, problem.after(found), cells) / cost_s)]))
    return found


def choose_from(
    observations: Sequence[Observation],
    prior: Coefficients | None,
    wish: Wish,
    build_s: BuildSeconds = fresh_build_s,
) -> Choice:
    """The cells to choose from, their costs, and what may be asked."""
    quants = list(dict.fromkeys(find_mixture(quant) for quant in wish.quants))
    named, only = (_models(names) for names in (wish.models, wish.measure))
    memory = prior.memory if prior else None
    files = files_that_fit(named or usual_models(), quants, wish.memory_bytes, memory)
    may = files_that_fit(only, quants, wish.memory_bytes, memory) if only else files if named else telling(files)
    sure = [files_that_fit([find_model(name)], [quant], wish.memory_bytes, memory)[0] for name, quant in wish.include]
    cells = measurable([*may, *(file for file in sure if file not in may)], wish.repeats)
    if not cells:
        raise CalibrationError(
            f"nothing to measure: weights under {LEAST_WEIGHTS_BYTES >> 20} MiB may lie in a cache and show little of "
            "what reading memory costs: name a larger model with --model or --measure"
        )
    prices = {name: entry.seconds_per_unit for name, entry in prior.speed.items()} if prior else None
    repacked = frozenset(memory.repacked_types) if memory else X86_AVX2_REPACKED_TYPES
    return choice_among(cells, questions(files), observations, prices, wish, (build_s, repacked))


def _models(names: Iterable[str]) -> list[Model]:
    """Each model once, by whatever names. Raises UnknownName."""
    return list({found.name: found for found in map(find_model, names)}.values())


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
    openings = [_Opening(file, opening_cost_s(believed, file, *files_known), files_known[0](file)) for file in files]
    able = [entry for entry in openings if entry.seconds < math.inf and entry.new_bytes <= max(0.0, wish.disk_bytes)]
    if not able:
        raise NoRoom("there is no disk to build any model file: free some, or set YARDSTICK_CACHE to another folder")
    within = [entry for entry in able if entry.seconds < wish.budget_s] or [min(able, key=lambda entry: entry.seconds)]
    kept_ids = {id(opening.file) for opening in within}
    kept = tuple(cell for cell in cells if id(cell.file) in kept_ids)
    problem = _problem(believed, kept, within, asked, wish)
    return Choice(problem, kept, tuple(opening.file for opening in within), believed, tuple(asked))


@dataclass(frozen=True, slots=True)
class _Opening:
    """A model file with what opening it takes, and what of that is building it."""

    file: ModelFile
    seconds: float
    build_s: float

    @property
    def new_bytes(self) -> int:
        """What it takes of the disk: nothing where it is there."""
        return self.file.weight_bytes if self.build_s else 0


def _problem(
    believed: Belief, cells: Sequence[Cell], openings: Sequence[_Opening], asked: Sequence[Cell], wish: Wish
) -> Problem:
    at = {id(opening.file): index for index, opening in enumerate(openings)}
    return Problem(
        rows=_rows(believed, cells),
        variance=np.full(len(cells), cell_variance(wish.repeats)),
        cost_s=np.array([cell_cost_s(believed, cell) for cell in cells]),
        part=np.array([at[id(cell.file)] for cell in cells]),
        opening_s=np.array([opening.seconds for opening in openings]),
        covariance=believed.covariance,
        asked=np.mean([_moment(believed, asked, phase) for phase in range(len(PHASES))], axis=0),
        budget_s=wish.budget_s,
        size_bytes=np.array([float(opening.new_bytes) for opening in openings]),
        disk_bytes=max(0.0, wish.disk_bytes),
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
        file, warmup = choice.files[part], warmup_s(choice.believed, choice.files[part])
        parts.append(PlannedPart(file, float(problem.opening_s[part]) - warmup, warmup, tuple(cells)))
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
