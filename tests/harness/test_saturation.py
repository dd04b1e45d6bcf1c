"""Falling behind, told from counts: simulated queues below and above capacity, and the start of servers with slots.

Each queue has a mean service of 1 s, so that its capacity is its number of slots a second. Here are a few seeds; the
rates over 200 are in the docstring of harness/saturation.py's Backlog.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.arrivals import due_s
from harness.saturation import Backlog


def ends_of_slots(due: tuple[float, ...], slots: int, service_s: Callable[[], float]) -> list[float]:
    """First come, first served by any free slot."""
    free, ends = [0.0] * slots, []
    for at_s in due:
        ends.append(max(at_s, heapq.heappop(free)) + service_s())
        heapq.heappush(free, ends[-1])
    return sorted(ends)


def ends_of_batches(due: tuple[float, ...], slots: int) -> list[float]:
    """All that wait, up to the slots, begin together and end together one second later."""
    ends: list[float] = []
    now_s = 0.0
    while len(ends) < len(due):
        now_s = max(now_s, due[len(ends)])
        batch = sum(1 for at_s in due[len(ends) : len(ends) + slots] if at_s <= now_s)
        now_s += 1
        ends += [now_s] * batch
    return ends


def alarm(kind: str, slots: int, load: float, seed: int, count: int) -> int | None:
    """Arrivals until the verdict, None where there was none."""
    due = due_s("poisson", load * slots, count, seed)
    drawn = random.Random(f"{seed}:service")
    ends = {
        "constant": lambda: ends_of_slots(due, slots, lambda: 1.0),
        "exponential": lambda: ends_of_slots(due, slots, lambda: drawn.expovariate(1)),
        "batches": lambda: ends_of_batches(due, slots),
    }[kind]()
    backlog, ended = Backlog(), 0
    for arrived, at_s in enumerate(due, start=1):
        while ends[ended] < at_s:
            backlog.ended(ends[ended])
            ended += 1
        backlog.arrived(at_s)
        if backlog.verdict():
            return arrived
    return None


SERVERS = [("constant", 1), ("exponential", 1), ("exponential", 4), ("constant", 16), ("exponential", 16)]
MANY_SLOTS = [("constant", 64), ("exponential", 64), ("batches", 8), ("batches", 64)]


@pytest.mark.parametrize("load", [0.6, 0.95])
@pytest.mark.parametrize(("kind", "slots"), SERVERS + MANY_SLOTS)
def test_a_server_below_capacity_is_left_alone(kind: str, slots: int, load: float) -> None:
    assert [alarm(kind, slots, load, seed, count=500) for seed in range(2)] == [None, None]


@pytest.mark.parametrize(("kind", "slots", "within"), [(*server, 700) for server in SERVERS] + [("batches", 64, 900)])
def test_half_more_than_capacity_is_told_within_a_few_hundred_arrivals(kind: str, slots: int, within: int) -> None:
    assert all(alarm(kind, slots, 1.5, seed, count=within) for seed in range(3))


def test_a_tenth_more_than_capacity_is_told_in_the_end() -> None:
    assert alarm("constant", 1, 1.1, seed=1, count=4000)


def test_three_times_capacity_is_told() -> None:
    assert alarm("constant", 8, 3.0, seed=1, count=400)


def filled(rate_per_s: float, served_per_s: float, span_s: float) -> Backlog:
    """A load and a server that both keep to the beat."""
    backlog = Backlog()
    arrivals = ((index / rate_per_s, 1) for index in range(int(span_s * rate_per_s) + 1))
    ends = (((index + 1) / served_per_s, -1) for index in range(int(span_s * served_per_s)))
    for at_s, change in heapq.merge(arrivals, ends):
        (backlog.arrived if change > 0 else backlog.ended)(at_s)
    return backlog


def test_the_verdict_says_what_was_asked_what_was_done_and_what_to_do() -> None:
    # 10/s asked, 5/s served for 60 s: outstanding is 5 t + 1 on average (the first arrives at 0 s,
    # the first ends at 0.2 s), 94.75 around 18.75 s and 282.25 around 56.25 s.
    backlog = filled(10, 5, 60)
    assert backlog.outstanding == 601 - 300
    told = backlog.verdict()
    assert told is not None
    assert told.startswith("10 requests/s were asked, the server finishes 5/s: in 45 s ")
    assert "from 95 to 282" in told
    assert told.endswith("ask for less than 5/s")
    assert "\n" not in told


def test_fewer_than_75_arrivals_are_not_judged() -> None:
    assert filled(10, 1, 9.9).verdict() is None


def test_a_server_that_ends_nothing_is_not_judged() -> None:
    backlog = Backlog()
    for index in range(1000):
        backlog.arrived(index / 10)
    assert backlog.verdict() is None


def test_all_at_once_is_no_rate() -> None:
    backlog = Backlog()
    for _ in range(200):
        backlog.arrived(5.0)
    assert (backlog.outstanding, backlog.verdict()) == (200, None)


def test_nothing_has_no_verdict_and_nothing_ends_before_it_arrived() -> None:
    backlog = Backlog()
    assert (backlog.outstanding, backlog.verdict()) == (0, None)
    with pytest.raises(ValueError, match="had not arrived"):
        backlog.ended(1.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=200))
def test_any_events_in_any_order_are_counted(events: list[tuple[bool, float]]) -> None:
    backlog, outstanding = Backlog(), 0
    for arrives, at_s in events:
        if arrives:
            backlog.arrived(at_s)
        elif outstanding:
            backlog.ended(at_s)
        else:
            continue
        outstanding += 1 if arrives else -1
        assert backlog.outstanding == outstanding
        backlog.verdict()


def test_asking_seldom_and_asking_always_give_the_same_verdict() -> None:
    always, seldom = Backlog(), Backlog()
    for index, at_s in enumerate(itertools.accumulate([0.1] * 900)):
        for backlog in (always, seldom):
            backlog.arrived(at_s)
            if index % 2:
                backlog.ended(at_s)
        always.verdict()
    assert always.verdict() == seldom.verdict() is not None
