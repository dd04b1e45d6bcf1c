"""How sure a fit is: standard errors of its prices, and how much one run differs from another. Pure numbers."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import mean

from calibration.observations import MemoryObservation, Observation
from calibration.told import not_told_apart_by_phase
from estimator.evidence import Evidence, FittedCell, FittedProcess, RunToRun

# Taken for granted of a machine that nobody has measured twice: repeats of a quiet cell were seen to differ by 0.4 to
# 2.5 % between runs (formulas for two-core servers; DESIGN.md). It counts like so many runs.
PRIOR_SD, PRIOR_RUNS = 0.015, 6
# Of coefficients that say nothing of their runs.
UNKNOWN_RUNS = RunToRun(PRIOR_SD, PRIOR_SD, 0, PRIOR_SD, PRIOR_RUNS)
_LIBRARIES = ("llm-yardstick", "numpy", "scikit-learn", "scipy")


def jackknife_error(values: Sequence[float]) -> float | None:
    """sqrt((n - 1) / n x sum (v - mean)²) of estimates that each leave one group out; None under 3 groups.

    The delete-a-group jackknife (Efron and Tibshirani, An Introduction to the Bootstrap, 11.5).
    """
    n = len(values)
    if n < 3:
        return None
    middle = mean(values)
    return math.sqrt((n - 1) / n * sum((value - middle) ** 2 for value in values))


def price_errors(prices: Mapping[str, float], without: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """The jackknife error of each price. None where it is 0 (the bound), and where a fit without one of the groups had
    no such price: then one group alone speaks of it."""
    return {
        name: jackknife_error([fit[name] for fit in without])
        if price > 0 and all(name in fit for fit in without)
        else None
        for name, price in prices.items()
    }


def error_method(groups: int, what: str) -> str:
    """What the standard errors are, in words."""
    if groups < 3:
        return f"unknown: three {what} are needed that can be left out, there are {groups or 'none'}"
    return f"jackknife over {groups} {what}, each left out whole, and what runs differ by"


def with_runs(error: float | None, price: float, runs: RunToRun) -> float | None:
    """sqrt(error² + (price x shared sd)² / runs): models left out cannot show what all of a run is off by."""
    return None if error is None else math.hypot(error, price * runs.relative_sd / math.sqrt(max(1, runs.runs)))


def run_to_run(observations: Sequence[Observation]) -> dict[str, RunToRun]:
    """The spread of runs of each phase, over the cells that more than one run measured. A run's shift is its mean
    logarithm of (its medians / those of all runs), r what its cells differ by besides:

    sd² = (n x prior_sd² + sum shift²) / (n + sum (1 - 1/k)), k the runs that share a cell, n what the prior counts for;
    of cells the same with sum r² and what is left of sum (1 - 1/k).
    """
    return {phase: _spread([o for o in observations if o.phase == phase]) for phase in ("decode", "prefill")}


def _spread(observations: Sequence[Observation]) -> RunToRun:
    seen: dict[str, list[tuple[float, float]]] = {}
    for o in observations:
        if len(o.by_run) > 1:
            middle = mean(math.log(seconds) for _, seconds in o.by_run)
            for run, seconds in o.by_run:
                seen.setdefault(run, []).append((math.log(seconds) - middle, 1 - 1 / len(o.by_run)))
    shifts = {run: mean(log for log, _ in found) for run, found in seen.items()}
    shared = sum(mean(share for _, share in found) for found in seen.values())
    cells = sum(share for found in seen.values() for _, share in found) - shared
    apart = sum((log - shifts[run]) ** 2 for run, found in seen.items() for log, _ in found)
    return RunToRun(
        _shrunk(sum(shift**2 for shift in shifts.values()), shared), _shrunk(apart, cells), len(shifts), PRIOR_SD,
        PRIOR_RUNS,
    )  # fmt: skip


def _shrunk(squares: float, freedom: float) -> float:
    return math.sqrt((PRIOR_RUNS * PRIOR_SD**2 + squares) / (PRIOR_RUNS + freedom))


def another_run_sd(runs: RunToRun) -> float:
    """What a cell of one other run differs by from what k runs gave, beyond what cells of those runs show:
    sqrt(shared sd² x (1 + 1/k) + cell sd² x (1 - 1/k))."""
    share = 1 / max(1, runs.runs)
    return math.sqrt(runs.relative_sd**2 * (1 + share) + runs.cell_sd**2 * (1 - share))


def evidence(
    kept: Sequence[Observation],
    memory: Sequence[MemoryObservation],
    method: str,
    memory_errors: Mapping[str, float | None],
) -> Evidence:
    """What the coefficient file says of the measurements behind it."""
    return Evidence(
        runs=tuple(sorted({run for o in kept for run, _ in o.by_run} | {m.journal for m in memory})),
        libraries=_libraries(),
        error_method=method,
        memory_errors=dict(memory_errors),
        run_to_run=run_to_run(kept),
        not_told_apart=not_told_apart_by_phase(kept),
        cells={o.label: cell_of(o) for o in sorted(kept, key=lambda o: o.label)},
        processes={m.label: FittedProcess(m.anonymous_bytes, m.file_bytes) for m in memory},
    )


def cell_of(o: Observation) -> FittedCell:
    """The cell as the coefficient file keeps it."""
    return FittedCell(o.seconds, o.relative_error, o.requests, max(1, len(o.by_run)))


def _libraries() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
