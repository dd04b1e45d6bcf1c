"""The moved reference, validated: machines left out, some of their own cells given back, their other cells predicted.

A machine's cells are drawn at random but for one model x type, COUNTS of them SEEDS times, then all but each model x
type; what is asked are its rows of models x types that were not drawn. `Strength` is chosen from STRENGTHS by the mean
|log(measured / moved)|, and the interval's widening taken, on the other machines alone, whose own predictions have not
seen this one either (`Nested.without`). Each machine with each back end counts the same, of it each count, of that each
draw. All groups of back ends choose together: of graphics cards only eight were measured with two models or types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from calibration.published.choosing import Nested
from calibration.published.fitting import Array, Indices, Samples, weighted_quantile
from calibration.published.intervals import LEAST_MACHINES, LEVEL, cell_of, reaches, scores
from estimator.reference.file import Strength

COUNTS = (1, 3, 5, 10, 20)
SEEDS = 4
# A tenth is of each cell itself: with less errors fall by 1 or 2 % of themselves, intervals get 5 to 8 % worse.
STRENGTHS = tuple(
    Strength(common, round(1 - common - noise, 4), length, noise)
    for common, noise, length in product((0.1, 0.2, 0.4, 0.6), (0.1, 0.2, 0.4), (1.0, 2.0, 4.0))
)
Found = tuple[Samples, Nested]


@dataclass(frozen=True, slots=True)
class Draw:
    """Rows of one machine with one back end: `given` are its own cells, `asked` what they shall predict.

    `cells` is how many were drawn, None where all other models x types were given.
    """

    group: str
    machine: str
    back_end: str
    cells: int | None
    given: Indices
    asked: Indices

    @property
    def place(self) -> tuple[str, str]:
        """What counts as one."""
        return self.machine, self.back_end


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a draw gave when its machine was left out, an entry for each row asked.

    `unmoved`, `moved` and `alone` are log(measured / predicted) without the cells given, with them, and with their mean
    in place of any prior; `before` and `after` the half widths of the interval of the first two, NaN without one.
    """

    draw: Draw
    unmoved: Array
    moved: Array
    alone: Array
    before: Array
    after: Array


@dataclass(frozen=True, slots=True)
class Moved:
    """Of one phase: the strength and widening that are shipped, all outcomes, how often each strength was chosen."""

    strength: Strength
    widening: float | None
    outcomes: tuple[Outcome, ...]
    chosen: Counter[Strength]


@dataclass(frozen=True, slots=True)
class _Known:
    """Of each row of a group (a line) what is known without a machine (a column, of `names`; the last: but its own).

    `logs` of measured / predicted, `widths` half widths of the interval; `squared` distances between the rows.
    """

    samples: Samples
    names: tuple[str, ...]
    logs: Array
    widths: Array
    squared: Array


def moved(parts: Mapping[str, Found]) -> Moved:
    """Chooses for each machine on the others, predicts it, and chooses on all what is shipped; `parts` by group."""
    draws = [draw for group, (samples, _) in parts.items() for draw in draws_of(group, samples)]
    names = tuple(sorted({draw.machine for draw in draws}))
    known = {group: _known(samples, nested, names) for group, (samples, nested) in parts.items()}
    losses = np.array([_losses(strength, draws, known) for strength in STRENGTHS])
    places = [machine for machine, _ in sorted({draw.place for draw in draws})]
    strengths, widenings = [], []
    for column, name in enumerate((*names, None)):
        others = np.array([machine != name for machine in places])
        strengths.append(STRENGTHS[int(np.argmin(losses[:, others, column].mean(axis=1)))])
        rest = [draw for draw in draws if draw.machine != name]
        widenings.append(_widening([_outcome(draw, strengths[-1], known, column) for draw in rest], known))
    outcomes = []
    for draw in draws:
        column = names.index(draw.machine)
        outcomes.append(_outcome(draw, strengths[column], known, column, widenings[column]))
    return Moved(strengths[-1], widenings[-1], tuple(outcomes), Counter(strengths[:-1]))


def draws_of(group: str, samples: Samples) -> list[Draw]:
    """All draws, machines in order."""
    places: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(samples.rows):
        places.setdefault((row.machine_name, row.back_end), []).append(index)
    found: list[Draw] = []
    for number, ((machine, back_end), members) in enumerate(sorted(places.items())):
        own = np.array(members)
        kinds = np.array([f"{samples.rows[i].model_name} {samples.rows[i].quant}" for i in members])
        drawn = _drawn(own, kinds, np.random.default_rng(number)) if len(set(kinds)) > 1 else ()
        found += [Draw(group, machine, back_end, cells, given, asked) for cells, given, asked in drawn]
    return found


