"""Whether the cells of `calibration plan` are worth their time: optimal, random and all cells of a grid, on drawn laws.

`python -m tests.benchmarks.planning [SEEDS]` (default 40), then `python -m tests.benchmarks.planning reference`.

Drawn: each seed is a machine whose prices are the shipped prior's, all times a factor (standard deviation of its
logarithm 0.5) and each times one of its own (0.3, as the prior is trusted). On top the terms are wrong as real ones
are (3 % a model and phase, 3 % a cell), and requests scatter as on the reference machine (7 %, one in twenty stalls).
Everything runs in virtual time: a cell costs what its requests take by the law, a model file its loading. The grid is
five models x four types x six shapes; what is asked are other models. The plan knows the prior and the budget; cells
are measured in its order until the true time is spent, and so are those of the random plan.

Reference: the same choice among the VALID cells of the stored campaign, each model left out whole and predicted. The
fit has no prior, since the shipped one has seen them; the plan has the fit to the cells that it chooses from, to guess
what they cost, which a first-time user would not have.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from calibration.belief import CELL_SD, MODEL_SD, PHASES, REQUEST_SD, Belief, terms_of
from calibration.candidates import Cell, cell_cost_s, opening_cost_s, questions
from calibration.design import exchanged, greedy
from calibration.fitters import SpeedFit, fit_speed
from calibration.fitting import reference
from calibration.observations import Build, Observation, PhaseName
from calibration.planning import Choice, Wish, choice_among
from calibration.reading import read_dataset
from estimator.catalog import find_model
from estimator.specs import ModelFile, Workload
from estimator.tensors import model_file
from tests.benchmarks.against import print_table
from tests.harness.alike import Machine, Noise

GRID_MODELS = ("qwen2.5:0.5b", "tinyllama:1.1b", "llama3.2:1b", "qwen2.5:1.5b", "llama3.2:3b")
ASKED_MODELS = ("mistral:7b", "llama3.1:8b", "gemma2:2b", "qwen3:4b", "falcon3:3b")
QUANTS = ("Q4_0", "Q4_K_M", "Q6_K", "Q8_0")
# Every kind of pass that may be asked can be measured, a turn of a chat behind its context too.
SHAPES = (
    Workload(48, 16), Workload(24, 24), Workload(64, 16, 256), Workload(160, 8), Workload(512, 32),
    Workload(24, 12, 1024), Workload(64, 32, 1024),
)  # fmt: skip
SHARES = (1 / 3, 1 / 6, 1 / 10)
REPEATS = 4
STALLING = Noise(request=REQUEST_SD)
BUILD = Build("drawn", 2, 2**35, "drawn", "1", "", 2)
# Model files are there already; what the reference's engine repacks.
BUILT = (lambda _: 0.0, frozenset(("Q4_0", "Q4_K")))
CAMPAIGN = Path(__file__).parents[2] / "results/reference"


def files(names: Iterable[str]) -> list[ModelFile]:
    """Each model with each type."""
    return [model_file(find_model(name), quant) for name in names for quant in QUANTS]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A machine: its prices, what the terms get wrong, the noise of its requests."""

    prices: dict[str, float]
    rng: np.random.Generator
    wrong: dict[tuple[str, ...], float]

    def seconds(self, cell: Cell, phase: PhaseName) -> float:
        """What a quiet request takes."""
        explained = SpeedFit(self.prices, {}).seconds(terms_of(cell.file, cell.work)[phase]) or 0.0
        off = [((phase, cell.file.model.name), MODEL_SD), ((phase, cell.label), CELL_SD)]
        return explained * math.exp(sum(self.wrong.setdefault(key, sd * self.rng.normal()) for key, sd in off))

    def measured(self, cell: Cell) -> list[Observation]:
        """The two observations of the cell, medians of its requests."""
        machine, found = Machine(STALLING, self.rng), []
        for phase in PHASES:
            quiet = self.seconds(cell, phase)
            values = [quiet * machine.factor() for _ in range(cell.repeats)]
            terms = terms_of(cell.file, cell.work)[phase]
            found.append(Observation(BUILD, phase, cell.file, cell.work, terms, median(values), cell.repeats, "drawn"))
        return found


def prior_prices() -> dict[str, float]:
    """The shipped prior's."""
    prior = reference()
    assert prior is not None
    return {name: entry.seconds_per_unit for name, entry in prior.speed.items()}


