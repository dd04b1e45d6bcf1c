"""Nested validation: the residual's settings, the intervals and the errors, each on machines that none of them saw.

For every machine: the others are cut into twenty folds of machines; each is predicted with each of SETTINGS by fits to
the other folds; the settings that predicted best are chosen, their scores give the intervals' reach, and a fit to all
the others predicts the machine. So neither the prediction nor its interval nor the choice of settings has seen it.
Each back end of nine machines or more chooses for itself, the others by all rows of their group.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.published.fitting import (
    Array,
    Fitted,
    Indices,
    Samples,
    Settings,
    fit_physics,
    fit_residual,
    row_weights,
)
from calibration.published.intervals import LEAST_MACHINES, reaches, scores
from calibration.published.rows import Row

LENGTHS = (1.0, 2.0, 4.0)
_NOISES = (0.03, 0.3)
# Stated before any error was seen, but for the CPU's, whose three machines can choose nothing.
SETTINGS = (Settings(None), *(Settings(length, noise) for length in LENGTHS for noise in _NOISES))
_FOLDS = 20

Key = Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class HeldOutRows:
    """Predictions of rows whose group was left out, and how far each lies from what was used; NaN of others."""

    seconds: Array
    distance: Array


@dataclass(frozen=True, slots=True)
class Nested:
    """Rows whose machine was left out of all: `covered` is 1 where the interval held, 0 where not, NaN without one.

    `reach` is that of each row's interval; `chosen` counts how often settings were chosen for a back end. `without`
    has for each machine what can be known without it: all rows as predicted by fits to neither their fold of machines
    nor that machine (its own rows: as in `held`), and the reach of each row's back end.
    """

    held: HeldOutRows
    reach: Array
    covered: Array
    chosen: Counter[tuple[str, Settings]]
    without: dict[str, tuple[HeldOutRows, Array]]


def machine_key(row: Row) -> str:
    """The machine whatever its back end: a card measured with CUDA and with Vulkan is left out of both."""
    return row.machine_name


def settings_of(group: str) -> tuple[Settings, ...]:
    """What may be chosen from."""
    return SETTINGS[:1] if group == "CPU" else SETTINGS


def leave_out(
    samples: Samples,
    key: Key,
    among: Indices,
    settings: Sequence[Settings],
) -> dict[Settings, HeldOutRows]:
    """Every row of `among` predicted, with each of `settings`, by the fit to the rows of `among` with another `key`."""
    keys = np.array([key(samples.rows[i]) for i in among])
    empty = np.full(len(samples.rows), math.nan)
    found = {entry: HeldOutRows(empty.copy(), empty.copy()) for entry in settings}
    for value in sorted(set(keys)):
        used, asked = among[keys != value], among[keys == value]
        if not len(used):
            continue
        physics = fit_physics(samples, used)
        for entry, held in found.items():
            fitted = fit_residual(samples, physics, everywhere(samples, entry))
            held.seconds[asked] = fitted.seconds(samples, asked)
            held.distance[asked] = fitted.distance(samples, asked)
    return found


def choose(samples: Samples, among: Indices) -> tuple[dict[str, Settings], HeldOutRows]:
    """For each back end the settings with the least mean |log(measured / predicted)|, weighted as the fit is.

    With the predictions, over folds of machines, that they gave.
    """
    machines = sorted({samples.rows[i].machine_name for i in among})
    fold = {name: str(index % _FOLDS) for index, name in enumerate(machines)}
    found = leave_out(samples, lambda row: fold[row.machine_name], among, settings_of(samples.group))
    empty = np.full(len(samples.rows), math.nan)
    chosen, held = {}, HeldOutRows(empty.copy(), empty.copy())
    for back_end in sorted({str(name) for name in samples.back_ends[among]}):
        here = among[samples.back_ends[among] == back_end]
        enough = len({samples.rows[i].machine_name for i in here}) >= LEAST_MACHINES
        best = _best(samples, found, here if enough else among)
        chosen[back_end] = best
        held.seconds[here], held.distance[here] = found[best].seconds[here], found[best].distance[here]
    return chosen, held


def everywhere(samples: Samples, settings: Settings) -> dict[str, Settings]:
    """The same settings for every back end."""
    return {str(name): settings for name in sorted(set(samples.back_ends))}


def _best(samples: Samples, found: Mapping[Settings, HeldOutRows], rows: Indices) -> Settings:
    weights = row_weights([samples.rows[i] for i in rows])
    losses = {}
    for settings, held in found.items():
        errors = np.abs(np.log(samples.seconds[rows] / held.seconds[rows]))
        losses[settings] = float(np.average(errors, weights=weights))
    return min(losses, key=losses.__getitem__)


def nested(samples: Samples) -> Nested:
    """Every machine left out of the fit, of the choice of its settings and of its intervals."""
    names = np.array([row.machine_name for row in samples.rows])
    empty = np.full(len(names), math.nan)
    found = Nested(HeldOutRows(empty.copy(), empty.copy()), empty.copy(), empty.copy(), Counter(), {})
    for machine in samples.machines:
        rest, asked = np.flatnonzero(names != machine), np.flatnonzero(names == machine)
        chosen, inner = choose(samples, rest)
        fitted = fit_residual(samples, fit_physics(samples, rest), chosen)
        found.held.seconds[asked] = fitted.seconds(samples, asked)
        found.held.distance[asked] = fitted.distance(samples, asked)
        inner.seconds[asked], inner.distance[asked] = found.held.seconds[asked], found.held.distance[asked]
        reach = reaches(samples, scores(samples, inner.seconds, inner.distance), rest)
        found.reach[asked] = reach[asked]
        found.without[machine] = inner, reach
        found.chosen.update((name, chosen[name]) for name in {str(n) for n in samples.back_ends[asked]} & set(chosen))
    known = ~np.isnan(found.reach)
    found.covered[known] = (scores(samples, found.held.seconds, found.held.distance) <= found.reach)[known]
    return found


def final_fit(samples: Samples) -> Fitted:
    """The fit that is shipped: to all rows, its settings chosen by folds of all machines."""
    everything: Indices = np.arange(len(samples.rows))
    chosen, _ = choose(samples, everything)
    return fit_residual(samples, fit_physics(samples, everything), chosen)
