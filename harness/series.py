"""The values of a metric on two sides as series of what is independent. Pure: from requests alone.

What is independent is a *unit*: the visit to a cell, which for one stream is a request; a stretch of load is cut into
blocks of successive requests. A unit's value is the median of its requests. Where the visits of both sides alternate in
one run, neighbours in time are paired, so that what changes slowly cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np

from harness.ratios import Logs
from harness.record import Request

# Blocks of a side: enough for an interval, few enough that one holds many requests.
_BLOCKS = 10
_LEAST_BLOCK = 10
_MOST_UNITS = 100
# Visits that alternate give as many pairs as one side has visits; those that do not, hardly any.
_ALTERNATING = 0.6

Metric = Callable[[Request], float | None]
# The start of a run and the number of the clock of its instants: instants of one sitting are in order.
Sitting = tuple[str, int]
At = tuple[str, int, int]
# Requests with their sitting, by visit (run, engine, number).
Visits = dict[tuple[str, str, int], list[tuple[Sitting, Request]]]


@dataclass(frozen=True, slots=True)
class Unit:
    """The logarithm of a value, when it was (sitting, instant), and which visit it is of."""

    at: At
    visit: tuple[str, str, int]
    log: float


@dataclass(frozen=True, slots=True)
class Series:
    """The units of one metric of a cell on both sides, by time."""

    metric: str
    a: list[Unit]
    b: list[Unit]
    pairs: list[tuple[Unit, Unit]]

    @property
    def lines(self) -> list[list[tuple[At, float]]]:
        """What is compared, with its instants: the differences of pairs, or each side's logarithms."""
        if self.pairs:
            return [[(max(a.at, b.at), b.log - a.log) for a, b in self.pairs]]
        return [[(unit.at, unit.log) for unit in side] for side in (self.a, self.b)]

    @property
    def logs(self) -> list[Logs]:
        """The values of `lines`."""
        return [np.array([value for _, value in line]) for line in self.lines]


def series(metric: str, of: Metric, visits: tuple[Visits, Visits], one_run: bool) -> Series:
    """The units of both sides; paired where they are of one run and their visits alternate."""
    a, b = visits
    units_a, units_b = _units(of, a), _units(of, b)
    pairs = _pairs(units_a, units_b) if one_run else []
    if len(pairs) < max(2, _ALTERNATING * min(len(units_a), len(units_b))):
        pairs = []
    return Series(metric, units_a, units_b, pairs)


def _units(of: Metric, visits: Visits) -> list[Unit]:
    """The units by time. Many are merged, so that there are at most 100 of as many neighbours each."""
    found: list[Unit] = []
    for visit, requests in visits.items():
        ordered = sorted(requests, key=lambda entry: entry[1].scheduled_ns)
        for block in _blocks(ordered, len(visits)):
            values = [value for _, request in block if (value := of(request)) is not None and value > 0]
            if values:
                found.append(Unit((*block[0][0], block[0][1].sent_ns), visit, math.log(median(values))))
    found.sort(key=lambda unit: unit.at)
    together = math.ceil(len(found) / _MOST_UNITS)
    groups = [found[at : at + together] for at in range(0, len(found), together)] if together > 1 else []
    return [replace(g[0], log=median(u.log for u in g)) for g in groups] or found


def _blocks(requests: list[tuple[Sitting, Request]], visits: int) -> list[list[tuple[Sitting, Request]]]:
    """A visit in blocks, in time order: ten in all, if each then has requests for two rounds of all streams."""
    least = max(_LEAST_BLOCK, 2 * requests[0][1].cell.concurrency)
    count = max(1, min(math.ceil(_BLOCKS / visits), len(requests) // least))
    edges = [round(at * len(requests) / count) for at in range(count + 1)]
    return [requests[low:high] for low, high in pairwise(edges)]


def _pairs(a: list[Unit], b: list[Unit]) -> list[tuple[Unit, Unit]]:
    """Neighbours in time of both sides, in one sitting, each unit in one pair at most."""
    line = sorted([(unit.at, 0, unit) for unit in a] + [(unit.at, 1, unit) for unit in b], key=lambda e: e[:2])
    found, at = [], 0
    while at + 1 < len(line):
        (_, side, unit), (_, other_side, other) = line[at], line[at + 1]
        if side == other_side or unit.at[:2] != other.at[:2]:
            at += 1
            continue
        found.append((unit, other) if side == 0 else (other, unit))
        at += 2
    return found
