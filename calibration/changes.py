"""Whether an engine is slower than when it was fitted: the same cells then and now, all together and each beside its
neighbours. Pure numbers, no records.

A machine is faster on one day than on another, in all cells at once: all cells together are judged by how much runs of
this build differ (`RunToRun`). A few cells are judged by their neighbours of the same run, which that does not touch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median

from estimator.evidence import RunToRun

# A smaller change is not called, however sure it is.
LEAST = 0.03
# Chances of a false alarm: of all cells together, and of all groups of a phase together (Bonferroni).
ALPHA_ALL, ALPHA_GROUPS = 0.01, 0.01
# What cells of two runs differ by besides what they share (`RunToRun.cell_sd`) counts like so many cells seen here.
CELL_COUNT = 6
# Neighbours that a group needs.
LEAST_NEIGHBOURS = 2
_MEDIAN = 1.2533
_SDS_OF_A_MAD = 1.4826


@dataclass(frozen=True, slots=True)
class Change:
    """One cell now and then: log(now / then), its standard error, and the runs behind each median."""

    label: str
    groups: tuple[str, ...]
    log: float
    error: float
    runs_now: int
    runs_then: int


@dataclass(frozen=True, slots=True)
class Shift:
    """What changed together: `ratio` now over then (of a group: beside its neighbours), with the probability that it
    comes by chance, and which cells. `where` is empty where it is all of them."""

    where: str
    ratio: float
    chance: float
    labels: tuple[str, ...]
    neighbours: float | None = None

    @property
    def slower(self) -> bool:
        return self.ratio > 1


@dataclass(frozen=True, slots=True)
class Judged:
    """What changed in a phase, and the smallest change of all cells that would have been called."""

    shifts: tuple[Shift, ...]
    least_seen: float


def judged(changes: Sequence[Change], runs: RunToRun, freedom: float) -> Judged:
    """The shifts of one phase; `freedom` are the degrees of freedom of `runs`."""
    if not changes:
        return Judged((), math.inf)
    centre = median(change.log for change in changes)
    sd = math.hypot(_shared_sd(changes, runs), _median_error(changes, runs))
    threshold = max(math.log1p(LEAST), _t(1 - ALPHA_ALL, freedom) * sd)
    found: list[Shift] = []
    whole = abs(centre) >= threshold
    if whole:
        labels = tuple(change.label for change in changes)
        found.append(Shift("", math.exp(centre), _tail(abs(centre) / sd, freedom), labels))
    found += _groups(changes, whole, runs)
    return Judged(tuple(found), math.expm1(threshold))


def _shared_sd(changes: Sequence[Change], runs: RunToRun) -> float:
    return runs.relative_sd * _both(changes)


def _both(changes: Sequence[Change]) -> float:
    """sqrt(1 / runs now + 1 / runs then)."""
    now, then = (max(1.0, mean(counts)) for counts in zip(*((c.runs_now, c.runs_then) for c in changes), strict=True))
    return math.sqrt(1 / now + 1 / then)


def _median_error(changes: Sequence[Change], runs: RunToRun) -> float:
    """The standard error of the median change: of its cells' own errors and of what cells differ by otherwise."""
    each = mean(change.error**2 for change in changes) + _cell_variance(changes, runs)
    return _MEDIAN * math.sqrt(each / len(changes)) if len(changes) > 2 else math.sqrt(each / len(changes))


def _cell_variance(changes: Sequence[Change], runs: RunToRun) -> float:
    """Variance of changes around their median beyond their own errors; by the median deviation, since the changes
    that are looked for must not hide themselves. What the fit's runs showed counts like CELL_COUNT cells."""
    known = (runs.cell_sd * _both(changes)) ** 2
    if len(changes) < 2:
        return known
    centre = median(change.log for change in changes)
    seen = (_SDS_OF_A_MAD * median(abs(change.log - centre) for change in changes)) ** 2
    beyond = max(0.0, seen - mean(change.error**2 for change in changes))
    count = len(changes) - 1
    return (CELL_COUNT * known + count * beyond) / (CELL_COUNT + count)


def _groups(changes: Sequence[Change], whole: bool, runs: RunToRun) -> Iterator[Shift]:
    """Groups that changed beside their neighbours: first the one that explains most, then what is left without its
    cells. The surest would be a single cell of a slower model, by luck, and then the next."""
    left = list(changes)
    names = sorted({name for change in changes for name in change.groups})
    alpha = ALPHA_GROUPS / max(1, len(names))
    while left:
        told = (_group(name, left, whole, runs) for name in names)
        candidates = [shift for shift in told if shift is not None and shift.chance < alpha]
        if not candidates:
            return
        best = max(candidates, key=lambda shift: (_explained(shift, left), -len(shift.labels)))
        yield best
        left = [change for change in left if change.label not in best.labels]


def _group(name: str, left: Sequence[Change], whole: bool, runs: RunToRun) -> Shift | None:
    inside = [change for change in left if name in change.groups]
    others = [change for change in left if name not in change.groups]
    if not inside or len(others) < LEAST_NEIGHBOURS:
        return None
    neighbours, own = median(c.log for c in others), median(c.log for c in inside)
    variance = _cell_variance(others, runs)
    # A model's cells are measured at one time: what they share besides is not less for being many.
    error = math.sqrt(variance + mean(c.error**2 for c in inside) / len(inside) + _median_error(others, runs) ** 2)
    size = own - neighbours
    if abs(size) < math.log1p(LEAST):
        return None
    # Where the neighbours have changed and this group has not, it is they that changed.
    if not whole and abs(own) < math.log1p(LEAST):
        return None
    labels = tuple(change.label for change in inside)
    return Shift(name, math.exp(size), _tail(abs(size) / error, CELL_COUNT + len(others) - 1), labels, neighbours)


def _explained(shift: Shift, changes: Sequence[Change]) -> float:
    """By how much less the squares of the group's changes beside its neighbours are once it has a shift of its own."""
    beside = [change.log - (shift.neighbours or 0.0) for change in changes if change.label in shift.labels]
    return sum(log**2 - (log - math.log(shift.ratio)) ** 2 for log in beside)


def _t(confidence: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(confidence, freedom))


def _tail(size: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.sf(size, freedom))
