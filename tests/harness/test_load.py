"""Load shapes against a sender that keeps count, and whole loaded runs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from harness.goal import Goal, cell_of
from harness.journal import read_record
from harness.load import Stretch, closed_load, open_load
from harness.loads import GIVEN_UP, stretches
from harness.plan import Plan, Shape
from harness.purse import OverBudget
from harness.record import Cell, Record
from harness.simulated.law import Faults, Law
from harness.simulated.serving import serving
from harness.summary import rows
from harness.target import Door
from tests.harness.backends.serving import QUICK, counted_all, measured, plan_of
from tests.harness.making import CELL, header, request, run_plan
from tests.harness.test_run import StopsAfter

pytestmark = pytest.mark.slow

OPEN = replace(CELL, arrival="constant", rate_per_s=50.0)


class Sender:
    """Takes `service_s` a request; counts how many are under way."""

    def __init__(self, service_s: float, money_for: int | None = None) -> None:
        self.service_s, self.money_for = service_s, money_for
        self.sent: list[tuple[int, int, int | None]] = []
        self.ended = self.cancelled = self.under_way = self.most = 0

    async def __call__(self, stream: int, due_ns: int | None) -> None:
        if self.money_for is not None and len(self.sent) >= self.money_for:
            raise OverBudget("no money")
        self.sent.append((stream, time.perf_counter_ns(), due_ns))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.service_s)
            self.ended += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


def closed(sender: Sender, streams: int, stretch: Stretch) -> None:
    asyncio.run(closed_load(streams, stretch, sender, time.perf_counter_ns))


def opened(sender: Sender, stretch: Stretch, cell: Cell = OPEN) -> str | None:
    return asyncio.run(open_load(cell, stretch, sender, time.perf_counter_ns, "seed"))


@pytest.mark.parametrize(("streams", "count"), [(1, 3), (4, 22), (8, 3)])
def test_a_closed_load_sends_exactly_the_count_and_keeps_its_streams_busy(streams: int, count: int) -> None:
    sender = Sender(0.005)
    closed(sender, streams, Stretch(count, 1.0))
    assert len(sender.sent) == sender.ended == count
    assert sender.most == min(streams, count)
    assert {stream for stream, _, _ in sender.sent} == set(range(min(streams, count)))


def test_a_closed_load_of_seconds_begins_nothing_after_them_and_ends_what_it_began() -> None:
    sender = Sender(0.02)
    begun_ns = time.perf_counter_ns()
    closed(sender, 2, Stretch(None, 0.1))
    assert sender.ended == len(sender.sent) >= 2
    assert max(at for _, at, _ in sender.sent) - begun_ns <= 0.15e9


def test_requests_under_way_end_when_the_money_does_since_they_are_paid_for() -> None:
    sender = Sender(0.02, money_for=6)
    with pytest.raises(OverBudget):
        closed(sender, 4, Stretch(20, 1.0))
    assert (sender.ended, sender.cancelled) == (6, 0)
    sender = Sender(0.05, money_for=3)
    with pytest.raises(OverBudget):
        opened(sender, Stretch(50, 1.0))
    assert (sender.ended, sender.cancelled) == (3, 0)


def test_an_open_load_sends_on_schedule_however_long_answers_take() -> None:
    sender = Sender(0.1)
    assert opened(sender, Stretch(20, 1.0)) is None
    due = [due_ns for _, _, due_ns in sender.sent if due_ns is not None]
    assert [later - earlier for earlier, later in pairwise(due)] == [20_000_000] * 19
    assert all(at >= due_ns for _, at, due_ns in sender.sent if due_ns is not None)
    assert sender.ended == 20
    assert sender.most >= 4, "answers of 0.1 s every 0.02 s overlap"


def test_an_open_load_of_seconds_sends_the_rate_times_them() -> None:
    sender = Sender(0.0)
    opened(sender, Stretch(None, 0.2))
    assert len(sender.sent) == 10


def test_an_open_load_that_is_interrupted_ends_what_is_under_way() -> None:
    sender = Sender(10.0)

    async def run() -> None:
        load = asyncio.create_task(open_load(OPEN, Stretch(500, 1.0), sender, time.perf_counter_ns, "s"))
        while len(sender.sent) < 3:
            await asyncio.sleep(0.005)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load

    asyncio.run(run())
    assert sender.cancelled == len(sender.sent)


def test_an_error_of_one_request_ends_the_load() -> None:
    async def send(_: int, __: int | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(closed_load(3, Stretch(9, 1.0), send, time.perf_counter_ns))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(open_load(OPEN, Stretch(9, 1.0), send, time.perf_counter_ns, "s"))


def loaded_goal(repeats: int | None, budget_s: float, shapes: tuple[Shape, ...]) -> Goal:
    plan = Plan(("http",), shapes=shapes, repeats=repeats, budget_s=budget_s)
    return Goal.of(plan, tuple(cell_of("http", "m", "", shape) for shape in shapes), budget_s)


RATES = (Shape(8, 4, arrival="constant", rate_per_s=1.0), Shape(8, 4, arrival="constant", rate_per_s=2.0))


def test_every_load_has_its_stretch_within_a_short_budget() -> None:
    goal = loaded_goal(None, 60.0, RATES)
    goal.spent_s += 2.0
    for cell in goal.cells:
        assert cell in goal.missing()
        assert goal.affordable(cell, primed=True)
        goal.spent_s += goal.stretch(cell).seconds
        goal.take(request([100, 110], cell=cell))
    assert goal.missing() == []
    assert goal.spent_s <= 60


def test_a_load_with_repeats_is_sent_what_it_lacks_and_failures_of_an_open_one_are_answers() -> None:
    goal = loaded_goal(5, 60.0, (RATES[0], Shape(8, 4, concurrency=2)))
    rate, streams = goal.cells
    for found in (request([100], cell=rate), request([], cell=rate, error="HTTP 500")):
        goal.take(found)
    assert goal.stretch(rate).requests == 3
    goal.take(request([100], cell=streams))
    goal.take(request([], cell=streams, error="HTTP 500"))
    assert goal.stretch(streams).requests == 4


def test_visits_to_a_load_are_told_apart_however_many_requests_they_had() -> None:
    goal = loaded_goal(20, 60.0, (Shape(8, 4, concurrency=8),))
    (cell,) = goal.cells
    assert [goal.next_repeat(cell, "warmup"), goal.next_repeat(cell, "counted")] == [0, 0]
    goal.take(request([100], cell=cell))
    assert goal.next_repeat(cell, "counted") == 1


def test_time_that_an_earlier_sitting_spent_on_a_load_is_that_of_the_clock() -> None:
    plan = Plan(("http",), shapes=(RATES[0],), budget_s=60.0)
    cell = cell_of("http", "m", "", RATES[0])
    past = [replace(request([5000], cell=cell), scheduled_ns=at * 10**9, ended_ns=(at + 5) * 10**9) for at in range(6)]
    assert Goal.of(plan, (cell,), 60.0, Record(header(), requests=tuple(past))).spent_s == pytest.approx(10.0)


def test_a_closed_load_is_resumed_where_it_was_left(tmp_path: Path) -> None:
    plan = plan_of(["http"], (Shape(12, 4, concurrency=3), Shape(14, 4, concurrency=3)), repeats=6)

    async def run(stops: bool) -> None:
        async with serving(QUICK, slots=4) as url:
            await run_plan(tmp_path, plan, Door(base_urls={"http": f"{url}/v1"}), StopsAfter(1) if stops else None)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run(stops=True))
    assert len(counted_all(read_record(tmp_path))) == 6
    asyncio.run(run(stops=False))
    record = read_record(tmp_path)
    assert sorted(row.requests for row in rows(record)) == [6, 6]
    assert [end.reason for end in record.ends] == ["interrupted", "done"]
    assert len(stretches(counted_all(record))) == 2


def test_a_closed_load_keeps_as_many_streams_busy_as_were_asked(tmp_path: Path) -> None:
    law = Law(prefill_fixed_s=0.02, decode_s_per_token=0.002)
    record = measured(tmp_path, "http", law, plan=plan_of(["http"], (Shape(12, 4, concurrency=4),), 12), slots=4)
    requests = counted_all(record)
    assert len(requests) == 12
    events = sorted([(r.sent_ns, 1) for r in requests] + [(r.ended_ns, -1) for r in requests])
    under_way = [sum(step for _, step in events[: at + 1]) for at in range(len(events))]
    assert max(under_way) == 4
    (row,) = rows(record)
    assert row.load is not None
    assert row.load.output_tokens_per_s is not None


def open_run(folder: Path, law: Law, rate: float, count: int, faults: Faults = Faults()) -> Record:  # noqa: B008
    shape = Shape(12, 4, arrival="constant", rate_per_s=rate)
    return measured(folder, "http", law, faults, plan_of(["http"], (shape,), count), slots=2)


def test_an_open_load_is_recorded_from_the_instant_each_request_was_due(tmp_path: Path) -> None:
    record = open_run(tmp_path, Law(prefill_fixed_s=0.005), rate=50, count=20)
    requests = counted_all(record)
    due = sorted(request.scheduled_ns for request in requests)
    assert [later - earlier for earlier, later in pairwise(due)] == [20_000_000] * 19
    assert all(request.sent_ns >= request.scheduled_ns for request in requests)
    assert rows(record)[0].requests == 20


def test_requests_of_an_open_load_that_the_limit_refuses_are_not_tried_again_and_the_load_is_degraded(
    tmp_path: Path,
) -> None:
    # Gaps long enough that the client's own lateness is no reason to distrust them.
    law = Law(decode_s_per_token=0.02)
    record = open_run(tmp_path, law, 20, 20, Faults(http_status=429, retry_after_s=0.01, fail_every=2))
    (row,) = rows(record)
    assert (row.requests, row.failed, row.refused) == (10, 10, 10)
    assert row.verdict.word == "DEGRADED LOAD"
    assert "10 requests failed" in row.verdict.reasons[0]


@pytest.mark.slow
def test_a_load_beyond_what_the_server_can_do_is_stopped_and_what_was_under_way_is_recorded(tmp_path: Path) -> None:
    # Two slots of 0.1 s a request end twenty a second: the drain of 10 s ends two hundred of those under way.
    law = Law(prefill_fixed_s=0.1)
    record = open_run(tmp_path, law, rate=300, count=2000)
    requests = counted_all(record)
    assert len(requests) < 2000
    (row,) = rows(record)
    assert row.verdict.word == "SATURATED"
    given_up = [request for request in requests if (request.error or "").startswith(GIVEN_UP)]
    assert given_up
    assert record.ends[-1].reason == "done"


def test_an_interrupted_open_load_is_not_called_saturated(tmp_path: Path) -> None:
    plan = plan_of(["http"], (Shape(12, 4, arrival="constant", rate_per_s=50.0),), 200)

    async def run() -> None:
        async with serving(Law(prefill_fixed_s=0.3), slots=2) as url:
            work = asyncio.create_task(run_plan(tmp_path, plan, Door(base_urls={"http": f"{url}/v1"})))
            while not (tmp_path / "journal.jsonl").exists() or not counted_all(read_record(tmp_path)):
                await asyncio.sleep(0.05)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    asyncio.run(run())
    record = read_record(tmp_path)
    assert record.ends[-1].reason == "interrupted"
    assert not [r for r in record.requests if (r.error or "").startswith(GIVEN_UP)]
