"""Disturbances from injected readings: called NOISY in the cells during whose requests they happened, in no other."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.disturbances import Live
from harness.goal import Goal
from harness.noise import Disturbance
from harness.plan import Plan
from harness.record import Cell, Record, Request, Sample, Samples
from harness.samples import System
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl
from harness.summary import rows
from harness.verdict import Verdict, cell_verdict
from tests.harness.fake_nvml import FakeGpu, FakeNvml, nvml
from tests.harness.making import CELL, MS, header, request, subject

PID = 7
CELLS = tuple(replace(CELL, prompt_tokens=tokens) for tokens in (16, 32, 64))
ROUNDS, SECONDS = 12, 1.0
# Each request waits so long for the next.
PAUSE_S = 0.3

Reading = Callable[[float], Sample]


def sent(seed: int = 0) -> list[Request]:
    """Rounds over three cells, a request of a second each, with 2 % of scatter."""
    rng, found, at_s = random.Random(seed), [], 1.0
    for _ in range(ROUNDS):
        for cell in CELLS:
            scale = rng.gauss(1.0, 0.02)
            made = request([200 * scale + 100 * token * scale for token in range(9)], cell=cell)
            found.append(moved(made, at_s))
            at_s += SECONDS + PAUSE_S
    return found


def moved(made: Request, at_s: float) -> Request:
    """The request so much later."""
    by = round(at_s * 1e9)
    chunks = tuple(
        chunk._replace(wire_ns=chunk.wire_ns + by, delivered_ns=(chunk.delivered_ns or 0) + by) for chunk in made.chunks
    )
    return replace(
        made,
        sent_ns=made.sent_ns + by,
        scheduled_ns=made.scheduled_ns + by,
        ended_ns=made.ended_ns + by,
        chunks=chunks,
    )


def quiet(at_s: float, seed: int = 0) -> Sample:
    """A server that uses one of two cores, a harness that uses a tenth, and a twentieth of a core for others."""
    ticks = random.Random(f"{seed}:{at_s}").choice((-0.01, 0.0, 0.01))
    system = System(
        busy_s=round(at_s * 1.15 + ticks, 2),
        steal_s=round(at_s * 0.001, 2),
        harness_cpu_s=round(at_s * 0.1, 2),
        memory_stall_s=0.0,
        swapped_bytes=4096,
        cpu_hz=3e9,
        throttles=4,
    )
    return Sample(
        round(at_s * 1e9), 2**30, 2**29, 2**29, 2**30, round(at_s, 2), threads=4, major_faults=100, system=system
    )


def record_of(requests: list[Request], reading: Reading = quiet, system_info: str = "") -> Record:
    """A run with readings at 10 Hz from its beginning to its end."""
    end_s = requests[-1].ended_ns * 1e-9 + 0.2
    samples = tuple(reading(tick / 10) for tick in range(int(end_s * 10)))
    told = replace(subject(), system_info=system_info)
    return Record(header(), (told,), tuple(requests), (Samples("0.0", samples, 0.01, None, PID),))


def verdicts(record: Record) -> dict[Cell, Verdict]:
    return {row.cell: row.verdict for row in rows(record)}


def during(requests: list[Request], cell: Cell, first: int = 0) -> Callable[[float], float]:
    """Seconds before `at_s` in which requests of `cell`, from its request `first` on, ran."""
    spans = [(r.sent_ns * 1e-9, r.ended_ns * 1e-9) for r in requests if r.cell == cell][first:]
    return lambda at_s: sum(max(0.0, min(at_s, end) - begin) for begin, end in spans)


def with_system(sample: Sample, **more: float | int | None) -> Sample:
    assert sample.system is not None
    return sample._replace(system=sample.system._replace(**more))  # type: ignore[arg-type]


def only_the_second_is_noisy(record: Record, words: str) -> None:
    found = verdicts(record)
    assert [found[cell].word for cell in CELLS] == ["VALID", "NOISY", "VALID"]
    assert words in found[CELLS[1]].reasons[0]
    assert len(found[CELLS[1]].reasons) == 1


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
    found = cell_verdict(late, 0, disturbances=[Disturbance("other processes", 6, 6, 1.0)])
    assert found.word == "NOISY"


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


@pytest.mark.parametrize(("bits", "noisy"), [(0x40, True), (0x8, True), (0x4, False), (0x1, False)])
def test_a_gpu_that_throttles_is_told_of_the_cells_concerned_but_its_power_limit_is_no_trouble(
    bits: int, noisy: bool
) -> None:
    requests = sent()
    spent = during(requests, CELLS[1])
    gpu = FakeGpu(processes={PID: 2**30}, reasons=0)
    with nvml(FakeNvml(gpu)):
        meters = Meters(Gpus(), Rapl(Path("nowhere")))

        def reading(at_s: float) -> Sample:
            gpu.reasons = bits if spent(at_s) > spent(at_s - 0.1) else 0
            meters.read()
            return meters.added(quiet(at_s), {PID})

        record = record_of(requests, reading)
    if noisy:
        only_the_second_is_noisy(record, "GPU 0: hardware")
    else:
        assert {verdict.word for verdict in verdicts(record).values()} == {"VALID"}


def test_20_quiet_runs_on_a_gpu_raise_no_alarm() -> None:
    for seed in range(20):
        with nvml(FakeNvml(FakeGpu(processes={PID: 2**30}, reasons=0x4))):
            meters = Meters(Gpus(), Rapl(Path("nowhere")))

            def reading(at_s: float, meters: Meters = meters) -> Sample:
                meters.read()
                return meters.added(quiet(at_s), {PID})

            assert {v.word for v in verdicts(record_of(sent(seed), reading)).values()} == {"VALID"}


def test_another_gpu_that_throttles_is_not_the_servers_trouble() -> None:
    with nvml(FakeNvml(FakeGpu(processes={PID: 2**30}, reasons=0), FakeGpu(processes={1: 2**30}, reasons=0x40))):
        meters = Meters(Gpus(), Rapl(Path("nowhere")))

        def reading(at_s: float) -> Sample:
            meters.read()
            return meters.added(quiet(at_s), {PID} if at_s >= 0 else set())

        record = record_of(sent(), reading)
    # The fake driver lists the processes of each device apart.
    assert {verdict.word for verdict in verdicts(record).values()} == {"VALID"}


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
        goal = Goal.of(plan, (made.cell,), 60.0, ())
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
