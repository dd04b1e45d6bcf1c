"""The worst predictions, a row for each machine, with what the data say about the reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.published.building import Built, Part
from calibration.published.fitting import Array, family_of
from calibration.published.tables import PHASES, Table
from calibration.shown.sides import same_side

# Far from all that was measured: less than two thirds alike.
_FAR = 0.33


def worst_table(found: Built, phase: str, count: int = 10) -> Table:
    """The `count` machines whose worst row is the furthest off, machines left out."""
    entries: list[tuple[float, tuple[str, ...]]] = []
    for part in (entry for (_, other), entry in found.parts.items() if other == phase):
        logs = np.log(part.samples.seconds / part.nested.held.seconds)
        for name in part.samples.machines:
            of_machine = [i for i, row in enumerate(part.samples.rows) if row.machine_name == name]
            i = max(of_machine, key=lambda index: abs(logs[index]))
            row = part.samples.rows[i]
            words = (row.label, f"{row.tokens_per_s:,.4g}", f"{_rate(part, i):,.4g}", f"{1 / np.exp(logs[i]):.2f}")
            entries.append((abs(logs[i]), (*words, "; ".join(reasons(part, logs, i)))))
    entries.sort(key=lambda entry: -entry[0])
    heads = ("row of throughput.csv", "measured tok/s", "predicted", "measured / predicted", "what the data say")
    return Table(f"The worst {count} machines, {phase}", heads, tuple(words for _, words in entries[:count]))


def worst_tables(found: Built) -> list[Table]:
    """Of both phases."""
    return [worst_table(found, phase) for phase in PHASES]


def reasons(part: Part, logs: Array, index: int) -> list[str]:
    """Sentences that hold for row `index`, the most telling first; what cannot be told from the data is said."""
    rows, row = part.samples.rows, part.samples.rows[index]
    own = [i for i, r in enumerate(rows) if (r.machine_name, r.back_end) == (row.machine_name, row.back_end)]
    found = []
    if len(own) > 1 and same_side(logs[own], logs[index]):
        found.append(f"all {len(own)} rows of this machine are off to this side: the machine, not model or prompt")
    elif len(own) > 1:
        size = np.expm1(np.median(np.abs(logs[[i for i in own if i != index]])))
        found.append(f"its other {len(own) - 1} rows are off by {size:.0%} at the median")
    others = [i for i, r in enumerate(rows) if r.machine_name != row.machine_name]
    source = [i for i in others if rows[i].source == row.source]
    if len(source) > 1 and same_side(logs[source], logs[index]):
        found.append("so are the rows of other machines of its source")
    found += _of_relatives(part, logs, index, [i for i in others if family_of(rows[i]) == family_of(row)])
    if part.nested.held.distance[index] > _FAR:
        found.append(f"far from all measurements (distance {part.nested.held.distance[index]:.2f})")
    return found or ["nothing in the data tells why"]


def _of_relatives(part: Part, logs: Array, index: int, relatives: Sequence[int]) -> list[str]:
    """How many others of its family were measured, and whether they contradict row `index`."""
    family = family_of(part.samples.rows[index])
    machines = {part.samples.rows[i].machine_name for i in relatives}
    found = []
    if not machines:
        found.append(f"no other {family} was measured")
    elif len(machines) == 1:
        found.append(f"only one other {family} was measured")
    same = [i for i in relatives if part.samples.back_ends[i] == part.samples.back_ends[index]]
    if same and same_side(-logs[same], logs[index]):
        count = len({part.samples.rows[i].machine_name for i in same})
        found.append(f"{count} other {family} with this back end err to the other side: they contradict each other")
    return found


def _rate(part: Part, index: int) -> float:
    """Tokens per second as predicted."""
    row = part.samples.rows[index]
    return float(row.tokens_per_s * row.seconds / part.nested.held.seconds[index])
