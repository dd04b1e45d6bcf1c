"""A planned third, a random third and the whole of a grid, measured for real on this machine; other models predicted.

`python -m tests.benchmarks.real_plans write FOLDER` writes plan files: grid, optimal, random, held_out, later. Each is
measured on a quiet machine by `python -m harness run --plan FOLDER/NAME.toml --results FOLDER/NAME`. Then
`python -m tests.benchmarks.real_plans errors FOLDER` fits each run, with the shipped prior, and predicts what was held
out: models, and a weight type, that it has not. What `results/real_plans` holds was planned by the planner of then.
`first_run`, `small` and `default` are what `harness run` measured by itself on the same machine, by the stored plans of
then, of some hours (models of 0.4 to 1 B beside Mistral) and of now. The planner knows the prior alone, so it takes a
third of the grid's time by its own account; the table says how long each run really took, from its first request to its
last. A shared machine's memory is faster for minutes at a time (here by a sixth), so one visit to a model is no truth:
held_out_again and later are three and four runs with two requests a cell (repeats = 2, seeds from 1 on), and something
else between them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from calibration.candidates import Cell, questions
from calibration.design import exchanged, greedy
from calibration.fitters import SpeedFit
from calibration.fitting import fit, reference, speed_of
from calibration.observations import Observation
from calibration.plan_file import plan_text
from calibration.planning import Choice, Wish, choice_among, planned
from calibration.reading import read_dataset
from calibration.writing import written
from estimator.catalog import find_model
from estimator.specs import Workload
from estimator.tensors import model_file
from harness.journal import read_record
from tests.benchmarks.against import print_table

REPEATS = 4
GRID_MODELS = ("qwen3:0.6b", "llama3.2:1b", "smollm2:1.7b", "qwen3:1.7b")
GRID_TYPES = ("Q4_0", "Q4_K_M", "Q8_0")
GRID_WORKS = (
    Workload(48, 16), Workload(24, 24), Workload(64, 16, 256), Workload(160, 8), Workload(512, 8),
    Workload(64, 16, 1024),
)  # fmt: skip
HELD_OUT = (("tinyllama:1.1b", "Q4_0"), ("qwen2.5:1.5b", "Q8_0"), ("llama3.2:3b", "Q4_K_M"), ("qwen2.5:1.5b", "Q5_K_M"))
# A second set, chosen after the fit of the first was known and before any of it was measured.
LATER = (("gemma2:2b", "Q4_0"), ("falcon3:3b", "Q4_K_M"), ("smollm2:360m", "Q8_0"), ("qwen2.5:0.5b", "Q4_0"))
HELD_OUT_WORKS = (Workload(32, 24), Workload(128, 16), Workload(384, 8), Workload(48, 16, 512))
RUNS = ("grid", "optimal", "random", "first_run", "small", "default")
# Sets of cells that no plan measured: right after the first run, once; the same three times over a quarter of an hour,
# hours later; others, four times.
ASIDE = ("held_out", "held_out_again", "later")
COLUMNS = ("decode", "prefill")


def cells_of(files: Sequence[tuple[str, str]], works: Sequence[Workload]) -> list[Cell]:
    """Every work of every file (name of the model, weight type)."""
    built = [model_file(find_model(name), quant) for name, quant in files]
    return [Cell(file, work, REPEATS) for file in built for work in works]


def write(folder: Path) -> None:
    """The plan files."""
    grid = cells_of([(name, quant) for name in GRID_MODELS for quant in GRID_TYPES], GRID_WORKS)
    prior = reference()
    assert prior is not None
    prices = {name: entry.seconds_per_unit for name, entry in prior.speed.items()}
    ready = (lambda _: 0.0, frozenset(prior.memory.repacked_types if prior.memory else ()))
    # What may be asked: all usual models of the types, not those that will be held out.
    asked = questions(
        model_file(find_model(name), quant) for name in (*GRID_MODELS, "mistral:7b") for quant in GRID_TYPES
    )
    choice = choice_among(grid, asked, [], prices, Wish(math.inf, 0, repeats=REPEATS), ready)
    third = replace(choice.problem, budget_s=choice.problem.spent_s(range(len(grid))) / 3)
    order = [int(at) for at in np.random.default_rng(1).permutation(len(grid))]
    chosen = {
        "grid": list(range(len(grid))),
        "optimal": exchanged(third, greedy(third)),
        "random": _within(replace(choice, problem=third), order),
    }
    for name, at in chosen.items():
        _write(folder / f"{name}.toml", choice, at)
    for name, files in (("held_out", HELD_OUT), ("later", LATER)):
        aside = cells_of(files, HELD_OUT_WORKS)
        other = choice_among(aside, asked, [], prices, Wish(math.inf, 0, repeats=REPEATS), ready)
        _write(folder / f"{name}.toml", other, range(len(aside)))


def _within(choice: Choice, order: Sequence[int]) -> list[int]:
    """Cells in that order, those left out that do not fit what is left."""
    kept: list[int] = []
    for cell in order:
        if choice.problem.spent_s([*kept, cell]) <= choice.problem.budget_s:
            kept.append(cell)
    return kept


def _write(path: Path, choice: Choice, chosen: Sequence[int]) -> None:
    spent = choice.problem.spent_s(chosen)
    found = planned(replace(choice, problem=replace(choice.problem, budget_s=spent)), chosen)
    # A fixed number of requests a cell, however long they take.
    written(path, f"repeats = {REPEATS}\n" + plan_text(found, "python -m tests.benchmarks.real_plans write"))
    sys.stdout.write(f"{path}: {len(chosen)} cells, {spent / 60:.1f} min by the prior's account\n")


def errors(folder: Path) -> None:
    """The table: each run's fit against each set that was held out."""
    fits = {name: fit([folder / name], reference(), include_noisy=True) for name in RUNS}
    rows = []
    for aside in ASIDE:
        data, _ = read_dataset([folder / aside], include_noisy=True)
        for name, fitted in fits.items():
            own = {o.file.model.name for o in fitted.observations}
            asked = [o for o in data.observations if o.file.model.name not in own]
            entry = [aside, name, f"{fitted.coefficients.records.cells}", f"{_minutes(folder / name):.1f}"]
            for phase in COLUMNS:
                entry += _errors(speed_of(fitted.coefficients), [o for o in asked if o.phase == phase])
            rows.append(entry)
    heads = [text for phase in COLUMNS for text in (phase, "worst", "other type", "worst")]
    print_table(("held out", "plan", "cells", "min", *heads), rows)


def _errors(speed: SpeedFit, observations: Sequence[Observation]) -> list[str]:
    """Median and worst of those whose weight type the grid has, and of the others, where they have a price."""
    found = []
    for of_grid in (True, False):
        asked = [o for o in observations if (o.file.quant in GRID_TYPES) == of_grid]
        off = [abs(said / o.seconds - 1) for o in asked if (said := speed.seconds(o.terms)) is not None]
        found += [f"{median(off):.1%}" if off else "-", f"{max(off):.1%}" if off else "-"]
    return found


def _minutes(run: Path) -> float:
    (journal,) = run.rglob("journal.jsonl")
    requests = read_record(journal).requests
    return (max(r.ended_ns for r in requests) - min(r.sent_ns for r in requests)) / 60e9


def main() -> None:
    """Writes the plans or prints the table."""
    command, folder = (*sys.argv[1:], "results/real_plans")[:2]
    (write if command == "write" else errors)(Path(folder))


if __name__ == "__main__":
    main()
