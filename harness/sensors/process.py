"""The process sensor: memory and CPU of a process tree, sampled from a process of its own.

`python -m harness.sensors.process PID HZ` prints one JSON line a sample until its standard input
ends or the process does. `ProcessSampler` is the harness's end of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from harness.backends.guard import end_with_parent
from harness.record import Sample, Samples

_RESCAN_S = 2.0


class ProcessTree:
    """A process and its children, read at once. Children are looked up every two seconds; ended ones are left out."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._processes = [self._root]
        self._rescan_at_s = 0.0
        self._peak: int | None = None

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

    async def collect(self, lines: AsyncIterator[bytes]) -> None:
        """Takes samples from `lines` until they end."""
        async for line in lines:
            *fields, self._cpu_s = json.loads(line)
            self._fresh.append(Sample(*fields))
            self._started.set()
        self._started.set()

    async def first(self) -> None:
        """Waits until the first sample is there, or none will come."""
        await self._started.wait()

    def take(self, subject_id: str) -> Samples:
        """The samples since the last call."""
        fresh, self._fresh = tuple(self._fresh), []
        return Samples(subject_id, fresh, self._cpu_s)


@asynccontextmanager
async def sampling(pid: int | None, per_s: float) -> AsyncIterator[ProcessSampler]:
    """A sampler of the process `pid` and its children at `per_s` samples a second; none for None or 0."""
    sampler = ProcessSampler()
    if pid is None or not per_s:
        yield sampler
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "harness.sensors.process", str(pid), str(per_s),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    reader = asyncio.create_task(sampler.collect(process.stdout))
    try:
        await sampler.first()
        yield sampler
    finally:
        process.stdin.close()
        await process.wait()
        await reader


def main() -> None:
    """Prints samples of process PID at HZ: the fields of Sample, then the sampler's own CPU seconds."""
    pid, per_s = int(sys.argv[1]), float(sys.argv[2])
    end_with_parent()
    try:
        tree = ProcessTree(pid)
    except psutil.NoSuchProcess:
        return
    due = time.perf_counter()
    started_s = time.process_time()
    while (sample := tree.read(time.perf_counter_ns())) is not None:
        print(json.dumps([*sample, round(time.process_time() - started_s, 4)]), flush=True)  # noqa: T201
        due += 1 / per_s
        time.sleep(max(0.0, due - time.perf_counter()))


if __name__ == "__main__":
    main()
