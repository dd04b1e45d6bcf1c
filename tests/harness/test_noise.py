"""Disturbances from injected readings: called NOISY in the cells during whose requests they happened, in no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.disturbances import Live, disturbances
from harness.goal import Goal
from harness.noise import Disturbance, Disturbed, Finding, Kind
from harness.plan import Plan
from harness.record import Request, Sample, Samples
from harness.samples import System
from harness.summary import rows
from harness.verdict import cell_verdict
from tests.harness.making import MS, request
from tests.harness.readings import (
    CELLS,
    ROUNDS,
    during,
    moved,
    only_the_second_is_noisy,
    quiet,
    record_of,
    sent,
    verdicts,
    with_system,
)


def test_20_quiet_runs_raise_no_alarm() -> None:
    for seed in range(20):
        found = verdicts(record_of(sent(seed), lambda at_s, seed=seed: quiet(at_s, seed), "AVX2 = 1"))  # type: ignore[misc]
        assert {verdict.word for verdict in found.values()} == {"VALID"}


def test_other_processes_are_told_of_the_cell_during_whose_requests_they_ran_and_of_no_other() -> None:
    requests = sent()
    burnt = during(requests, CELLS[1])

    def reading(at_s: float) -> Sample:
        sample = quiet(at_s)
        assert sample.system is not None
        return with_system(sample, busy_s=(sample.system.busy_s or 0) + burnt(at_s))

    only_the_second_is_noisy(record_of(requests, reading), "during 12 of 12 requests other processes took up to 1.")


def test_what_runs_between_the_requests_disturbs_nobody() -> None:
    requests = sent()
    inside = [during(requests, cell) for cell in CELLS]

    def reading(at_s: float) -> Sample:
        between = at_s - sum(spent(at_s) for spent in inside)
        sample = quiet(at_s)
        assert sample.system is not None
        return with_system(sample, busy_s=(sample.system.busy_s or 0) + between)

    assert {verdict.word for verdict in verdicts(record_of(requests, reading)).values()} == {"VALID"}


@pytest.mark.parametrize(
    ("counter", "per_s", "words"),
    [
        ("steal_s", 0.3, "the hypervisor gave up to 15% of the CPUs"),
        ("memory_stall_s", 0.2, "tasks waited for memory up to 20% of the time"),
        ("swapped_bytes", 50 * 2**20, "MiB were swapped"),
        ("throttles", 3, "slowed down for its heat"),
    ],
)
def test_each_counter_of_the_machine_is_told_of_its_cell(counter: str, per_s: float, words: str) -> None:
    requests = sent()
    spent = during(requests, CELLS[1])

    def reading(at_s: float) -> Sample:
        sample = quiet(at_s)
        before = getattr(sample.system, counter)
        return with_system(sample, **{counter: before + int(per_s * spent(at_s) * 100) / 100})

    only_the_second_is_noisy(record_of(requests, reading), words)


@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.5])
def test_heat_that_is_read_once_a_second_is_told_of_requests_of_any_length_and_of_no_others(seconds: float) -> None:
    requests = sent(seconds=seconds, pause_s=1.2)
    spent = during(requests, CELLS[1])

    def reading(at_s: float) -> Sample:
        told = 4 + int(4 * spent(at_s)) if round(at_s * 10) % 10 == 0 else None
        return with_system(quiet(at_s), throttles=told)

    only_the_second_is_noisy(record_of(requests, reading), "slowed down for its heat")


def test_heat_between_the_requests_disturbs_nobody() -> None:
    requests = sent(seconds=0.4, pause_s=3.0)

    def reading(at_s: float) -> Sample:
        # The first request ends at 1.4 s, each 3.4 s after the one before; heat comes 1.2 s after an end.
        told = int((at_s - 2.6) / 3.4 + 1) if round(at_s * 10) % 10 == 0 else None
        return with_system(quiet(at_s), throttles=told)

    assert {verdict.word for verdict in verdicts(record_of(requests, reading)).values()} == {"VALID"}


def test_a_model_file_that_is_read_again_from_the_disk_is_told_of_its_cell() -> None:
    requests = sent()
    spent = during(requests, CELLS[1])
    record = record_of(requests, lambda at_s: quiet(at_s)._replace(major_faults=100 + int(900 * spent(at_s))))
    only_the_second_is_noisy(record, "pages back from the disk")


def test_a_clock_that_falls_is_told_where_the_engine_computes_on_the_cpu_and_only_there() -> None:
    requests = sent()
    spent = during(requests, CELLS[1])

    def reading(at_s: float) -> Sample:
        slow = spent(at_s) > spent(at_s - 0.1)
        return with_system(quiet(at_s), cpu_hz=2.1e9 if slow else 3e9)

    only_the_second_is_noisy(record_of(requests, reading, "AVX2 = 1"), "clock fell to 70% of its usual")
    assert {v.word for v in verdicts(record_of(requests, reading, "CUDA : ARCHS")).values()} == {"VALID"}


def test_a_disturbed_cell_whose_client_was_late_is_noisy_and_not_client_bound() -> None:
    late = [replace(r, chunks=tuple(c._replace(delivered_ns=c.wire_ns + 50 * MS) for c in r.chunks)) for r in sent()]
    chunks = tuple(late[0].chunks[0]._replace(wire_ns=late[0].sent_ns + at * 10 * MS) for at in range(1, 101))
    late = [replace(late[0], chunks=chunks)] * 6
    assert cell_verdict(late, 0).word == "CLIENT-BOUND"
    found = cell_verdict(late, 0, disturbances=Disturbed(6, 6, (Disturbance("other processes", 6, 6, 1.0),)))
    assert found.word == "NOISY"


def test_three_requests_of_eight_disturbed_by_a_kind_each_are_three_disturbed_requests() -> None:
    kinds: tuple[Kind, ...] = ("other processes", "steal", "swap")
    watched = [[Finding(kind, 1.0)] for kind in kinds] + [[]] * 5
    verdict = cell_verdict([request([100, 110, 120])] * 8, 0, disturbances=disturbances(watched))
    assert verdict.word == "NOISY"
    (reason,) = verdict.reasons
    assert reason.startswith("during 3 of 8 requests")
    assert all(words in reason for words in ("other processes", "hypervisor", "swapped"))


def test_one_request_of_eight_that_two_kinds_disturbed_is_one_disturbed_request() -> None:
    watched = [[Finding("steal", 1.0), Finding("swap", 1.0)]] + [[]] * 7
    assert cell_verdict([request([100, 110, 120])] * 8, 0, disturbances=disturbances(watched)).word == "VALID"


def test_a_disturbance_of_one_request_in_twelve_is_kept_on_the_row_and_does_not_make_its_cell_noisy() -> None:
    requests = sent()
    burnt = during(requests, CELLS[1], first=ROUNDS - 1)

    def reading(at_s: float) -> Sample:
        sample = quiet(at_s)
        assert sample.system is not None
        return with_system(sample, busy_s=(sample.system.busy_s or 0) + burnt(at_s))

    record = record_of(requests, reading)
    assert {verdict.word for verdict in verdicts(record).values()} == {"VALID"}
    (told,) = next(row.disturbances for row in rows(record) if row.cell == CELLS[1])
    assert (told.kind, told.requests, told.watched) == ("other processes", 1, ROUNDS)


def test_readings_that_stop_accuse_nobody() -> None:
    requests = sent()
    record = record_of(requests)
    (line,) = record.samples
    cut = replace(record, samples=(replace(line, samples=line.samples[:50]),))
    assert {verdict.word for verdict in verdicts(cut).values()} == {"VALID"}
    unknown = record_of(requests, lambda at_s: quiet(at_s)._replace(system=System()))
    assert {verdict.word for verdict in verdicts(unknown).values()} == {"VALID"}


def test_a_cell_that_was_disturbed_is_measured_on_while_the_budget_lasts_and_no_further_than_asked() -> None:
    made = moved(request([100, 110, 120]), 1.0)
    for plan, missing in ((Plan(("simulated",), budget_s=60.0), [made.cell]), (Plan(("simulated",), repeats=6), [])):
        goal = Goal.of(plan, (made.cell,), 60.0)
        for _ in range(6):
            goal.take(made)
        assert goal.missing() == [], "six equal values are settled"
        goal.disturb(made)
        assert goal.missing() == [], "one of six hardly moves a median"
        goal.disturb(made)
        assert goal.missing() == missing
        for _ in range(15):
            goal.take(made)
        assert goal.missing() == []


def test_a_resumed_run_knows_which_requests_of_earlier_sittings_were_disturbed() -> None:
    requests = sent()
    burnt = during(requests, CELLS[1])

    def reading(at_s: float) -> Sample:
        sample = quiet(at_s)
        assert sample.system is not None
        return with_system(sample, busy_s=(sample.system.busy_s or 0) + burnt(at_s))

    assert Goal.of(Plan(("simulated",)), CELLS, 60.0, record_of(requests, reading)).missing() == [CELLS[1]]
    failed = [replace(made, error="HTTP 500") if made.cell == CELLS[1] else made for made in requests]
    assert not Goal.of(Plan(("simulated",)), CELLS, 60.0, record_of(failed, reading)).disturbed


def test_while_a_run_goes_on_a_disturbed_request_is_told_once_readings_from_after_its_end_have_come() -> None:
    requests = sent()[:3]
    burnt = during(requests, CELLS[1])
    told: list[Request] = []
    live = Live(cores=2)
    samples = []
    for tick in range(100):
        sample = quiet(tick / 10)
        assert sample.system is not None
        samples.append(with_system(sample, busy_s=(sample.system.busy_s or 0) + burnt(tick / 10)))
    for made in requests:
        live.watch(made, told.append)
    end = requests[1].ended_ns // (100 * MS)
    live.take(Samples("0.0", tuple(samples[:end]), 0.0))
    assert told == []
    live.take(Samples("0.0", tuple(samples[end:]), 0.0))
    assert told == [requests[1]]


def test_requests_do_not_pile_up_after_their_sampler_died_and_are_judged_again_when_samples_come_again() -> None:
    requests = sent()[:3]
    burnt = during(requests, CELLS[2])
    told: list[Request] = []
    live = Live(cores=2)

    def readings(begin: int, end: int) -> tuple[Sample, ...]:
        listed = [quiet(tick / 10) for tick in range(begin, end)]
        return tuple(
            with_system(s, busy_s=(s.system.busy_s or 0) + burnt(s.at_ns / 1e9)) for s in listed if s.system is not None
        )

    live.take(Samples("0.0", readings(0, 5), 0.0))
    live.watch(requests[0], told.append)
    live.take(Samples("0.0", (), 0.0, faults=("the sampling process ended; nothing is sampled any more",)))
    for made in requests:
        live.watch(made, told.append)
        live.take(Samples("0.0", (), 0.0))
    assert live.waiting == 0
    live.take(Samples("0.0", readings(5, 20), 0.0))
    live.watch(requests[2], told.append)
    live.take(Samples("0.0", readings(20, 100), 0.0))
    assert (told, live.waiting) == ([requests[2]], 0)
