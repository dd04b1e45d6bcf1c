"""Builds the reference file from the published measurements: gate, fit, held-out errors, intervals, valid ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from calibration.errors import CalibrationError
from calibration.published.choosing import LENGTHS, Nested, final_fit, nested
from calibration.published.fitting import Array, Fitted, Samples, Settings, residual_file, rounded, samples_of
from calibration.published.gate import Gated, gated
from calibration.published.intervals import cell_coverage, reach_of, scores
from calibration.published.learning import errors_by_count
from calibration.published.moving import Moved, moved
from calibration.published.rows import FOLDER, Row, digest_of, published_rows
from estimator.reference.file import HeldOutMachines, Moving, PhaseFit, Reference
from estimator.reference.machine import BACK_ENDS, BackEnd

ORIGIN = "results/reference/published, fitted by `python -m calibration reference`: generated, do not edit"
SHORT_TOKENS = 1024
PARTS = (("discrete", "prefill"), ("discrete", "decode"), ("Metal", "prefill"), ("Metal", "decode"), ("CPU", "decode"))


@dataclass(frozen=True, slots=True)
class Part:
    """One group and phase: its rows, what nested validation says of them, and the fit to all of them."""

    samples: Samples
    nested: Nested
    fitted: Fitted

    @property
    def chosen(self) -> dict[str, Settings]:
        """The settings that are shipped, for each back end."""
        return {back_end: settings for back_end, (settings, _) in self.fitted.residuals.items()}

    @property
    def short(self) -> NDArray[np.bool_]:
        """Which rows are of contexts up to 1,024 tokens."""
        return np.array([is_short(row) for row in self.samples.rows])

    @property
    def rate_errors(self) -> Array:
        """|predicted - measured| / measured of tokens per second, each row's machine left out."""
        return np.asarray(np.abs(self.samples.seconds / self.nested.held.seconds - 1))


@dataclass(frozen=True, slots=True)
class Built:
    """The file, and what it stands on, for reports."""

    reference: Reference
    gate: Gated
    parts: dict[tuple[str, str], Part]
    moved: dict[str, Moved]


def built(folder: Path = FOLDER) -> Built:
    """Reads, gates, fits and validates. Raises CalibrationError."""
    rows = published_rows(folder)
    gate = gated(rows)
    # Matrices of 350 rows: threads of the solver wait for each other longer than they work, most where others work too.
    with threadpool_limits(1, user_api="blas"):
        parts = {(group, phase): _part(samples_of(group, phase, gate.kept, LENGTHS)) for group, phase in PARTS}
        found = {phase: moved(_of_phase(parts, phase)) for phase in ("prefill", "decode")}
    groups: dict[str, dict[str, PhaseFit]] = {}
    back_ends = [name for name in BACK_ENDS if any(row.back_end == name for row in gate.kept)]
    for (group, phase), part in parts.items():
        held_out = {back_end: _held_out(part, back_end) for back_end in part.fitted.physics.factors}
        groups.setdefault(group, {})[phase] = phase_fit(part.samples, part.fitted, held_out)
    reference = Reference(
        origin=ORIGIN,
        digest=digest_of(rows, folder),
        rows=len(gate.kept),
        machines={name: _machines(gate.kept, name) for name in back_ends},
        build_years={name: _build_years(gate.kept, name) for name in back_ends},
        groups=groups,
        moving={phase: _moving(entry) for phase, entry in found.items()},
    )
    return Built(reference, gate, parts, found)


def _of_phase(parts: Mapping[tuple[str, str], Part], phase: str) -> dict[str, tuple[Samples, Nested]]:
    return {group: (part.samples, part.nested) for (group, other), part in parts.items() if other == phase}


def is_short(row: Row) -> bool:
    """A prompt, or a mean context of the decode steps, of 1,024 tokens at most."""
    work = row.work
    tokens = work.prompt_tokens if row.phase == "prefill" else work.prompt_tokens + work.output_tokens // 2
    return tokens <= SHORT_TOKENS


def _part(samples: Samples) -> Part:
    if not samples.rows:
        raise CalibrationError(f"no published row of {samples.group}, {samples.phase} passes the gate")
    return Part(samples, nested(samples), final_fit(samples))


def _moving(found: Moved) -> Moving:
    """What the file says of moving."""
    widening = None if found.widening is None else rounded(found.widening)
    return Moving(found.strength, widening, errors_by_count(found))


def phase_fit(samples: Samples, fitted: Fitted, held_out: dict[str, HeldOutMachines]) -> PhaseFit:
    """What the file says of one group and phase."""
    measured = {name for name, column in zip(samples.terms, samples.times.T, strict=True) if column.any()}
    points, residuals = residual_file(samples, fitted)
    return PhaseFit(
        prices={name: rounded(price) for name, price in zip(samples.terms, fitted.physics.prices, strict=True)},
        unmeasured=tuple(name for name in samples.terms if name not in measured),
        factors={name: rounded(factor) for name, factor in fitted.physics.factors.items()},
        points=points,
        residuals=residuals,
        held_out=held_out,
        lowest=tuple(float(value) for value in samples.at.min(axis=0)),
        highest=tuple(float(value) for value in samples.at.max(axis=0)),
        families=tuple(sorted({row.machine.family for row in samples.rows if row.machine})),
    )


def _held_out(part: Part, back_end: str) -> HeldOutMachines:
    samples, held = part.samples, part.nested.held
    here = np.array([row.back_end == back_end for row in samples.rows])
    short = here & part.short
    errors = part.rate_errors[short]
    reach = reach_of(samples, scores(samples, held.seconds, held.distance), back_end, np.flatnonzero(here))
    said = np.flatnonzero(here & ~np.isnan(part.nested.covered))
    return HeldOutMachines(
        rows=int(short.sum()),
        machines=len({samples.rows[i].machine_name for i in np.flatnonzero(short)}),
        mean=_share(errors.mean()),
        median=_share(float(np.median(errors))),
        worst=_share(errors.max()),
        reach=None if reach is None else rounded(reach),
        coverage=_share(part.nested.covered[said].mean()) if len(said) else None,
        cell_coverage=_share(cell_coverage(samples, part.nested.covered, said)) if len(said) else None,
    )


def _share(value: float) -> float:
    return round(float(value), 4)


def _machines(rows: Sequence[Row], back_end: BackEnd) -> tuple[str, ...]:
    return tuple(sorted({row.machine_name for row in rows if row.back_end == back_end}))


def _build_years(rows: Sequence[Row], back_end: BackEnd) -> tuple[float, float]:
    years = [row.build_year for row in rows if row.back_end == back_end]
    return min(years), max(years)
