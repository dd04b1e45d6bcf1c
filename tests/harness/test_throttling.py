"""GPUs that are held back, from a simulated driver: told of the cells concerned, if the engine uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.disturbances import Live
from harness.metrics import computes_on_cpu
from harness.record import Request, Sample
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl
from tests.harness.fake_nvml import FakeGpu, FakeNvml, nvml
from tests.harness.readings import CELLS, PID, during, only_the_second_is_noisy, quiet, record_of, sent, verdicts


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


@pytest.mark.parametrize(
    ("held", "system_info", "word"),
    [
        # In a container the driver lists the engine under a number that is not known here.
        ({99: 2**30}, "CUDA : ARCHS", "NOISY"),
        ({}, "CUDA : ARCHS", "NOISY"),
        ({99: 2**30}, "AVX2 = 1", "VALID"),
        ({}, "AVX2 = 1", "VALID"),
    ],
)
def test_where_no_gpu_lists_the_engine_all_are_its_own_unless_it_computes_on_the_cpu(
    held: dict[int, int], system_info: str, word: str
) -> None:
    gpu = FakeGpu(processes=held, reasons=0x40)
    told: list[Request] = []
    with nvml(FakeNvml(gpu)):
        meters = Meters(Gpus(), Rapl(Path("nowhere")))

        def reading(at_s: float) -> Sample:
            meters.read()
            return meters.added(quiet(at_s), {PID})

        record = record_of(sent(), reading, system_info)
    assert {verdict.word for verdict in verdicts(record).values()} == {word}
    live = Live(2, computes_on_cpu(system_info))
    for made in record.requests:
        live.watch(made, told.append)
    live.take(record.samples[0])
    assert len(told) == (len(record.requests) if word == "NOISY" else 0)


def test_a_gpu_that_lists_the_engine_later_in_the_run_is_its_own_from_the_beginning() -> None:
    other, own = FakeGpu(reasons=0x40), FakeGpu(reasons=0)
    with nvml(FakeNvml(other, own)):
        meters = Meters(Gpus(), Rapl(Path("nowhere")))

        def reading(at_s: float) -> Sample:
            own.processes = {PID: 2**30} if at_s > 20 else {}
            meters.read()
            return meters.added(quiet(at_s), {PID})

        record = record_of(sent(), reading)
    assert {verdict.word for verdict in verdicts(record).values()} == {"VALID"}
