"""Tables of errors on what was left out: models, weight types, runs; memory; how often intervals held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from calibration.local.leaving import (
    PHASES,
    Held,
    left_out,
    model_of,
    of_phase,
    repeated,
    runs_left_out,
    sizes_of,
    type_of,
)
from calibration.local.nested import LEAST_MODELS, Interval, coverage, memory_intervals, residuals_of, speed_intervals
from calibration.local.stored import Stored
from calibration.shown.tables import Table
from calibration.validate import memory_residuals

_PARTS = {"anonymous": "anonymous memory", "file": "file-backed memory"}


def left_out_table(stored: Stored) -> Table:
    """Everything that can be left out, by fits with the prior and without."""
    entries: dict[str, Sequence[Held]] = {}
    for words, fit in stored.fits.items():
        again, new = runs_left_out(stored.observations, fit)
        entries |= {
            f"model, {words}": left_out(stored.observations, model_of, fit),
            f"weight type, {words}": left_out(stored.observations, type_of, fit),
            f"run, {words}: cells that other runs have too": again,
            f"run, {words}: other cells": new,
        }
    entries["run: the same cell in the other runs in place of a prediction"] = repeated(stored.observations)
    notes = (
        "A model or weight type is left out of every run, of a run all that it measured; a weight type is the mixture "
        "that a file has.",
        "Not predicted are cells of a type, or of any term, that nothing else has and no prior knows.",
    )
    return phase_table("What was left out", entries, "groups", notes)


def each_table(title: str, held: Sequence[Held], key: Mapping[str, str] | None = None) -> Table:
    """A row for each group that was left out; `key` says its name in words."""
    names: dict[str, list[Held]] = {}
    for one in held:
        names.setdefault(one.group if key is None else key[one.group], []).append(one)
    return phase_table(title, dict(sorted(names.items())))


def phase_table(
    title: str, entries: Mapping[str, Sequence[Held]], groups: str = "", notes: Sequence[str] = ()
) -> Table:
    """A row for each label, decode beside prefill; `groups` is what the number of groups is called, none: not shown."""
    heads = tuple(
        head
        for phase in PHASES
        for head in (f"{phase} median (p90, worst)", f"{phase} cells{f', {groups}' if groups else ''}")
    )
    rows = tuple(
        (label, *(cell for phase in PHASES for cell in _cells(of_phase(held, phase), bool(groups))))
        for label, held in entries.items()
        if held
    )
    return Table(title, ("", *heads), rows, tuple(notes))


def _cells(held: Sequence[Held], with_groups: bool) -> tuple[str, str]:
    sizes = sizes_of(held)
    if sizes is None:
        return ("not predicted", f"0 of {len(held)}") if held else ("", "")
    count = f"{sizes.known}" if sizes.known == sizes.asked else f"{sizes.known} of {sizes.asked}"
    return (
        f"{sizes.median:.1%} ({sizes.p90:.1%}, {sizes.worst:.1%})",
        f"{count}, {sizes.groups}" if with_groups else count,
    )


def memory_table(stored: Stored) -> Table:
    """Both parts of memory, each model left out."""
    rows = []
    for part, residuals in memory_residuals(stored.fitted.memory, stored.memory_prior).items():
        if residuals:
            sizes = [abs(residual.relative) for residual in residuals]
            middle, high = (float(value) for value in np.quantile(sizes, [0.5, 0.9]))
            models = len({residual.group for residual in residuals})
            rows.append((_PARTS[part], f"{middle:.1%} ({high:.1%}, {max(sizes):.1%})", f"{len(sizes)}, {models}"))
    note = () if rows else ("Memory of two models at least was not measured: nothing can be left out.",)
    return Table("Memory, each model left out", ("", "median (p90, worst)", "processes, models"), tuple(rows), note)


def coverage_table(stored: Stored, held: Sequence[Held], intervals: Mapping[tuple[str, str], Interval]) -> Table:
    """How often the 90 % interval of the other models held, of times and of memory."""
    prior, memory = stored.memory_prior, stored.fitted.memory
    times = {phase: residuals_of(of_phase(held, phase)) for phase in PHASES}
    these = speed_intervals(stored.observations, stored.fit, another_run=False)
    parts, of_memory = memory_residuals(memory, prior), memory_intervals(memory, prior)
    asked = [(phase, coverage(found, intervals, phase)) for phase, found in times.items()]
    asked += [(f"{phase}, interval of these runs", coverage(found, these, phase)) for phase, found in times.items()]
    asked += [(_PARTS[part], coverage(found, of_memory, part)) for part, found in parts.items()]
    rows = [
        (what, f"{told.cells_share:.1%}", f"{told.models_share:.1%}", f"+{told.reach:.1%}",
         f"{told.cells}, {told.models}") for what, told in asked if told is not None
    ]  # fmt: skip
    notes = [
        "What was left out is of the same runs as the rest. Intervals of times allow for another run besides, so they "
        "should hold more than 90 % here; those of these runs, without that, 90 %."
    ]
    if len(rows) < len(asked):
        notes.append(f"None where under {LEAST_MODELS} models were measured: an interval takes five others.")
    heads = ("", "cells held", "the same, each model once", "upper end at the median", "cells, models")
    return Table("90 % intervals of models left out, from the other models alone", heads, tuple(rows), tuple(notes))
