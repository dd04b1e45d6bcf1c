"""The sampling process and the harness's end of it: what reaches the journal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from harness.journal import Journal, read_record
from harness.record import Samples
from harness.render import show_run
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.process import ProcessSampler, print_samples, sampling
from harness.sensors.rapl import Rapl
from harness.sensors.system import Machine
from tests.harness.making import header, request, subject


async def sampled(program: str, idle_s: float) -> list[Samples]:
    """Two takes of samples of this process."""
    async with sampling(os.getpid(), 20.0, idle_s, program) as sampler:
        await asyncio.sleep(0.3)
        first = sampler.take("0.0")
        await asyncio.sleep(0.3)
        return [first, sampler.take("0.0")]


@pytest.mark.slow
def test_power_stands_beside_each_sample_and_reads_back_from_the_journal(tmp_path: Path) -> None:
    taken = asyncio.run(sampled("tests.harness.fake_sampler", idle_s=0.5))
    with Journal(tmp_path) as journal:
        journal.append(header(), *taken)
    first, second = read_record(tmp_path).samples
    assert [first, second] == taken
    assert second.sources is None, "they stand in the first line"
    assert first.sources is not None
    assert first.sources.gpus[0].power == "instant"
    assert first.sources.idle_ns is not None
    begin_ns, end_ns = first.sources.idle_ns
    assert end_ns - begin_ns > 0.3e9
    assert {sample.gpu_power[0].power_w for sample in first.samples} == {100.0}
    states = [sample.gpu_states for sample in first.samples if sample.gpu_states]
    assert states[0][0].process_bytes == 2**30
    assert len(states) < len(first.samples) / 4, "the state is read once a second"


@pytest.mark.slow
def test_a_machine_without_power_sensors_is_sampled_without_waiting_and_says_why() -> None:
    program = "tests.harness.fake_sampler_without"
    first, _ = asyncio.run(sampled(program, idle_s=60.0))
    assert first.samples
    assert first.sources is not None
    assert not first.sources.any
    assert "no NVIDIA driver" in first.sources.gpu_note
    assert "no RAPL counters" in first.sources.cpu_note
    assert first.samples[0].gpu_power == ()
    assert first.samples[0].cpu_energy_j is None


async def killed(victim: str) -> Samples:
    """The samples of a process of ours after it, or its sampler, was killed."""
    watched = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    try:
        async with sampling(watched.pid, 20.0, 0.0, "tests.harness.fake_sampler_without") as sampler:
            await asyncio.sleep(0.3)
            process = watched.pid
            if victim == "sampler":
                (process,) = (p.pid for p in psutil.Process().children() if "fake_sampler" in " ".join(p.cmdline()))
            os.kill(process, signal.SIGKILL)
            if victim == "process":
                await watched.wait()
            await asyncio.sleep(0.5)
            return sampler.take("0.0")
    finally:
        if watched.returncode is None:
            watched.kill()
            await watched.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "words"),
    [("process", "ended; it is not sampled any more"), ("sampler", "the sampling process ended")],
)
def test_a_process_or_a_sampler_that_dies_is_a_fault_on_record_and_the_run_goes_on(victim: str, words: str) -> None:
    found = asyncio.run(killed(victim))
    assert found.samples
    assert words in found.faults[0]
    assert len(found.faults) == 1


@pytest.mark.slow
def test_readings_of_the_whole_machine_stand_beside_each_sample() -> None:
    first, _ = asyncio.run(sampled("tests.harness.fake_sampler_without", idle_s=0.0))
    assert first.pid == os.getpid()
    assert all(sample.system is not None and sample.system.busy_s is not None for sample in first.samples)


async def told_by(*lines: str, longest_s: float = 5.0) -> Samples:
    """What a sampler keeps whose process prints these lines and then nothing more, without ending."""

    async def printed() -> AsyncIterator[bytes]:
        for line in lines:
            yield line.encode()
        await asyncio.sleep(60)

    sampler = ProcessSampler(7)
    reading = asyncio.create_task(sampler.collect(printed()))
    await asyncio.wait_for(sampler.first(longest_s), 1.0)
    await asyncio.wait_for(sampler.idle(60.0, 60.0), 1.0)
    found = sampler.take("0.0")
    sampler.closing = True
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return found


SOURCES = '{"gpus": [], "gpu_note": "no driver", "cpu_zones": ["package-0"], "cpu_note": ""}'


def test_a_run_goes_on_where_the_process_may_not_be_read_from_the_start() -> None:
    found = asyncio.run(told_by(SOURCES, '"process 7 cannot be read: Permission denied"'))
    assert found.faults == ("process 7 cannot be read: Permission denied",)
    assert found.samples == ()


def test_a_sampler_that_says_nothing_is_a_fault_and_the_run_does_not_wait_for_it() -> None:
    found = asyncio.run(told_by(longest_s=0.01))
    assert found.faults == ("the sampling process told nothing within 0.01 s; the run did not wait for it",)


def test_a_server_that_gave_no_sample_is_shown_so_with_the_reason(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(header(), subject(), request([100, 110]))
        journal.append(Samples("0.0", (), 0.0, None, 7, ("process 7 cannot be read: Permission denied",)))
    out = StringIO()
    show_run(Console(file=out, width=200), read_record(tmp_path))
    assert "memory not sampled: its process 7 gave no sample" in out.getvalue()
    assert "sensor: process 7 cannot be read: Permission denied" in out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(("per_s", "words"), [(20.0, "cannot be read"), (1.0, "told nothing within 0.5 s")])
def test_sampling_begins_and_ends_where_no_sample_ever_comes(per_s: float, words: str) -> None:
    async def tried() -> Samples:
        async with sampling(os.getpid(), per_s, 60.0, "tests.harness.fake_sampler_refused", first_s=0.5) as sampler:
            # A fault of a slow start of the process itself stands first.
            for _ in range(100):
                if words in " ".join((found := sampler.take("0.0")).faults):
                    break
                await asyncio.sleep(0.05)
            return found

    assert words in " ".join(asyncio.run(asyncio.wait_for(tried(), 20.0)).faults)


def test_a_process_that_is_not_there_is_said_to_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    print_samples(2**22 + 1, 20.0, Meters(Gpus(), Rapl(Path("nowhere"))), Machine())
    assert "had ended before it could be sampled" in capsys.readouterr().out
