"""Why a prediction and a measurement differ: the engine changed, the model is wrong, or it cannot be told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from calibration.changes import Judged, Shift
from calibration.rows import Row

Cause = Literal["engine slower", "engine faster", "model", "unclear"]
# A group is off as a whole where so many of its cells err to the same side by half the limit at least.
SYSTEMATIC_SHARE = 0.8
LEAST_SIBLINGS = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause in words, with the rows that it explains."""

    cause: Cause
    text: str
    labels: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """Whether it closes the gate by itself: an engine that is slower, even where no limit is exceeded."""
        return self.cause == "engine slower"


def findings(rows: Sequence[Row], changed: Mapping[str, Judged]) -> list[Finding]:
    """Changes of the engine first, then what is wrong with the model, then what cannot be told."""
    found = [_shifted(what, shift, rows) for what, told in changed.items() for shift in told.shifts]
    explained = {label for finding in found for label in finding.labels}
    model: list[Row] = []
    for row in rows:
        if row.state != "out" or row.label in explained:
            continue
        finding = _alone(row, rows)
        if finding is None:
            model.append(row)
        else:
            found.append(finding)
    return found + _systematic(model, rows)


def _shifted(what: str, shift: Shift, rows: Sequence[Row]) -> Finding:
    same = [row for row in rows if row.what == what]
    count = f"all {len(shift.labels)} cells" if not shift.where else f"{len(shift.labels)} of {len(same)} cells"
    beside = "" if shift.neighbours is None else f", beside {_percent(shift.neighbours)} of the other cells"
    where = f" ({shift.where})" if shift.where and shift.where not in shift.labels else ""
    only = f" ({shift.labels[0]})" if shift.where in shift.labels else ""
    word = "slower" if shift.slower else "faster"
    text = f"{what}: {abs(shift.ratio - 1):.1%} {word} than when it was fitted in {count}{where}{only}{beside}"
    return Finding("engine slower" if shift.slower else "engine faster", text, shift.labels)


def _alone(row: Row, rows: Sequence[Row]) -> Finding | None:
    """What one row that is out says by itself; None where the model is to blame."""
    off = f"{row.label} is {_percent(-row.error / (1 + row.error))} beside its prediction"
    if row.what == "memory":
        return _held(row)
    if row.error_then is not None and row.limit is not None:
        if abs(row.error_then) >= row.limit / 2 and row.error_then * row.error > 0:
            return None
        text = f"{off}; it was {_percent(row.change or 0.0)} beside the fit's own cell, which chance explains here"
        return Finding("unclear", f"{text}: measure again", (row.label,))
    siblings = [
        other for other in rows
        if (other.what, other.model, other.quant) == (row.what, row.model, row.quant) and other.label != row.label
    ]  # fmt: skip
    right = len(siblings) >= LEAST_SIBLINGS and all(other.state != "out" for other in siblings)
    if right and row.slower_than_interval and not row.outside:
        text = f"{off}, slower than the fit's interval, while its {len(siblings)} neighbours are right"
        return Finding("engine slower", f"{text} (it was not measured for the fit)", (row.label,))
    return None


def _held(row: Row) -> Finding | None:
    """Memory does not vary: what differs from the fit's own process is the engine's."""
    change = row.change
    if change is None or row.limit is None or abs(change) < row.limit / 2:
        return None
    cause: Cause = "engine slower" if change > 0 else "engine faster"
    return Finding(cause, f"{row.label}: {_percent(change)} beside the same process when it was fitted", (row.label,))


_Key = Callable[[Row], str]
_KEYS: tuple[_Key, ...] = (
    lambda row: f"model {row.model}",
    lambda row: f"type {row.quant}",
    lambda row: f"{row.model} {row.quant}",
    lambda row: f"cells that stand on {row.main_term}",
)


def _systematic(model: Sequence[Row], rows: Sequence[Row]) -> list[Finding]:
    """Rows that the model errs on, by what they have in common: the group that holds most of them and least else."""
    found: list[Finding] = []
    left = list(model)
    while left:
        groups = [
            (out, group, key(out[0]))
            for key in _KEYS
            for what, name, side in {(row.what, key(row), row.error > 0) for row in left}
            for out in [[r for r in left if (r.what, key(r), r.error > 0) == (what, name, side)]]
            for group in [[r for r in rows if (r.what, key(r)) == (what, name)]]
            if _is_systematic(group, side)
        ]
        if not groups:
            return found + [Finding("model", _text([row], row.label, ""), (row.label,)) for row in left]
        out, group, name = max(groups, key=lambda entry: (2 * len(entry[0]) - len(entry[1]), len(entry[0])))
        outside = sorted({row.outside for row in out} - {""})
        found.append(Finding("model", _text(group, name, "; ".join(outside[:2])), tuple(row.label for row in out)))
        left = [row for row in left if row not in out]
    return found


def _is_systematic(group: Sequence[Row], side: bool) -> bool:
    off = [r for r in group if (r.error > 0) == side and abs(r.error) >= (r.limit or 0.0) / 2]
    return len(off) >= SYSTEMATIC_SHARE * len(group) and len(group) > 1


def _text(group: Sequence[Row], name: str, outside: str) -> str:
    error = median(row.error for row in group)
    way = "large" if group[0].what == "memory" else "slow"
    if error < 0:
        way = "small" if group[0].what == "memory" else "fast"
    known = [row for row in group if row.then is not None]
    told = "was so when it was fitted" if known else "not measured for the fit"
    words = f"{group[0].what}: {name}: predicted {abs(error):.1%} too {way} in {len(group)} cells, {told}"
    return words + (f"; outside what was measured: {outside}" if outside else "")


def _percent(share: float) -> str:
    return f"{share:+.1%}"
