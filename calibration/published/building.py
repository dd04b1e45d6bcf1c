"""Builds the reference file from the published measurements: gate, fit, held-out errors, intervals, valid ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from calibration.errors import CalibrationError
from calibration.published.fitting import Indices, Samples, fit_samples, lenders, residual_file, rounded, samples_of
from calibration.published.gate import Gated, gated
from calibration.published.rows import FOLDER, Row, digest_of, published_rows
from calibration.published.validate import (
    HeldOutRows,
    cell_of,
    leave_out,
    machine_of,
    nested_cover,
    reach_of,
    relative_errors,
)
from estimator.reference.file import HeldOutMachines, PhaseFit, Reference
from estimator.reference.machine import GROUPS, BackEnd

ORIGIN = "results/reference/published, fitted by `python -m calibration reference`: generated, do not edit"
SHORT_TOKENS = 1024
_PARTS = (("discrete", "prefill"), ("discrete", "decode"), ("Metal", "prefill"), ("Metal", "decode"), ("CPU", "decode"))


@dataclass(frozen=True, slots=True)
class Part:
    """One group and phase: its rows, their predictions with their machine left out, and what intervals held."""

    samples: Samples
    held: HeldOutRows
    covered: np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Built:
    """The file, and what it stands on, for reports."""

    reference: Reference
    gate: Gated
    parts: dict[tuple[str, str], Part]


def built(folder: Path = FOLDER) -> Built:
    """Reads, gates, fits and validates. Raises CalibrationError."""
    rows = published_rows(folder)
    gate = gated(rows)
    parts = {(group, phase): _part(samples_of(group, phase, gate.kept)) for group, phase in _PARTS}
    groups: dict[str, dict[str, PhaseFit]] = {}
    for (group, phase), part in parts.items():
        groups.setdefault(group, {})[phase] = _phase_fit(part)
    reference = Reference(
        origin=ORIGIN,
        digest=digest_of(folder),
        rows=len(gate.kept),
        machines=len({row.machine_name for row in gate.kept}),
        build_year={back_end: _newest(gate.kept, back_end) for back_end in get_args(BackEnd)},
        groups=groups,
    )
    return Built(reference, gate, parts)


def is_short(row: Row) -> bool:
    """A prompt, or a mean context of the decode steps, of 1,024 tokens at most."""
    work = row.work
    tokens = work.prompt_tokens if row.phase == "prefill" else work.prompt_tokens + work.output_tokens // 2
    return tokens <= SHORT_TOKENS


def _part(samples: Samples) -> Part:
    if not samples.rows:
        raise CalibrationError(f"no published row of {samples.group}, {samples.phase} passes the gate")
    held = leave_out(samples, machine_of)
    return Part(samples, held, nested_cover(samples, held))


def _phase_fit(part: Part) -> PhaseFit:
    samples = part.samples
    everything: Indices = np.arange(len(samples.rows))
    fitted = fit_samples(samples, everything)
    measured = {name for name, column in zip(samples.terms, samples.times.T, strict=True) if column.any()}
    return PhaseFit(
        prices={name: rounded(price) for name, price in zip(samples.terms, fitted.prices, strict=True)},
        borrowed=lenders(samples.terms, measured),
        factors={name: rounded(factor) for name, factor in fitted.factors.items()},
        residual=residual_file(samples, fitted),
        held_out={back_end: _held_out(part, back_end) for back_end in fitted.factors},
        lowest=tuple(rounded(value) for value in samples.at.min(axis=0)),
        highest=tuple(rounded(value) for value in samples.at.max(axis=0)),
        families=tuple(sorted({row.machine.family for row in samples.rows if row.machine})),
    )


def _held_out(part: Part, back_end: str) -> HeldOutMachines:
    samples = part.samples
    here = np.array([row.back_end == back_end for row in samples.rows])
    short = here & np.array([is_short(row) for row in samples.rows])
    errors = relative_errors(samples, part.held.seconds)[short]
    reach = reach_of(samples, part.held, back_end)
    said = np.flatnonzero(here & ~np.isnan(part.covered))
    return HeldOutMachines(
        rows=int(short.sum()),
        machines=len({row.machine_name for row, chosen in zip(samples.rows, short, strict=True) if chosen}),
        mean=_share(errors.mean()),
        median=_share(float(np.median(errors))),
        worst=_share(errors.max()),
        reach=None if reach is None else rounded(reach),
        coverage=_share(part.covered[said].mean()) if len(said) else None,
        cell_coverage=_share(cell_coverage(part, said)) if len(said) else None,
    )


def cell_coverage(part: Part, among: Indices) -> float:
    """The mean over machine x model of the share of rows that an interval held."""
    cells: dict[str, list[float]] = {}
    for index in among:
        cells.setdefault(cell_of(part.samples.rows[index]), []).append(float(part.covered[index]))
    return float(np.mean([np.mean(values) for values in cells.values()]))


def _share(value: float) -> float:
    return round(float(value), 4)


def _newest(rows: Sequence[Row], back_end: BackEnd) -> float:
    """The newest builds that are measured with `back_end`, else with its group."""
    same = [row.build_year for row in rows if row.back_end == back_end]
    group = [row.build_year for row in rows if GROUPS[row.machine.back_end] == GROUPS[back_end]] if not same else same  # type: ignore[union-attr]
    return max(group)