def drawn(seed: int) -> Drawn:
    """The machine of that number."""
    rng = np.random.default_rng(seed)
    prior = prior_prices()
    whole = math.exp(0.5 * rng.normal())
    return Drawn({name: price * whole * math.exp(0.3 * rng.normal()) for name, price in prior.items()}, rng, {})


def true_costs(choice: Choice, machine: Drawn) -> Choice:
    """The same choice, as the machine will take the time: to count what was spent, not to plan."""
    believed = Belief(machine.prices, (), choice.believed.covariance)
    cost = np.array([cell_cost_s(believed, cell) for cell in choice.cells])
    opening = np.array([opening_cost_s(believed, file, *BUILT) for file in choice.files])
    return replace(choice, problem=replace(choice.problem, cost_s=cost, opening_s=opening))


def within(choice: Choice, order: Sequence[int], budget_s: float) -> list[int]:
    """Cells in that order, those left out that do not fit what is left."""
    kept: list[int] = []
    for cell in order:
        if choice.problem.spent_s([*kept, cell]) <= budget_s:
            kept.append(cell)
    return kept


def errors(machine: Drawn, fit: SpeedFit, asked: Sequence[Cell]) -> dict[str, float]:
    """Median error of each phase over what is asked, and (as PHASE prices) of what the prices alone explain."""
    found: dict[str, float] = {}
    exact = SpeedFit(machine.prices, {})
    for phase in PHASES:
        terms = [terms_of(cell.file, cell.work)[phase] for cell in asked]
        said = [fit.seconds(entry) or 0.0 for entry in terms]
        found[phase] = median(
            abs(value / machine.seconds(cell, phase) - 1) for value, cell in zip(said, asked, strict=True)
        )
        found[f"{phase} prices"] = median(
            abs(value / (exact.seconds(entry) or 1.0) - 1) for value, entry in zip(said, terms, strict=True)
        )
    return found


def arms(seed: int, shares: Sequence[float] = SHARES) -> dict[str, dict[str, float]]:
    """Errors by plan ("all", "optimal 1/3", "random 1/3", ...), with the seconds that each took."""
    machine = drawn(seed)
    prior = prior_prices()
    asked = questions(files(ASKED_MODELS))
    cells = [Cell(file, work, REPEATS) for file in files(GRID_MODELS) for work in SHAPES]
    choice = choice_among(cells, asked, [], prior, Wish(math.inf, 0, repeats=REPEATS), BUILT)
    true = true_costs(choice, machine)
    everything = [o for cell in cells for o in machine.measured(cell)]
    seen = {cell.label: everything[2 * at : 2 * at + 2] for at, cell in enumerate(cells)}
    rng, whole_s = np.random.default_rng(1000 + seed), true.problem.spent_s(range(len(cells)))
    # The planner's seconds are the prior's: its share of the grid's time by its own account.
    believed_s = choice.problem.spent_s(range(len(cells)))
    taken = {"all": list(range(len(cells)))}
    for share in shares:
        problem = replace(choice.problem, budget_s=believed_s * share)
        best = exchanged(problem, greedy(problem))
        taken[f"optimal 1/{1 / share:.0f}"] = within(true, best, whole_s * share)
        taken[f"random 1/{1 / share:.0f}"] = within(true, list(rng.permutation(len(cells))), whole_s * share)
    found = {}
    for name, chosen in taken.items():
        fit = fit_speed([o for at in chosen for o in seen[cells[at].label]], prior)
        found[name] = errors(machine, fit, asked) | {"s": true.problem.spent_s(chosen), "cells": float(len(chosen))}
    return found


def drawn_table(seeds: int) -> None:
    """Prints a row for each plan: medians over the seeds, and how often it is as good as the whole grid."""
    results = [arms(seed) for seed in range(seeds)]
    names = (
        "plan",
        "cells",
        "min",
        "decode",
        "prefill",
        "decode prices",
        "prefill prices",
        "as good as all",
        "beats random",
    )
    rows = []
    for name in results[0]:
        rival = name.replace("optimal", "random")
        rows.append([
            name,
            f"{median(r[name]['cells'] for r in results):.0f}",
            f"{median(r[name]['s'] for r in results) / 60:.1f}",
            *(f"{median(r[name][key] for r in results):.1%}" for key in names[3:7]),
            f"{np.mean([_mean(r[name]) <= 1.1 * _mean(r['all']) for r in results]):.0%}",
            f"{np.mean([_mean(r[name]) < _mean(r[rival]) for r in results]):.0%}" if rival != name else "-",
        ])  # fmt: skip
    print_table(names, rows)


