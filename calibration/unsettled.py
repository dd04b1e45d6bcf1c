"""What a fit leaves uncertain, and which cells would settle it: the last words of `calibration fit`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.belief import PHASES, terms_of
from calibration.candidates import Cell
from calibration.errors import CalibrationError
from calibration.fitters import SpeedFit
from calibration.fitting import Fitted, speed_of
from calibration.observations import Observation
from calibration.planning import Planned, Wish, plan
from calibration.told import not_told_apart
from estimator.coefficients import Coefficients

BUDGET_S = 300.0
# Of the machine's memory, where it is not known what else needs some.
_USABLE = 0.8
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A five-minute plan after a fit, and by phase the terms that its cells would tell apart which the fit's do not."""

    planned: Planned
    told_apart: dict[str, tuple[str, ...]]


def unsettled(fitted: Fitted, prior: Coefficients | None) -> Unsettled:
    """What is still uncertain of the machine that was fitted. Raises CalibrationError where nothing fits it."""
    wish = Wish(BUDGET_S, int(_USABLE * fitted.build.memory_total_bytes), exchange=False)
    planned = plan(fitted.observations, prior if fitted.coefficients.prior else None, wish)
    known = fitted.coefficients.evidence.not_told_apart
    found: dict[str, tuple[str, ...]] = {}
    for phase in PHASES:
        seen = [o for o in fitted.observations if o.phase == phase]
        speed = speed_of(fitted.coefficients)
        imagined = [_imagined(cell, seen[0], speed) for part in planned.parts for cell, _ in part.cells] if seen else []
        still = not_told_apart([*seen, *imagined])
        found[phase] = tuple(name for name in known.get(phase, ()) if name not in still)
    return Unsettled(planned, found)


def last_words(fitted: Fitted, prior: Coefficients | None, results: Iterable[Path]) -> list[str]:
    """What a fit ends by saying; where no plan can be made, why."""
    try:
        return lines(unsettled(fitted, prior), shlex.join(map(str, results)))
    except CalibrationError as error:
        return [f"what to measure next is not known: {error}"]


def lines(found: Unsettled, results: str) -> list[str]:
    """The words."""
    planned = found.planned
    now = ", ".join(f"{phase} {planned.before[phase]:.1%}" for phase in ("decode", "prefill"))
    worst = "; ".join(f"{label} ±{sd:.0%}" for label, sd in planned.worst)
    after = ", ".join(f"{phase} {planned.after[phase]:.1%}" for phase in ("decode", "prefill"))
    cells = [cell.label for part in planned.parts for cell, _ in part.cells]
    apart = [f"{', '.join(names)} ({phase})" for phase, names in found.told_apart.items() if names]
    said = [
        f"still uncertain, standard deviation expected over {planned.asked} questions: {now}; most: {worst}",
        f"would settle it to {after} in {BUDGET_S / 60:.0f} min: {', '.join(cells[:_NAMED])} and "
        f"{max(0, len(cells) - _NAMED)} more cells, by"
        f" `python -m calibration plan {results} --budget {BUDGET_S / 60:.0f}m`",
    ]
    return said + ([f"and tell apart: {'; '.join(apart)}"] if apart else [])


def _imagined(cell: Cell, like: Observation, speed: SpeedFit) -> Observation:
    """The cell as if it had been measured; times only weigh, and where a term has no price the known ones do."""
    terms = terms_of(cell.file, cell.work)[like.phase]
    known = {name: amount for name, amount in terms.items() if name in speed.seconds_per_unit}
    return replace(like, file=cell.file, work=cell.work, terms=terms, seconds=speed.seconds(known) or like.seconds)