def _drawn(
    own: Indices, kinds: np.ndarray[tuple[int, ...], np.dtype[np.str_]], random: np.random.Generator
) -> Iterator[tuple[int | None, Indices, Indices]]:
    for cells in COUNTS:
        for _ in range(SEEDS):
            others = np.flatnonzero(kinds != random.choice(kinds))
            if cells <= len(others):
                chosen = np.sort(random.permutation(others)[:cells])
                yield cells, own[chosen], own[~np.isin(kinds, kinds[chosen])]
    for kind in sorted(set(kinds)):
        yield None, own[kinds != kind], own[kinds == kind]


def smoother(strength: Strength, squared: Array, given: Indices, asked: Indices) -> tuple[Array, Array]:
    """The rows asked as sums of the rows given (asked x given), and the spread of each: `shift_at`, of many rows."""
    near = _covariance(strength, squared[np.ix_(asked, given)])
    own = _covariance(strength, squared[np.ix_(given, given)]) + strength.noise * np.eye(len(given))
    weights = np.asarray(np.linalg.solve(own, near.T).T, dtype=np.float64)
    return weights, np.asarray(np.sqrt(np.maximum(0.0, 1.0 - (weights * near).sum(axis=1))))


def _covariance(strength: Strength, squared: Array) -> Array:
    return np.asarray(strength.common + strength.alike * np.exp(-squared / (2 * strength.length**2)))


def _known(samples: Samples, nested: Nested, names: Sequence[str]) -> _Known:
    everything: Indices = np.arange(len(samples.rows))
    whole = nested.held, reaches(samples, scores(samples, nested.held.seconds, nested.held.distance), everything)
    entries = [*(nested.without.get(name, whole) for name in names), whole]
    logs = [np.log(samples.seconds / held.seconds) for held, _ in entries]
    widths = [reach * (1 + held.distance) for held, reach in entries]
    squared = np.asarray(((samples.at[:, None, :] - samples.at[None, :, :]) ** 2).sum(axis=2))
    return _Known(samples, tuple(names), np.array(logs).T, np.array(widths).T, squared)


def _losses(strength: Strength, draws: Sequence[Draw], known: Mapping[str, _Known]) -> Array:
    """Mean |log| of each place (a line) by each column: of its draws of one count, then of its counts."""
    found: dict[tuple[str, str], dict[int | None, list[Array]]] = {}
    for draw in draws:
        logs = known[draw.group].logs
        weights, _ = smoother(strength, known[draw.group].squared, draw.given, draw.asked)
        errors = np.abs(logs[draw.asked] - weights @ logs[draw.given]).mean(axis=0)
        found.setdefault(draw.place, {}).setdefault(draw.cells, []).append(errors)
    means = {place: [np.mean(errors, axis=0) for errors in counts.values()] for place, counts in found.items()}
    return np.array([np.mean(means[place], axis=0) for place in sorted(means)])


def _outcome(
    draw: Draw, strength: Strength, known: Mapping[str, _Known], column: int, widening: float | None = 1.0
) -> Outcome:
    group = known[draw.group]
    weights, spread = smoother(strength, group.squared, draw.given, draw.asked)
    own, unmoved = group.logs[draw.given, column], group.logs[draw.asked, column]
    before = group.widths[draw.asked, column]
    after = before * spread * (np.nan if widening is None else widening)
    return Outcome(draw, unmoved, unmoved - weights @ own, unmoved - own.mean(), before, after)


def _widening(outcomes: Sequence[Outcome], known: Mapping[str, _Known]) -> float | None:
    """The conformal 90 % quantile of |log| beside the half width with the spread, each machine x model one vote.

    None under nine machines with an interval.
    """
    said = [(o, i) for o in outcomes for i in np.flatnonzero(~np.isnan(o.after))]
    if len({o.draw.machine for o, _ in said}) < LEAST_MACHINES:
        return None
    cells = [cell_of(known[o.draw.group].samples.rows[o.draw.asked[i]]) for o, i in said]
    entries = Counter(cells)
    found = np.array([abs(o.moved[i]) / o.after[i] for o, i in said])
    weights = np.array([1.0 / entries[cell] for cell in cells])
    return weighted_quantile(found, weights, min(1.0, LEVEL * (1 + 1 / len(entries))))
