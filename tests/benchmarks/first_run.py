"""What the first five minutes on a machine are best spent on: Mistral 7B alone, planned cells, or both.

`python -m tests.benchmarks.first_run [SEEDS [PLANS]]` (default 40, and the stored plans): the drawn machines of
`tests.benchmarks.planning`, whose model files are not built yet. *Mistral alone* is what `harness run` did without
options until it had plans: shapes of one model, and building, which came before its five minutes. The other rows have
five minutes for everything: *planned*, and *planned with Mistral*, which begins with two cells of it, both for the
prior's speed and with models of `tests.benchmarks.planning`; *stored* is what `harness run` does: the stored plan for
the machine's speed and 10 GiB, as many requests of each cell as the budget of its part holds. Asked are Mistral 7B
Q4_K_M, and other models, which no plan measures.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from calibration.belief import Belief
from calibration.candidates import Cell, cell_cost_s, fresh_build_s, opening_cost_s, questions, warmup_s
from calibration.design import greedy
from calibration.fitters import fit_speed
from calibration.planning import Choice, Wish, choice_among
from estimator.catalog import find_model
from estimator.specs import Workload
from estimator.tensors import model_file
from harness.first_run import PLANS, chosen, stored_plans
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
FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else PLANS


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
    taken = {name: [choice.cells[at] for at in picked] for name, picked in whole.items()}
    spent_s = {name: _true(choice, machine).problem.spent_s(picked) for name, picked in whole.items()}
    files_of = {(part.model, part.quant) for entry in stored_plans(FOLDER) for part in entry.plan.parts}
    # A broken block of 16 rows: all terms of a type.
    cells_of = [Cell(model_file(find_model(name), quant), Workload(24, 12)) for name, quant in sorted(files_of)]
    guessed = choice_among(cells_of, asked, [], prior, Wish(BUDGET_S, 0)).believed
    taken["stored"], spent_s["stored"] = _stored(machine, guessed)
    found = {}
    for name, measured_cells in taken.items():
        fit = fit_speed([o for cell in measured_cells for o in machine.measured(cell)], prior)
        found[name] = {"s": spent_s[name], "cells": float(len(measured_cells))}
        found[name] |= {"models": float(len({cell.file.model.name for cell in measured_cells}))}
        for what, listed in (("Mistral", asked), ("others", others)):
            measured = errors(machine, fit, listed)
            found[name] |= {f"{what} {phase}": measured[phase] for phase in COLUMNS}
    return found


def _stored(machine: Drawn, true: Belief) -> tuple[list[Cell], float]:
    """The cells of the stored plan for the machine's speed, with as many requests as its budgets hold, and seconds."""
    prior = prior_prices()
    speed = math.exp(-np.mean([math.log(price / prior[name]) for name, price in machine.prices.items() if price > 0]))
    entry = chosen(stored_plans(FOLDER), speed, 10 * 2**30, lambda _: 0)
    assert entry is not None
    # Types that the prior never saw have a price as guessed, for a machine of this speed, and one of their own.
    rng = np.random.default_rng(round(speed * 1e6))
    for name, price in true.prices.items():
        machine.prices.setdefault(name, price / speed * math.exp(0.3 * rng.normal()))
    true = Belief(machine.prices, (), true.covariance)
    cells, spent_s = list[Cell](), 0.0
    for part in entry.plan.parts:
        file = model_file(find_model(part.model), part.quant)
        works = [Workload(s.prompt_tokens, s.output_tokens, s.depth_tokens) for s in part.shapes]
        opening_s, budget_s = opening_cost_s(true, file, fresh_build_s, BUILT[1]), entry.plan.of(part).budget_s
        once, twice = (sum(cell_cost_s(true, Cell(file, work, n)) for work in works) for n in (1, 2))
        repeats = 1 + max(0, int((budget_s - warmup_s(true, file) - once) / (twice - once)))
        cells += [Cell(file, work, repeats) for work in works]
        spent_s += opening_s + once + (repeats - 1) * (twice - once)
    return cells, spent_s


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
    names = ("plan", "cells", "models", "min", *(key for key in results[0]["planned"] if " " in key))
    rows = []
    for name in results[0]:
        middle = {key: median(result[name][key] for result in results) for key in results[0][name]}
        rows.append([
            name, f"{middle['cells']:.0f}", f"{middle['models']:.0f}", f"{middle['s'] / 60:.1f}",
            *(f"{middle[key]:.1%}" for key in names[4:]),
        ])  # fmt: skip
    print_table(names, rows)


if __name__ == "__main__":
    main()
