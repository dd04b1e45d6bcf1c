"""Tables of errors in tokens per second, decode beside prefill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.published.fitting import Array
from calibration.published.rows import Row
from calibration.shown.tables import Table as Table  # noqa: PLC0414 - read from here

GPUS = ("CUDA", "ROCm", "Vulkan", "Metal")
PHASES = ("decode", "prefill")


@dataclass(frozen=True, slots=True)
class Errors:
    """Of tokens per second, |predicted - measured| / measured; `coverage` is the share of rows that intervals held."""

    label: str
    phase: str
    rows: int
    machines: int
    mean: float
    median: float
    coverage: float | None = None


def errors_of(label: str, phase: str, rows: Sequence[Row], seconds: Array, covered: Array | None = None) -> Errors:
    """The line of `rows` whose times were predicted as `seconds`; NaN are rows without a prediction."""
    known = np.flatnonzero(~np.isnan(seconds)).tolist()
    sizes = np.abs(np.array([rows[i].seconds for i in known]) / seconds[known] - 1)
    said = covered[~np.isnan(covered)] if covered is not None else np.array([])
    return Errors(
        label,
        phase,
        len(known),
        len({rows[i].machine_name for i in known}),
        float(sizes.mean()) if len(known) else 0.0,
        float(np.median(sizes)) if len(known) else 0.0,
        float(said.mean()) if len(said) else None,
    )


def errors_table(title: str, entries: Iterable[Errors], notes: Sequence[str] = ()) -> Table:
    """A row for each label, decode beside prefill: MAPE, median, rows, machines, and coverage where there is one."""
    lines: dict[str, dict[str, Errors]] = {}
    for entry in entries:
        if entry.rows:
            lines.setdefault(entry.label, {})[entry.phase] = entry
    held = any(entry.coverage is not None for phases in lines.values() for entry in phases.values())
    rows = tuple(
        (label, *(cell for phase in PHASES for cell in _cells(phases.get(phase), held)))
        for label, phases in lines.items()
    )
    heads = tuple(f"{phase} {name}" for phase in PHASES for name in _names(held))
    return Table(title, ("", *heads), rows, tuple(notes))


def _names(held: bool) -> tuple[str, ...]:
    return ("MAPE (median)", *(("held",) if held else ()), "rows, machines")


def _cells(entry: Errors | None, held: bool) -> tuple[str, ...]:
    if entry is None:
        return ("",) * len(_names(held))
    share = "none" if entry.coverage is None else f"{entry.coverage:.1%}"
    errors = f"{entry.mean:.1%} ({entry.median:.1%})"
    return (errors, *((share,) if held else ()), f"{entry.rows}, {entry.machines}")
