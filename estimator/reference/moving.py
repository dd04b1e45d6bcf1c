"""How cells measured on a machine move the reference toward it: few a little, many replace it. Pure.

What the reference leaves of a cell, log(measured / reference), is taken as

    common to all cells of the machine + common to cells alike + of this cell alone

three independent random effects of mean 0, whose shares of the variance `Strength` states. Their expectation given the
own cells is the shift (the best linear unbiased prediction; kriging), and what their variance has become is the spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from estimator.reference.file import Strength
from estimator.reference.machine import BackEnd
from estimator.specs import ModelFile, Workload

# The cells nearest to the question that are used: 100 take 20 ms, and more of them say little more.
MOST_CELLS = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """One cell as it was measured: `seconds` of the whole prompt (prefill) or of one token (decode)."""

    phase: str
    file: ModelFile
    work: Workload
    seconds: float


@dataclass(frozen=True, slots=True)
class Own:
    """The cells of `source`, measured on one machine with one back end; `left_out` counts the others by reason.

    `elsewhere` names the hardware where it is not that of the question, but wanted all the same.
    """

    source: str
    back_end: BackEnd
    cells: tuple[Measured, ...]
    left_out: dict[str, int]
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class OwnCell:
    """A measured cell beside the reference: `at` in FEATURES of amounts.py, `log` of measured / reference seconds."""

    at: tuple[float, ...]
    log: float


@dataclass(frozen=True, slots=True)
class Shift:
    """log(answer / reference), and the standard deviation of what is left beside that without own cells (1: none)."""

    log: float
    spread: float


def pooled(cells: Sequence[OwnCell]) -> tuple[OwnCell, ...]:
    """Cells at the same place as one, with their mean: repeats do not tell the cell's own share from the machine's."""
    logs: dict[tuple[float, ...], list[float]] = {}
    for cell in cells:
        logs.setdefault(cell.at, []).append(cell.log)
    return tuple(OwnCell(at, sum(values) / len(values)) for at, values in logs.items())


def shift_at(strength: Strength, cells: Sequence[OwnCell], at: Sequence[float]) -> Shift:
    """The shift at the features `at`: k' (K + noise I)^-1 logs; its spread: sqrt(1 - k' (K + noise I)^-1 k).

    k and K are `covariance` of the question and of the cells with the cells; all variances add up to 1.
    """
    used = sorted(cells, key=lambda cell: squared(cell.at, at))[:MOST_CELLS]
    if not used:
        return Shift(0.0, 1.0)
    lower = _cholesky(strength, used)
    own = _solved(lower, [cell.log for cell in used])
    asked = _solved(lower, [covariance(strength, squared(cell.at, at)) for cell in used])
    known = sum(value * value for value in asked)
    return Shift(sum(one * other for one, other in zip(own, asked, strict=True)), math.sqrt(max(0.0, 1.0 - known)))


def covariance(strength: Strength, squared_distance: float) -> float:
    """Of two different cells of one machine: common + alike x exp(-d² / (2 length²))."""
    return strength.common + strength.alike * math.exp(-squared_distance / (2 * strength.length**2))


def squared(one: Sequence[float], other: Sequence[float]) -> float:
    """d² of two places."""
    return math.dist(one, other) ** 2


def _cholesky(strength: Strength, cells: Sequence[OwnCell]) -> list[list[float]]:
    """The lower triangle L of L L' = K + noise I."""
    lower: list[list[float]] = []
    for number, cell in enumerate(cells):
        row: list[float] = []
        for other, done in zip(cells[:number], lower, strict=True):
            left = covariance(strength, squared(cell.at, other.at))
            row.append((left - sum(a * b for a, b in zip(row, done, strict=False))) / done[-1])
        whole = strength.common + strength.alike + strength.noise - sum(value * value for value in row)
        lower.append([*row, math.sqrt(whole)])
    return lower


def _solved(lower: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """x of L x = values."""
    found: list[float] = []
    for row, value in zip(lower, values, strict=True):
        found.append((value - sum(a * b for a, b in zip(row, found, strict=False))) / row[-1])
    return found
