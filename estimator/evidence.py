"""What a coefficient file says of the measurements behind it, so that others can doubt it: types only.

Here belongs what a later measurement is compared with, and how sure the prices are; not what predicts.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FittedCell:
    """One phase of one cell as it was measured for the fit: the median, its standard error relative to it (None of one
    request), and how many requests of how many runs stand behind it."""

    seconds: float
    relative_error: float | None
    requests: int
    runs: int


@dataclass(frozen=True, slots=True)
class FittedProcess:
    """Peak memory of one engine with one model, as it was measured for the fit."""

    anonymous_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class RunToRun:
    """How much the runs of one build differ, as standard deviations of one run: all its cells together (`relative_sd`),
    and each cell besides (`cell_sd`; what is measured one after the other meets a machine that drifts).

    Estimated from `runs` runs with cells in common and from what is taken for granted beforehand, which counts like
    `prior_runs` runs (or cells) at `prior_sd`.
    """

    relative_sd: float
    cell_sd: float
    runs: int
    prior_sd: float
    prior_runs: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """The measurements of a fit: cells and processes by their labels, and how errors were found.

    `error_method` says what the standard errors of prices are; `memory_errors` are those of the prices of memory, by
    their names; None where they cannot be told. `not_told_apart` names the terms of each phase whose amounts were
    constant, or rose together, in all cells: their sum is measured, their shares are not.
    """

    runs: tuple[str, ...] = ()
    libraries: dict[str, str] = field(default_factory=dict)
    error_method: str = ""
    memory_errors: dict[str, float | None] = field(default_factory=dict)
    run_to_run: dict[str, RunToRun] = field(default_factory=dict)
    not_told_apart: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cells: dict[str, FittedCell] = field(default_factory=dict)
    processes: dict[str, FittedProcess] = field(default_factory=dict)
