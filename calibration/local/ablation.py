"""What each term of the theory is worth: the fit without it, each model left out, against the fit with all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

from calibration.local.leaving import PHASES, Fit, Held, left_out, model_of, of_phase, sizes_of
from calibration.observations import Observation
from calibration.shown.tables import Table
from estimator.theory.terms import term

# Changes of the mean error below this are none.
_NOTHING = 0.0005
_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class Worth:
    """By how much the mean error of a model left out rises without a term, and the standard error of that over models
    (None of one model)."""

    rise: float
    error: float | None

    @property
    def says(self) -> str:
        """Whether the term earns its place here."""
        if abs(self.rise) < _NOTHING:
            return "earns nothing"
        sure = self.error is not None and abs(self.rise) > _ERRORS * self.error
        if not sure:
            return "not told from chance"
        return "earns" if self.rise > 0 else "harms"


def ablation_table(observations: Sequence[Observation], whole: Sequence[Held], fit: Fit) -> Table:
    """A row for each term, for each family of weight types at one price for all, and for all terms that earn nothing
    together; `whole` is with all terms."""
    rows: list[tuple[str, ...]] = [("all terms", *_row(whole, None))]
    idle: list[str] = []
    for label, changed in ablations(observations).items():
        less = left_out(changed, model_of, fit)
        rows.append((label, *_row(less, whole)))
        if not any(worth.says == "earns" for worth in _worths(whole, less)):
            idle.append(label)
    families = [family for family in _families(observations) if _label(family) in idle]
    if len(families) > 1:
        without = left_out(_renamed(observations, _dropping(*families)), model_of, fit)
        rows.append(("none of those that do not earn alone", *_row(without, whole)))
    notes = (
        "Change: of the mean error of a model, in points, without the term; ± is its standard error over models. "
        f"Earns: more than {_ERRORS:.0f} of those; harms: as much better without. A line of one price for all says so "
        "of prices for each type. Cells that either fit does not predict are left out of the change.",
        f"Nothing here shows that they are worth having, each alone: {', '.join(idle) or 'none'}."
        f"{' The last row leaves out all of these terms together.' if len(families) > 1 else ''}",
    )
    heads = tuple(f"{phase} {name}" for phase in PHASES for name in ("median (p90)", "change", "says"))
    return Table("Ablation: each term left out of the fit, each model left out", ("", *heads), tuple(rows), notes)


def _worths(whole: Sequence[Held], less: Sequence[Held]) -> list[Worth]:
    """Of each phase that has the term."""
    told = [worth_of(of_phase(whole, phase), of_phase(less, phase)) for phase in PHASES]
    return [worth for worth in told if worth is not None]


def _label(family: str) -> str:
    return f"no {family.rstrip('.')}"


def _families(observations: Sequence[Observation]) -> dict[str, set[str]]:
    """The rows of TERMS that occur, with the names that belong to each."""
    members: dict[str, set[str]] = {}
    for name in (name for o in observations for name in o.terms):
        members.setdefault(term(name).name, set()).add(name)
    return members


def ablations(observations: Sequence[Observation]) -> dict[str, list[Observation]]:
    """The observations without each term, and with one price for all weight types of a family that has several."""
    members = _families(observations)
    found = {_label(family): _renamed(observations, _dropping(family)) for family in members}
    several = [family for family, names in members.items() if len(names) > 1]
    return found | {f"one price for all {family}T": _renamed(observations, _merging(family)) for family in several}


def _dropping(*families: str) -> Callable[[str], str | None]:
    return lambda name: None if term(name).name in families else name


def _merging(family: str) -> Callable[[str], str | None]:
    return lambda name: f"{family}any" if term(name).name == family else name


def _renamed(observations: Sequence[Observation], rename: Callable[[str], str | None]) -> list[Observation]:
    """The observations with their terms under other names, those of one name added up; None: left out."""
    found = []
    for o in observations:
        terms: dict[str, float] = {}
        for name, amount in o.terms.items():
            new = rename(name)
            if new is not None:
                terms[new] = terms.get(new, 0.0) + amount
        found.append(replace(o, terms=terms))
    return found


def worth_of(whole: Sequence[Held], less: Sequence[Held]) -> Worth | None:
    """What the term is worth that `less` lacks; None where no cell is predicted by both, or none has the term.

    Both have the same observations in the same order: two may have one label, as a file with and without some option.
    """
    told = zip(whole, less, strict=True)
    pairs = [(one, other) for one, other in told if one.error is not None and other.error is not None]
    if all(one.observation.terms == other.observation.terms for one, other in pairs):
        return None
    rises: dict[str, list[float]] = {}
    for one, other in pairs:
        rises.setdefault(one.group, []).append(abs(other.error or 0.0) - abs(one.error or 0.0))
    models = [mean(found) for found in rises.values()]
    return Worth(mean(models), stdev(models) / math.sqrt(len(models)) if len(models) > 1 else None)


def _row(held: Sequence[Held], whole: Sequence[Held] | None) -> tuple[str, ...]:
    cells: list[str] = []
    for phase in PHASES:
        sizes = sizes_of(of_phase(held, phase))
        worth = worth_of(of_phase(whole, phase), of_phase(held, phase)) if whole is not None else None
        cells.append(f"{sizes.median:.1%} ({sizes.p90:.1%})" if sizes and (worth or whole is None) else "")
        error = "" if worth is None or worth.error is None else f" ± {100 * worth.error:.1f}"
        cells += ["", ""] if worth is None else [f"{100 * worth.rise:+.1f}{error}", worth.says]
    return tuple(cells)