def _mean(errors: Mapping[str, float]) -> float:
    """Both phases, prices alone: what measuring can improve."""
    return (errors["decode prices"] + errors["prefill prices"]) / 2


def held_out(group: str, observations: Sequence[Observation], chosen: Iterable[Observation]) -> dict[str, list[float]]:
    """Errors of each phase of the model left out, by a fit to `chosen` without a prior."""
    fit = fit_speed(list(chosen), None)
    found: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for o in observations:
        if o.file.model.name == group and (said := fit.seconds(o.terms)) is not None:
            found[o.phase].append(abs(said / o.seconds - 1))
    return found


def reference_table(draws: int = 20) -> None:
    """Prints the campaign's table: all cells, a third and a tenth of their time, optimal and random."""
    data, _ = read_dataset([CAMPAIGN])
    pairs: dict[tuple[str, str, Workload], list[Observation]] = {}
    for o in data.observations:
        pairs.setdefault((o.file.model.name, o.file.quant, o.work), []).append(o)
    pairs = {key: entry for key, entry in pairs.items() if len(entry) == 2}
    observations = [o for entry in pairs.values() for o in entry]
    found: dict[str, dict[str, list[float]]] = {}
    for group in sorted({o.file.model.name for o in observations}):
        for name, errs in _left_out(group, observations, pairs, draws).items():
            for phase, values in errs.items():
                found.setdefault(name, {}).setdefault(phase, []).extend(values)
    rows = [
        [name, f"{median(errs['cells']):.0f}", f"{median(errs['s']) / 60:.1f}",
         *(f"{of(errs[p]):.1%}" for of in (median, _p90) for p in ("decode", "prefill"))]
        for name, errs in found.items()
    ]  # fmt: skip
    print_table(("plan", "cells", "min", "decode", "prefill", "decode p90", "prefill p90"), rows)


def _p90(values: Sequence[float]) -> float:
    return float(np.quantile(values, 0.9))


def _left_out(
    group: str,
    observations: Sequence[Observation],
    pairs: Mapping[tuple[str, str, Workload], Sequence[Observation]],
    draws: int,
) -> dict[str, dict[str, list[float]]]:
    seen = [pair for key, pair in pairs.items() if key[0] != group]
    one = {(o.file.model.name, o.file.quant): o.file for pair in seen for o in pair}
    cells = [Cell(one[pair[0].file.model.name, pair[0].file.quant], pair[0].work, REPEATS) for pair in seen]
    prices = fit_speed([o for pair in seen for o in pair]).seconds_per_unit
    choice = choice_among(cells, questions(one.values()), [], prices, Wish(math.inf, 0, repeats=REPEATS), BUILT)
    whole_s, rng = choice.problem.spent_s(range(len(cells))), np.random.default_rng(1)
    taken: list[tuple[str, list[int]]] = [("all", list(range(len(cells))))]
    for share in (1 / 3, 1 / 6, 1 / 10):
        problem = replace(choice.problem, budget_s=whole_s * share)
        taken.append((f"optimal 1/{1 / share:.0f}", exchanged(problem, greedy(problem))))
        taken += [
            (f"random 1/{1 / share:.0f}", within(choice, list(rng.permutation(len(cells))), whole_s * share))
            for _ in range(draws)
        ]
    found: dict[str, dict[str, list[float]]] = {}
    for name, chosen in taken:
        errs = held_out(group, observations, [o for at in chosen for o in seen[at]])
        errs |= {"cells": [float(len(chosen))], "s": [choice.problem.spent_s(chosen)]}
        for key, values in errs.items():
            found.setdefault(name, {}).setdefault(key, []).extend(values)
    return found


def main() -> None:
    """Prints one of the tables."""
    given = sys.argv[1:] or ["40"]
    if given[0] == "reference":
        reference_table()
    else:
        drawn_table(int(given[0]))


if __name__ == "__main__":
    main()
