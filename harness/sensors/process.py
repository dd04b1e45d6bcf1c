"""The process sensor: memory and CPU of a process tree, sampled from a process of its own, with the power beside it.

`python -m harness.sensors.process PID HZ` prints the power sensors that it found, then one JSON line a sample until
its standard input ends or the process does. `ProcessSampler` is the harness's end of it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

import psutil

from harness.backends.guard import end_with_parent
from harness.samples import Gpu, GpuPower, GpuState, PowerSources, Sample, Samples, System
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl
from harness.sensors.system import Machine
from harness.sensors.tree import ProcessTree

# The idle baseline: a load leaves clocks and one-second averages high for a while, then so many seconds are kept.
_SETTLE_S = 2.0
_IDLE_S = 4.0
# The run does not wait longer for a first sample, which took 0.6 s on two cores: a driver may hang.
_FIRST_S = 20.0


class ProcessSampler:
    """Collects what the sampling process prints. Whatever ends it is a fault on record; the run goes on."""

    def __init__(self, pid: int | None = None) -> None:
        self.pid = pid
        self.closing = False
        self._faults: list[str] = []
        self._said = 0
        self._fresh: list[Sample] = []
        self._cpu_s = 0.0
        self._started = asyncio.Event()
        self._sources: PowerSources | None = None
        self._told: set[str] = set()

    async def collect(self, lines: AsyncIterator[bytes]) -> None:
        """Takes the power sensors and samples from `lines` until they end."""
        try:
            async for line in lines:
                self._take(json.loads(line))
        except ValueError:
            # Half a line: the process was killed while it printed.
            pass
        finally:
            if not self.closing and not self._faults:
                self._faults.append("the sampling process ended; nothing is sampled any more")
            self._started.set()

    def _take(self, told: Any) -> None:
        if isinstance(told, str):
            self._faults.append(told)
            self._started.set()
        elif isinstance(told, dict):
            self._sources = _sources(told)
        else:
            *fields, self._cpu_s = told
            self._fresh.append(_sample(fields))
            self._started.set()

    async def first(self, longest_s: float = _FIRST_S) -> None:
        """Waits until the first sample is there, or a fault, which a silence of `longest_s` is too."""
        try:
            await asyncio.wait_for(self._started.wait(), longest_s)
        except TimeoutError:
            self._faults.append(
                f"the sampling process told nothing within {longest_s:g} s; the run did not wait for it"
            )

    async def idle(self, settle_s: float, idle_s: float) -> None:
        """Keeps the samples of `idle_s` seconds without a request as the idle baseline, where power is measured."""
        if self._sources is None or not self._sources.any or idle_s <= 0 or not self._fresh:
            return
        await asyncio.sleep(settle_s)
        begin_ns = self._fresh[-1].at_ns
        await asyncio.sleep(idle_s)
        if self._fresh[-1].at_ns > begin_ns:
            self._sources = replace(self._sources, idle_ns=(begin_ns, self._fresh[-1].at_ns))

    def take(self, subject_id: str) -> Samples:
        """The samples since the last call, with the power sensors the first time that a subject has some."""
        fresh, self._fresh = tuple(self._fresh), []
        faults, self._said = tuple(self._faults[self._said :]), len(self._faults)
        sources = self._sources if fresh and subject_id not in self._told else None
        if fresh:
            self._told.add(subject_id)
        return Samples(subject_id, fresh, self._cpu_s, sources, self.pid, faults)


def _sample(fields: list[Any]) -> Sample:
    sample = Sample(*fields)
    return sample._replace(
        gpu_power=tuple(GpuPower(*entry) for entry in sample.gpu_power),
        gpu_states=tuple(_state(GpuState(*entry)) for entry in sample.gpu_states),
        faults=tuple(sample.faults),
        system=None if sample.system is None else System(*sample.system),
    )


def _state(told: GpuState) -> GpuState:
    return told._replace(throttle=None if told.throttle is None else tuple(told.throttle))


def _sources(told: dict[str, Any]) -> PowerSources:
    gpus, zones = tuple(Gpu(**entry) for entry in told["gpus"]), tuple(told["cpu_zones"])
    return PowerSources(gpus, told["gpu_note"], zones, told["cpu_note"])


@asynccontextmanager
async def sampling(
    pid: int | None,
    per_s: float,
    idle_s: float = _IDLE_S,
    program: str = "harness.sensors.process",
    first_s: float = _FIRST_S,
) -> AsyncIterator[ProcessSampler]:
    """A sampler of the process `pid` and its children at `per_s` samples a second; none for None or 0.

    Where there is a power sensor, the block begins after the idle baseline: nothing may be asked of the process before.
    Where no sample comes, it begins with a fault on record, at the latest after `first_s`. `program` is the module that
    samples.
    """
    sampler = ProcessSampler(pid)
    if pid is None or not per_s:
        yield sampler
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", program, str(pid), str(per_s),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    reader = asyncio.create_task(sampler.collect(process.stdout))
    try:
        await sampler.first(first_s)
        await sampler.idle(_SETTLE_S, idle_s)
        yield sampler
    finally:
        sampler.closing = True
        process.stdin.close()
        await process.wait()
        await reader


def print_samples(pid: int, per_s: float, meters: Meters, machine: Machine) -> None:
    """Prints the power sensors, then samples of process `pid`: fields of Sample, then the sampler's own CPU seconds.

    A process that ends is said in words; while it may not be read there are no samples, and it is tried again.
    """
    try:
        tree = ProcessTree(pid, ours_from_s=_harness_born_s())
    except psutil.NoSuchProcess:
        hidden = psutil.pid_exists(pid)
        _print(f"process {pid} {'is hidden from this user' if hidden else 'had ended before it could be sampled'}")
        return
    _print(asdict(meters.sources))
    due = time.perf_counter()
    started_s = time.process_time()
    while True:
        at_ns = time.perf_counter_ns()
        meters.read()
        sample = tree.read(at_ns)
        if sample is None and tree.ended():
            _print(f"process {pid} ended; it is not sampled any more")
            return
        faults = tree.faults() + machine.faults()
        if sample is None:
            for fault in faults:
                _print(fault)
        else:
            sample = meters.added(sample._replace(system=machine.read(at_ns), faults=faults), tree.pids)
            _print([*sample, round(time.process_time() - started_s, 4)])
        due += 1 / per_s
        time.sleep(max(0.0, due - time.perf_counter()))


def _harness_born_s() -> float:
    """When the harness, which started this process, began; the end of time where it is gone."""
    try:
        return psutil.Process(os.getppid()).create_time()
    except psutil.Error:
        return math.inf


def _print(told: Any) -> None:
    print(json.dumps(told), flush=True)  # noqa: T201 - the hand-over to the harness


def main() -> None:
    """Samples process PID at HZ with the sensors of this machine."""
    end_with_parent()
    print_samples(int(sys.argv[1]), float(sys.argv[2]), Meters(Gpus(), Rapl()), Machine())


if __name__ == "__main__":
    main()
