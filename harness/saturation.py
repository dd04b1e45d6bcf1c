"""Whether a server under open load falls behind, told while it runs, from the instants of arrivals and ends alone.

A server that is asked more than it can do has no latency to measure: its queue grows for as long as the load lasts,
and every percentile measures that length. In a stable one the number of requests outstanding wanders around a level
(Little's law); the question is whether it grows by more than it wanders.
"""

from __future__ import annotations

import math
from typing import NamedTuple

# The rule below, tuned by simulation; the figures are in the docstring of Backlog.
_FEWEST_ARRIVALS = 75
_SIGMAS = 3.5
_RISE = 1.75
_RISE_SIGMAS = 2.5
# Where the first part of the time ends. No simple fraction: at 1/2, ends that come in bursts one period apart fall
# on both edges at once, and a burst that has only begun is compared with a whole one.
_FIRST_PART = 0.45


class _Moment(NamedTuple):
    """The state after an event: `area_s` is outstanding requests summed over time, in request seconds."""

    at_s: float
    outstanding: int
    ended: int
    area_s: float

    @property
    def arrived(self) -> int:
        return self.ended + self.outstanding

    def later(self, at_s: float) -> _Moment:
        """The same state at an instant before the next event."""
        return self._replace(at_s=at_s, area_s=self.area_s + self.outstanding * (at_s - self.at_s))


class _Cursor:
    """A place at a fixed share of the time so far; it only moves forward, one step an event on average."""

    def __init__(self, share: float) -> None:
        self._share, self._index = share, 0

    def read(self, moments: list[_Moment]) -> _Moment:
        begin_s, end_s = moments[0].at_s, moments[-1].at_s
        at_s = begin_s + self._share * (end_s - begin_s)
        while self._index + 1 < len(moments) and moments[self._index + 1].at_s <= at_s:
            self._index += 1
        return moments[self._index].later(at_s)


class Backlog:
    """Requests that have arrived and not ended, and whether their number grows without bound.

    Time runs from the first arrival to the last event, t. The server is saturated when at least 75 requests arrived
    in A = the last three quarters of t, and

    1. outstanding requests, averaged over the last eighth of t (late) and over [t/4, 3t/8] (early), grew by
       late - early > 3.5 sqrt(A). Where arrivals are Poisson and service is deterministic and never idle, the number
       outstanding is a random walk with variance 1 an arrival, and this is 4.0 of its standard deviations; with
       exponential service 2.8. Averages, because a server that works in batches makes the number a sawtooth.
    2. the start is over: ends are not still rising as in a server whose slots fill, where the number outstanding
       rises with nothing wrong. The rate of ends in the last 55 % of t is below 1.75 times that in the first 45 %,
       by 2.5 standard deviations of Poisson counts. With service S and free slots the first ends come at S, and
       this holds from about t = 5 S on; in a server with many slots it decides how soon overload is told.

    Simulated, asked after every event, Poisson arrivals; queues with 1 to 64 slots, first come first served or in
    whole batches. False alarms over 2,000 arrivals: 2 of 1,800 loads at 95 % of capacity (both with 4 slots and
    exponential service, 2 of 200), 0 of 800 at 60 %. At 150 % all were told, at the median after 205 to 270
    arrivals with 1 to 16 slots (95 %: 560) and 450 to 640 with 64 (770); at 300 % after 190 to 550, 1,280 with
    batches of 64. At 110 % 88 to 98 % within 4,000, half after 1,800 to 2,800.

    Not told apart: at 95 % of capacity, a few rare requests that carry most of the work make the number outstanding
    wander further than this expects. A server that ends nothing is not judged: that is what time-outs are for.
    Ask while requests still arrive: a load that is over is not asked for anything.
    """

    def __init__(self) -> None:
        self._moments: list[_Moment] = []
        self._quarter, self._after_quarter = _Cursor(1 / 4), _Cursor(3 / 8)
        self._first_part, self._eighth_left = _Cursor(_FIRST_PART), _Cursor(7 / 8)

    @property
    def outstanding(self) -> int:
        """Requests that have arrived and not ended."""
        return self._moments[-1].outstanding if self._moments else 0

    def arrived(self, at_s: float) -> None:
        """A request was due at this instant, whenever it was sent: a client's own lateness is backlog too."""
        if not self._moments:
            self._moments.append(_Moment(at_s, 0, 0, 0.0))
        self._add(at_s, 1, 0)

    def ended(self, at_s: float) -> None:
        """A request ended at this instant, well or in error. Raises ValueError where none is outstanding."""
        if not self.outstanding:
            raise ValueError("a request ended that had not arrived: call arrived() first")
        self._add(at_s, -1, 1)

    def _add(self, at_s: float, arrived: int, ended: int) -> None:
        """Events that come a little out of order count as of the one before."""
        before = self._moments[-1]
        after = before.later(max(at_s, before.at_s))
        self._moments.append(after._replace(outstanding=after.outstanding + arrived, ended=after.ended + ended))

    def verdict(self) -> str | None:
        """What is wrong and what to do, None while nothing is: of the time up to the last event, O(1) an event."""
        if not self._moments:
            return None
        early, now = self._quarter.read(self._moments), self._moments[-1]
        arrivals, ends, span_s = now.arrived - early.arrived, now.ended - early.ended, now.at_s - early.at_s
        if arrivals < _FEWEST_ARRIVALS or span_s <= 0 or not self._is_past_its_start():
            return None
        before = _level(early, self._after_quarter.read(self._moments))
        after = _level(self._eighth_left.read(self._moments), now)
        if after - before <= _SIGMAS * math.sqrt(arrivals):
            return None
        return (
            f"{arrivals / span_s:.3g} requests/s were asked, the server finishes {ends / span_s:.3g}/s: in "
            f"{span_s:.3g} s the requests outstanding went from {before:.0f} to {after:.0f}, and latency measures "
            f"how long the load lasts; ask for less than {ends / span_s:.3g}/s"
        )

    def _is_past_its_start(self) -> bool:
        first = self._first_part.read(self._moments).ended
        second = self._moments[-1].ended - first
        most = _RISE * (1 - _FIRST_PART) / _FIRST_PART
        noise = math.sqrt(second + most**2 * first)
        return first > 0 and second + _RISE_SIGMAS * noise <= most * first


def _level(begin: _Moment, end: _Moment) -> float:
    """Mean number of outstanding requests between two moments."""
    return (end.area_s - begin.area_s) / (end.at_s - begin.at_s)
