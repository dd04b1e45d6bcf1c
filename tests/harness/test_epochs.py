"""Runs that were resumed after a reboot: instants of two clocks are never taken for those of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.compare import Side, compare
from harness.disturbances import Noise
from harness.energy import stretches
from harness.epochs import epochs
from harness.metrics import e2e_s
from harness.page.instants import Axis
from harness.record import Record, Request, Subject
from harness.series import Visits, series
from tests.harness.alike import Noise as Scatter
from tests.harness.alike import run
from tests.harness.making import header, request, subject
from tests.harness.readings import PID, moved, record_of, sent

S = 1_000_000_000


def engine(name: str, started_s: float) -> Subject:
    return replace(subject(), subject_id=name, started_ns=round(started_s * S), ready_ns=round((started_s + 1) * S))


def asked(name: str, at_s: float) -> Request:
    """A request of a second."""
    return replace(moved(request([500, 1000]), at_s), subject_id=name)


def test_engines_that_are_open_at_the_same_time_share_a_clock() -> None:
    requests = [asked(name, at_s) for at_s, name in enumerate(("0.0", "1.0", "0.0", "1.0"), start=10)]
    found = epochs(Record(header(), (engine("0.0", 1), engine("1.0", 3)), tuple(requests)))
    assert found == {"0.0": 0, "1.0": 0}


def test_a_run_that_was_resumed_without_a_reboot_has_one_clock() -> None:
    record = Record(header(), (engine("0.0", 1), engine("0.1", 90)), (asked("0.0", 3), asked("0.1", 92)))
    assert epochs(record) == {"0.0": 0, "0.1": 0}


@pytest.mark.parametrize("again", ["0.1", "1.0"])
@pytest.mark.parametrize("started_s", [5, 150])
def test_a_clock_that_began_anew_is_known_by_an_engine_or_a_request_that_comes_too_early(
    again: str, started_s: float
) -> None:
    engines = engine("0.0", 100), engine(again, started_s)
    record = Record(header(), engines, (asked("0.0", 102), asked("0.0", 190), asked(again, started_s + 2)))
    assert epochs(record) == {"0.0": 0, again: 1}
    assert Axis(record).seconds(again, round((started_s + 3) * S)) is not None
    # The engine of the second clock and its requests stand behind all of the first.
    assert (Axis(record).seconds(again, round((started_s + 3) * S)) or 0) > (Axis(record).seconds("0.0", 191 * S) or 0)


def rebooted(record: Record) -> Record:
    """The run, its second half in a sitting of its own, after a reboot."""
    half = len(record.requests) // 2
    by_ns = record.requests[half].sent_ns - 10 * S
    first = record.subjects[0]
    again = replace(first, subject_id="0.1", started_ns=5 * S, ready_ns=6 * S)
    later = [
        replace(
            made, subject_id="0.1", sent_ns=made.sent_ns - by_ns, scheduled_ns=made.scheduled_ns - by_ns,
            ended_ns=made.ended_ns - by_ns,
            chunks=tuple(chunk._replace(wire_ns=chunk.wire_ns - by_ns) for chunk in made.chunks),
        )
        for made in record.requests[half:]
    ]  # fmt: skip
    return replace(record, subjects=(first, again), requests=(*record.requests[:half], *later))


def test_a_comparison_sees_the_drift_of_a_resumed_run_in_the_order_in_which_it_came() -> None:
    drifting = Scatter(drift=0.1)
    a, b = run(drifting, 1, repeats=12), run(drifting, 2, repeats=12)
    whole = compare(Side("A", (a,)), Side("B", (b,)))
    again = compare(Side("A", (rebooted(a),)), Side("B", (b,)))
    assert again.drift_share == whole.drift_share
    assert [c.differences for c in again.cells] == [c.differences for c in whole.cells]


def test_neighbours_of_two_sittings_are_no_pair() -> None:
    def visits(*at: tuple[int, int]) -> Visits:
        return {("r", "0.0", n): [(("r", epoch), asked("0.0", at_s))] for n, (epoch, at_s) in enumerate(at)}

    found = series("E2E", e2e_s, (visits((0, 1), (0, 5), (1, 3)), visits((0, 3), (1, 1))), one_run=True)
    assert [(a.at[1:], b.at[1:]) for a, b in found.pairs] == [((0, 1 * S), (0, 3 * S)), ((1, 3 * S), (1, 1 * S))]


def test_a_request_belongs_to_the_stretch_of_a_long_one_that_outlasts_those_before_it() -> None:
    long = replace(asked("0.0", 100), ended_ns=110 * S)
    found = stretches([long, asked("0.0", 101), asked("0.0", 105), asked("0.0", 110)], {"0.0": 0})
    assert [len(stretch) for stretch in found] == [3, 1]


def test_requests_of_two_clocks_do_not_share_their_energy() -> None:
    requests = [asked("0.0", 100), asked("0.1", 100.5)]
    assert [len(stretch) for stretch in stretches(requests, {"0.0": 0, "0.1": 1})] == [1, 1]
    assert [len(stretch) for stretch in stretches(requests, {"0.0": 0, "0.1": 0})] == [2]


def test_engines_of_one_server_share_its_readings_although_they_were_opened_in_different_numbers_of_sittings() -> None:
    record = record_of(sent())
    (line,) = record.samples
    turns = [
        replace(line, subject_id=("0.1", "1.0")[number % 2], samples=line.samples[at : at + 30], pid=PID)
        for number, at in enumerate(range(0, len(line.samples), 30))
    ]
    requests = [replace(made, subject_id=("0.1", "1.0")[at % 2]) for at, made in enumerate(record.requests)]
    engines = (engine("0.0", -9), engine("0.1", -5), engine("1.0", -3))
    resumed = replace(record, subjects=engines, requests=tuple(requests), samples=tuple(turns))
    assert Noise(resumed).of(requests).watched == len(requests)
