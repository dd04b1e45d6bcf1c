"""The evidence for a fit to stored runs, put together: what is left out, learning, terms, intervals, the worst."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from threadpoolctl import threadpool_limits

from calibration.fitting import reference
from calibration.local.ablation import ablation_table
from calibration.local.charts import predicted_chart, residual_chart
from calibration.local.curve import DRAWS, curve_chart, curve_of, curve_table
from calibration.local.errors import coverage_table, each_table, left_out_table, memory_table
from calibration.local.leaving import PHASES, left_out, model_of, type_of
from calibration.local.nested import speed_intervals
from calibration.local.stored import Stored, stored
from calibration.local.worst import worst_table
from calibration.shown.page import Evidence

Tell = Callable[[str], None]


def local_evidence(paths: list[Path], include_noisy: bool = False, tell: Tell = lambda _: None) -> Evidence:
    """The evidence for what `calibration fit` would make of the runs at `paths`; `tell` hears what is being done.

    Raises NothingToFit, also where no model can be left out; BadResults.
    """
    tell("reading and fitting")
    # One thread of the solver: more only disturb each other in fits of this size.
    with threadpool_limits(1, user_api="blas"):
        return evidence_for(stored(paths, reference(), include_noisy), DRAWS, tell)


def evidence_for(runs: Stored, draws: int = DRAWS, tell: Tell = lambda _: None) -> Evidence:
    """All charts and tables of `runs`, with so many draws of the learning curve."""
    tell("models, weight types and runs left out")
    held = left_out(runs.observations, model_of, runs.fit)
    by_type = left_out(runs.observations, type_of, runs.fit)
    names = {model_of(o): o.file.model.name for o in runs.observations}
    tables = [
        left_out_table(runs),
        each_table("Each model left out whole", held, names),
        each_table("Each weight type left out", by_type),
        memory_table(runs),
    ]
    tell("intervals, nested")
    intervals = speed_intervals(runs.observations, runs.fit)
    tables.append(coverage_table(runs, held, intervals))
    curve = curve_of(runs, draws, tell)
    tables.append(curve_table(runs, curve))
    tell("terms left out")
    tables += [ablation_table(runs.observations, held, runs.fit), worst_table(held)]
    charts = [predicted_chart(held, intervals, phase) for phase in PHASES]
    charts += [residual_chart(held, phase) for phase in PHASES]
    charts += [curve_chart(runs, curve, phase) for phase in PHASES]
    return Evidence(
        "Calibration",
        "The calibration, as far as it can be believed",
        f"{runs.fitted.build}, each model left out",
        runs.facts,
        tuple(charts),
        tuple(tables),
    )
