"""The sampling process and the harness's end of it: what reaches the journal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from harness.journal import Journal, read_record
from harness.record import Samples
from harness.sensors.process import sampling
from tests.harness.making import header


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
