"""The process sensor: memory and CPU of a process tree, sampled from a process of its own, with the power beside it.

`python -m harness.sensors.process PID HZ` prints the power sensors that it found, then one JSON line a sample until
its standard input ends or the process does. `ProcessSampler` is the harness's end of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from harness.backends.guard import end_with_parent
from harness.samples import Gpu, GpuPower, GpuState, PowerSources, Sample, Samples
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl

_RESCAN_S = 2.0
# The idle baseline: a load leaves clocks and one-second averages high for a while, then so many seconds are kept.
_SETTLE_S = 2.0
_IDLE_S = 4.0


class ProcessTree:
    """A process and its children, read at once. Children are looked up every two seconds; ended ones are left out."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._processes = [self._root]
        self._rescan_at_s = 0.0
        self._peak: int | None = None

    @property
    def pids(self) -> set[int]:
        """The processes as last looked up."""
        return {process.pid for process in self._processes}

    def read(self, at_ns: int) -> Sample | None:
        """The tree's sum at `at_ns`, None where the root process is gone."""
        if at_ns / 1e9 >= self._rescan_at_s:
            self._rescan_at_s = at_ns / 1e9 + _RESCAN_S
            with contextlib.suppress(psutil.NoSuchProcess):
                self._processes = [self._root, *self._root.children(recursive=True)]
            self._peak = _sum(_peak_bytes(process.pid) for process in self._processes)
        read = [part for process in self._processes if (part := _read_one(process)) is not None]
        if not read:
            return None
        resident = sum(part[0] for part in read)
        file = _sum(part[1] for part in read)
        anonymous = None if file is None else resident - file
        return Sample(at_ns, resident, file, anonymous, self._peak, sum(part[2] for part in read))


def _read_one(process: psutil.Process) -> tuple[int, int | None, float] | None:
    try:
        memory = process.memory_info()
        times = process.cpu_times()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return memory.rss, getattr(memory, "shared", None), times.user + times.system


def _peak_bytes(pid: int) -> int | None:
    """The kernel's own high-water mark of resident memory, which psutil does not read; Linux only."""
    if sys.platform != "linux":
        return None
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)


def _sum(values: Iterable[int | None]) -> int | None:
    listed = list(values)
    return None if any(value is None for value in listed) else sum(value for value in listed if value is not None)


class ProcessSampler:
    """Collects what the sampling process prints."""

    def __init__(self) -> None:
        self._fresh: list[Sample] = []
        self._cpu_s = 0.0
        self._started = asyncio.Event()
        self._sources: PowerSources | None = None
        self._told: set[str] = set()

    async def collect(self, lines: AsyncIterator[bytes]) -> None:
        """Takes the power sensors and samples from `lines` until they end."""
        async for line in lines:
            told = json.loads(line)
            if isinstance(told, dict):
                self._sources = _sources(told)
                continue
            *fields, self._cpu_s = told
            self._fresh.append(_sample(fields))
            self._started.set()
        self._started.set()

    async def first(self) -> None:
        """Waits until the first sample is there, or none will come."""
        await self._started.wait()

    async def idle(self, settle_s: float, idle_s: float) -> None:
        """Keeps the samples of `idle_s` seconds without a request as the idle baseline, where power is measured."""
        if self._sources is None or not self._sources.any or idle_s <= 0:
            return
        await asyncio.sleep(settle_s)
        begin_ns = self._fresh[-1].at_ns if self._fresh else 0
        await asyncio.sleep(idle_s)
        if self._fresh and self._fresh[-1].at_ns > begin_ns:
            self._sources = replace(self._sources, idle_ns=(begin_ns, self._fresh[-1].at_ns))

    def take(self, subject_id: str) -> Samples:
        """The samples since the last call, with the power sensors the first time that a subject has some."""
        fresh, self._fresh = tuple(self._fresh), []
        sources = self._sources if fresh and subject_id not in self._told else None
        if fresh:
            self._told.add(subject_id)
        return Samples(subject_id, fresh, self._cpu_s, sources)


def _sample(fields: list[Any]) -> Sample:
    sample = Sample(*fields)
    return sample._replace(
        gpu_power=tuple(GpuPower(*entry) for entry in sample.gpu_power),
        gpu_states=tuple(_state(GpuState(*entry)) for entry in sample.gpu_states),
        faults=tuple(sample.faults),
    )


def _state(told: GpuState) -> GpuState:
    return told._replace(throttle=None if told.throttle is None else tuple(told.throttle))


def _sources(told: dict[str, Any]) -> PowerSources:
    gpus, zones = tuple(Gpu(**entry) for entry in told["gpus"]), tuple(told["cpu_zones"])
    return PowerSources(gpus, told["gpu_note"], zones, told["cpu_note"])


@asynccontextmanager
async def sampling(
    pid: int | None, per_s: float, idle_s: float = _IDLE_S, program: str = "harness.sensors.process"
) -> AsyncIterator[ProcessSampler]:
    """A sampler of the process `pid` and its children at `per_s` samples a second; none for None or 0.

    Where there is a power sensor, the block begins after the idle baseline: nothing may be asked of the process before.
    `program` is the module that samples.
    """
    sampler = ProcessSampler()
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
        await sampler.first()
        await sampler.idle(_SETTLE_S, idle_s)
        yield sampler
    finally:
        process.stdin.close()
        await process.wait()
        await reader


def print_samples(pid: int, per_s: float, meters: Meters) -> None:
    """Prints the power sensors, then samples of process `pid`: fields of Sample, then the sampler's own CPU seconds."""
    try:
        tree = ProcessTree(pid)
    except psutil.NoSuchProcess:
        return
    print(json.dumps(asdict(meters.sources)), flush=True)  # noqa: T201
    due = time.perf_counter()
    started_s = time.process_time()
    while True:
        at_ns = time.perf_counter_ns()
        meters.read()
        if (sample := tree.read(at_ns)) is None:
            return
        sample = meters.added(sample, tree.pids)
        print(json.dumps([*sample, round(time.process_time() - started_s, 4)]), flush=True)  # noqa: T201
        due += 1 / per_s
        time.sleep(max(0.0, due - time.perf_counter()))


def main() -> None:
    """Samples process PID at HZ with the sensors of this machine."""
    end_with_parent()
    print_samples(int(sys.argv[1]), float(sys.argv[2]), Meters(Gpus(), Rapl()))


if __name__ == "__main__":
    main()
