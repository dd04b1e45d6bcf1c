"""The learning curve: the error on a model left out whole, against how many cells of the others were measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from calibration.fitters import SpeedFit
from calibration.local.leaving import PHASES, Fit, Held, model_of, of_phase, predicted, sizes_of
from calibration.local.stored import WITHOUT, Stored
from calibration.observations import Observation
from calibration.shown.page import Figure, layout
from calibration.shown.tables import Table
from harness.page.timeline import Chart

COUNTS = (3, 5, 10, 20)
DRAWS = 20
ALL = "all"
_COLOURS = ("#4477aa", "#ee6677")


@dataclass(frozen=True, slots=True)
class Curve:
    """Held-out predictions by the number of cells in words, of fits in words."""

    points: Mapping[str, Mapping[str, Sequence[Held]]]
    draws: int
    most: tuple[int, int]


def curve_of(stored: Stored, draws: int = DRAWS, tell: Callable[[str], None] = lambda _: None) -> Curve:
    """The curve with the prior, whose zero is that prior as it stands, and without, which has no zero."""
    points: dict[str, Mapping[str, Sequence[Held]]] = {}
    for words, fit in stored.fits.items():
        tell(f"learning curve, {words}")
        points[words] = drawn(stored.observations, fit, draws)
        if words != WITHOUT:
            points[words] = {"0": _unscaled(stored), **points[words]}
    others = [len(cells) for _, cells in _left_out(stored.observations)]
    return Curve(points, draws, (min(others), max(others)))


def drawn(observations: Sequence[Observation], fit: Fit, draws: int) -> dict[str, list[Held]]:
    """Each model as predicted by fits to so many cells of the others, drawn `draws` times, and to all of them.

    A model whose others have fewer cells is left out of that point. The cells of a draw are the first of the larger
    draw with the same seed.
    """
    found: dict[str, list[Held]] = {words: [] for words in (*map(str, COUNTS), ALL)}
    for group, cells in _left_out(observations):
        asked = [o for o in observations if model_of(o) == group]
        names = sorted(cells)
        for seed in range(draws):
            order = random.Random(seed).sample(names, len(names))
            for count in (count for count in COUNTS if count < len(names)):
                few = fit([o for name in order[:count] for o in cells[name]])
                found[str(count)] += [predicted(few, o, group) for o in asked]
        whole = fit([o for name in names for o in cells[name]])
        found[ALL] += [predicted(whole, o, group) for o in asked]
    return {words: held for words, held in found.items() if held}


def _left_out(observations: Sequence[Observation]) -> list[tuple[str, dict[str, list[Observation]]]]:
    """Each model with the cells of all others."""
    found = []
    for group in sorted({model_of(o) for o in observations}):
        cells: dict[str, list[Observation]] = {}
        for o in observations:
            if model_of(o) != group:
                cells.setdefault(o.cell, []).append(o)
        found.append((group, cells))
    return found


def _unscaled(stored: Stored) -> list[Held]:
    prior = SpeedFit(dict(stored.fitted.prices or {}), {})
    return [predicted(prior, o, model_of(o)) for o in stored.observations]


def curve_table(stored: Stored, curve: Curve) -> Table:
    """A row for each number of cells."""
    heads = tuple(f"{phase}, {words}" for phase in PHASES for words in curve.points)
    counts = list(dict.fromkeys(count for told in curve.points.values() for count in told))
    rows = tuple(
        (
            _in_words(count, curve),
            *(_cell(told.get(count, ()), phase) for phase in PHASES for told in curve.points.values()),
        )
        for count in sorted(counts, key=lambda count: (count == ALL, int(count) if count != ALL else 0))
    )
    notes = [
        f"Median (90th percentile) over the cells of each model left out whole, {curve.draws} draws of the others' "
        "cells for each number. A cell is one shape of one file: a prompt and its decode."
    ]
    if stored.prior is not None:
        notes.append(_zero(stored))
    return Table(
        "Learning curve: cells of the other models, and the error on a model left out whole",
        ("cells", *heads),
        rows,
        tuple(notes),
    )


def _zero(stored: Stored) -> str:
    if stored.runs_seen:
        return (
            f"0 is the shipped prior as it stands. It was fitted to {stored.runs_seen} of these runs, the models left "
            "out among them: neither its zero nor any figure with it is evidence here; those without a prior are."
        )
    return f"0 is the shipped prior as it stands: prices of {stored.prior_words}; not scaled to this machine."


def _in_words(count: str, curve: Curve) -> str:
    return f"all ({curve.most[0]} to {curve.most[1]})" if count == ALL else count


def _cell(held: Sequence[Held], phase: str) -> str:
    asked = of_phase(held, phase)
    sizes = sizes_of(asked)
    if sizes is None:
        return "not predicted" if asked else "-"
    share = "" if sizes.known == sizes.asked else f"; {sizes.known / sizes.asked:.0%} predicted"
    return f"{sizes.median:.1%} ({sizes.p90:.1%}){share}"


def curve_chart(stored: Stored, curve: Curve, phase: str) -> Chart:
    """Median and 90th percentile of the error against the number of cells."""
    axes = layout("cells of the other models", "|predicted - measured| / measured, %")
    axes["xaxis"].update({"type": "category", "categoryorder": "array", "categoryarray": ["0", *map(str, COUNTS), ALL]})
    axes["yaxis"]["type"] = "log"
    axes["height"] = 420
    notes = (_zero(stored),) if stored.prior is not None else ()
    traces = [
        trace
        for (words, told), colour in zip(reversed(list(curve.points.items())), _COLOURS, strict=False)
        for trace in _lines(words, told, phase, colour)
    ]
    caption = f"Each model left out whole, {curve.draws} draws of cells; full: median, dotted: 90th percentile."
    return Chart(f"curve-{phase}", f"Learning curve, {phase}", caption, {"data": traces, "layout": axes}, notes)


def _lines(words: str, told: Mapping[str, Sequence[Held]], phase: str, colour: str) -> list[Figure]:
    sizes = {count: found for count, held in told.items() if (found := sizes_of(of_phase(held, phase)))}
    return [
        {"type": "scatter", "mode": "lines+markers", "name": f"{name}, {words}", "x": list(sizes),
         "y": [float(f"{100 * getattr(found, part):.4g}") for found in sizes.values()],
         "line": {"color": colour, "dash": dash}}
        for part, name, dash in (("median", "median", "solid"), ("p90", "90th percentile", "dot"))
    ]  # fmt: skip
