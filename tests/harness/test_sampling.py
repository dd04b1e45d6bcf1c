"""The sampling process and the harness's end of it: what reaches the journal."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

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
