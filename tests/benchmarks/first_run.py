"""What the first five minutes on a machine are best spent on: Mistral 7B alone, planned cells, or both.

`python -m tests.benchmarks.first_run [SEEDS]` (default 40): the drawn machines of `tests.benchmarks.planning`, whose
model files are not built yet. *Mistral alone* is what `harness run` does without options: the shapes of its default
plan, and building, which comes before its five minutes. The other rows have five minutes for everything: *planned*,
and *planned with Mistral*, which begins with two cells of it. Asked are Mistral 7B Q4_K_M, and other models
that nobody measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from calibration.belief import Belief
from calibration.candidates import Cell, cell_cost_s, fresh_build_s, opening_cost_s, questions
from calibration.design import greedy
from calibration.fitters import fit_speed
from calibration.planning import Choice, Wish, choice_among
from estimator.catalog import find_model
from estimator.specs import Workload
from estimator.tensors import model_file
from harness.plan import DEFAULT_SHAPES
from tests.benchmarks.against import print_table
from tests.benchmarks.planning import (
    ASKED_MODELS,
    BUILT,
    GRID_MODELS,
    REPEATS,
    SHAPES,
    Drawn,
    drawn,
    errors,
    files,
    prior_prices,
)

BUDGET_S = 300.0
COLUMNS = ("decode", "prefill")


def arms(seed: int) -> dict[str, dict[str, float]]:
    """Errors by plan: of Mistral and of others, with the seconds that each took, building included."""
    machine = drawn(seed)
    prior = prior_prices()
    mistral = model_file(find_model("mistral:7b"), "Q4_K_M")
    works = [Workload(s.prompt_tokens, s.output_tokens, s.depth_tokens) for s in DEFAULT_SHAPES]
    cells = [Cell(mistral, work, REPEATS) for work in works]
    cells += [Cell(file, work, REPEATS) for file in files(GRID_MODELS) for work in SHAPES]
    asked, others = questions([mistral]), questions(files(name for name in ASKED_MODELS if name != "mistral:7b"))
    choice = choice_among(cells, [*asked, *others], [], prior, Wish(BUDGET_S, 0), (fresh_build_s, BUILT[1]))
    whole = {"Mistral alone": _alone(choice, machine)}
    for name, start in (("planned with Mistral", [0, 1]), ("planned", [])):
        whole[name] = _within(choice, machine, greedy(choice.problem, start))
    found = {}
    for name, chosen in whole.items():
        seen = [o for at in chosen for o in machine.measured(choice.cells[at])]
        fit = fit_speed(seen, prior)
        found[name] = {"s": _true(choice, machine).problem.spent_s(chosen), "cells": float(len(chosen))}
        for what, listed in (("Mistral", asked), ("others", others)):
            measured = errors(machine, fit, listed)
            found[name] |= {f"{what} {phase}": measured[phase] for phase in COLUMNS}
    return found


def _true(choice: Choice, machine: Drawn) -> Choice:
    believed = Belief(machine.prices, (), choice.believed.covariance)
    cost = np.array([cell_cost_s(believed, cell) for cell in choice.cells])
    opening = np.array([opening_cost_s(believed, file, fresh_build_s, BUILT[1]) for file in choice.files])
    return replace(choice, problem=replace(choice.problem, cost_s=cost, opening_s=opening))


def _alone(choice: Choice, machine: Drawn) -> list[int]:
    """The default shapes of Mistral, as many as five minutes of requests hold, cheapest first."""
    cost, kept = _true(choice, machine).problem.cost_s, list[int]()
    for at in np.argsort(cost[: len(DEFAULT_SHAPES)], kind="stable"):
        if cost[[*kept, at]].sum() <= BUDGET_S:
            kept.append(int(at))
    return kept


def _within(choice: Choice, machine: Drawn, order: Sequence[int]) -> list[int]:
    true, kept = _true(choice, machine).problem, list[int]()
    for cell in order:
        if true.spent_s([*kept, cell]) <= BUDGET_S:
            kept.append(cell)
    return kept


def main() -> None:
    """Prints a row for each plan: medians over the seeds."""
    results = [arms(seed) for seed in range(int((sys.argv[1:] or ["40"])[0]))]
    names = ("plan", "cells", "min", *(key for key in results[0]["planned"] if " " in key))
    rows = []
    for name in results[0]:
        middle = {key: median(result[name][key] for result in results) for key in results[0][name]}
        rows.append([
            name, f"{middle['cells']:.0f}", f"{middle['s'] / 60:.1f}", *(f"{middle[key]:.1%}" for key in names[3:]),
        ])  # fmt: skip
    print_table(names, rows)


if __name__ == "__main__":
    main()
