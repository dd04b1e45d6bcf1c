"""The gate's answer for people: what is out, why, what was not judged."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from calibration.check import Checked
from calibration.limits import shown
from calibration.rows import Row

_MOST_NAMED = 10


def show_check(console: Console, checked: Checked) -> None:
    """A table of what is out or on the edge, the findings, what was not judged, and the word."""
    told = [row for row in checked.rows if row.state != "within"]
    if told:
        console.print(_table(sorted(told, key=lambda row: (row.state != "out", -abs(row.error)))))
    for found in checked.findings:
        _say(console, f"{found.cause}: {found.text}")
    for note in checked.notes:
        _say(console, note)
    _some(console, "judged in spite of its noise", checked.noisy)
    _some(console, "not judged", checked.not_judged)
    for what in ("decode", "ttft", "memory"):
        _say(console, _summary(checked, what))
    _say(console, f"check: {'OK' if checked.passes else 'FAILED'} ({checked.build}; limits {shown(checked.limits)})")


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "", "measured", "±", "predicted", "error", "since fit"):
        table.add_column(name, justify="right" if name else "left")
    for row in rows:
        change = "-" if row.change is None else f"{row.change:+.1%}"
        numbers = (_value(row, row.measured), f"{row.measured_error:.1%}", _value(row, row.predicted))
        table.add_row(row.state, row.label, *numbers, f"{row.error:+.1%}", change)
    return table


def _summary(checked: Checked, what: str) -> str:
    rows = [row for row in checked.rows if row.what == what]
    if not rows:
        return f"{what}: nothing judged"
    out, edge = (sum(1 for row in rows if row.state == state) for state in ("out", "edge"))
    limit = checked.limits.get(what)
    held = f"{out} out of {limit:.3g}" if limit is not None else "held to no limit"
    worst = max(rows, key=lambda row: abs(row.error))
    text = f"{what}: {len(rows)} judged, {held}, {edge} on the edge; worst {worst.error:+.1%}"
    least = checked.least_seen.get(what)
    return text if least is None else f"{text}; all cells slower by {least:.1%} would have been called"


def _some(console: Console, word: str, reasons: Sequence[str]) -> None:
    for reason in reasons[:_MOST_NAMED]:
        _say(console, f"{word}: {reason}")
    if len(reasons) > _MOST_NAMED:
        _say(console, f"{word}: {len(reasons) - _MOST_NAMED} more (--json names them)")


def _value(row: Row, value: float) -> str:
    if row.what == "memory":
        return f"{value / 2**20:.1f} MiB"
    return f"{value:.3f} s" if value >= 1 else f"{value * 1e3:.2f} ms"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
