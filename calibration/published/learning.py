"""The learning curve: error against the number of a machine's own cells, as figures, a table and a chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from calibration.published.fitting import Array, weighted_quantile
from calibration.published.moving import COUNTS, Moved, Outcome
from calibration.published.tables import PHASES, Table
from estimator.reference.file import MovedErrors
from harness.page.timeline import Chart

GROUPS = {"discrete": "graphics cards", "Metal": "Metal", "CPU": "CPU"}
_COLOURS = {"discrete": "#4477aa", "Metal": "#ee6677", "CPU": "#aa3377"}
_HEADS = (
    "", "own cells", "MAPE without", "MAPE moved (median)", "MAPE by own cells alone", "held without", "held moved",
    "+- without", "+- moved", "rows, machines",
)  # fmt: skip


def errors_by_count(found: Moved) -> dict[str, tuple[MovedErrors, ...]]:
    """For each group a line for each count of cells, fewest first, all but what is asked last."""
    groups = sorted({outcome.draw.group for outcome in found.outcomes})
    return {group: tuple(_errors(outcomes) for outcomes in _by_count(found, group)) for group in groups}


def _by_count(found: Moved, group: str) -> Iterator[list[Outcome]]:
    for count in (*COUNTS, None):
        chosen = [o for o in found.outcomes if o.draw.group == group and o.draw.cells == count]
        if chosen:
            yield chosen


def _errors(outcomes: Sequence[Outcome]) -> MovedErrors:
    weights = _weights(outcomes)
    errors = _sizes([o.moved for o in outcomes])
    return MovedErrors(
        cells=outcomes[0].draw.cells,
        rows=len({int(i) for o in outcomes for i in o.draw.asked}),
        machines=len({o.draw.machine for o in outcomes}),
        unmoved=_share(np.average(_sizes([o.unmoved for o in outcomes]), weights=weights)),
        mean=_share(np.average(errors, weights=weights)),
        median=_share(weighted_quantile(errors, weights, 0.5)),
        coverage=_held([o.moved for o in outcomes], [o.after for o in outcomes], weights),
    )


def _weights(outcomes: Sequence[Outcome]) -> Array:
    """Of each row: each machine and back end the same, of it each draw, of that each row."""
    draws = Counter(outcome.draw.place for outcome in outcomes)
    return np.concatenate([np.full(len(o.moved), 1 / draws[o.draw.place] / len(o.moved)) for o in outcomes])


def _sizes(logs: Sequence[Array]) -> Array:
    """|predicted - measured| / measured of tokens per second: exp(log) - 1."""
    return np.asarray(np.abs(np.expm1(np.concatenate(logs))))


def _held(logs: Sequence[Array], widths: Sequence[Array], weights: Array) -> float | None:
    """The share of rows within their intervals; None where none has one."""
    whole, width = np.abs(np.concatenate(logs)), np.concatenate(widths)
    said = ~np.isnan(width)
    return _share(np.average(whole[said] <= width[said], weights=weights[said])) if said.any() else None


def _share(value: float) -> float:
    return round(float(value), 4)


def learning_table(found: Mapping[str, Moved]) -> Table:
    """Both phases, each group, each count: errors on the same rows without the cells, moved, and by the cells alone."""
    rows = [
        _line(f"{GROUPS[group]}, {phase}", outcomes)
        for phase in PHASES
        for group in GROUPS
        for outcomes in _by_count(found[phase], group)
    ]
    notes = [
        "Each machine left out, so many of its own cells given back, its models x types that none had predicted; "
        "each machine the same. Machines with more cells than drawn and with two models or types: compare the columns "
        "of a line, not lines. *All*: all but the model x type that is asked. Contexts of all lengths.",
        *(_chosen(phase, found[phase]) for phase in PHASES),
    ]
    return Table("Learning curve: a machine's own cells", _HEADS, tuple(rows), tuple(notes))


def _line(label: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    weights, found = _weights(outcomes), _errors(outcomes)
    alone = np.average(_sizes([o.alone for o in outcomes]), weights=weights)
    before = _held([o.unmoved for o in outcomes], [o.before for o in outcomes], weights)
    return (
        label,
        "all" if found.cells is None else str(found.cells),
        f"{found.unmoved:.1%}",
        f"{found.mean:.1%} ({found.median:.1%})",
        f"{alone:.1%}",
        *("none" if share is None else f"{share:.1%}" for share in (before, found.coverage)),
        *(_median_width([getattr(o, name) for o in outcomes], weights) for name in ("before", "after")),
        f"{found.rows}, {found.machines}",
    )


def _median_width(widths: Sequence[Array], weights: Array) -> str:
    whole = np.concatenate(widths)
    said = ~np.isnan(whole)
    return f"{np.expm1(weighted_quantile(whole[said], weights[said], 0.5)):.0%}" if said.any() else "none"


def _chosen(phase: str, found: Moved) -> str:
    strength, often = found.strength, found.chosen[found.strength]
    widening = "no interval" if found.widening is None else f"the interval widens by {found.widening:.2f}"
    return (
        f"{phase}: of the variance {strength.common:.0%} is common to a machine's cells, {strength.alike:.0%} to cells "
        f"alike (length {strength.length:g}), {strength.noise:.0%} of each; chosen by {often} of "
        f"{sum(found.chosen.values())} machines left out; {widening}"
    )


def learning_chart(found: Mapping[str, Moved], phase: str) -> Chart:
    """Mean errors by the number of own cells, without them dotted."""
    traces: list[dict[str, Any]] = []
    for group, lines in errors_by_count(found[phase]).items():
        at = ["all others" if line.cells is None else str(line.cells) for line in lines]
        looks = {"type": "scatter", "mode": "lines+markers", "x": at, "legendgroup": group}
        for name, values, dash in (
            (f"{GROUPS[group]}, moved", [line.mean for line in lines], "solid"),
            (f"{GROUPS[group]}, the same rows without", [line.unmoved for line in lines], "dot"),
        ):
            line = {"color": _COLOURS[group], "dash": dash}
            traces.append({**looks, "name": name, "y": [100 * value for value in values], "line": line})
    layout = {
        "height": 420,
        "margin": {"l": 70, "r": 20, "t": 20, "b": 50},
        "xaxis": {"title": {"text": "own cells"}, "type": "category", "categoryorder": "array",
                  "categoryarray": [*map(str, COUNTS), "all others"]},
        "yaxis": {"title": {"text": "MAPE of tok/s, %"}, "rangemode": "tozero"},
    }  # fmt: skip
    caption = (
        "Each machine left out, moved by so many of its own cells, asked for models x types that none had. "
        "The dotted line moves too: fewer machines have many cells."
    )
    return Chart(f"learning-{phase}", f"Learning curve, {phase}", caption, {"data": traces, "layout": layout})
