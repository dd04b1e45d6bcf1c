"""The process tree of a server: memory, CPU time, threads and page faults, children that come and go included."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

from harness.samples import Sample

PROC = Path("/proc")
_RESCAN_S = 2.0
_SLOW_S = 1.0


class Usage(NamedTuple):
    """What one process has used since it started, and by its children that ended and were waited for."""

    cpu_s: float
    minor_faults: int | None
    major_faults: int | None
    children_cpu_s: float = 0.0
    children_minor_faults: int = 0
    children_major_faults: int = 0


class Reading(NamedTuple):
    """One process now."""

    resident_bytes: int
    shared_bytes: int | None
    threads: int | None
    usage: Usage


class Standing(NamedTuple):
    """What is read less often; None: not told. `pinned_bytes` are shared and locked memory."""

    peak_bytes: int | None = None
    swap_bytes: int | None = None
    pinned_bytes: int | None = None


class Source:
    """How one system tells of a process. Raises OSError, psutil.Error."""

    def reading(self, process: psutil.Process) -> Reading:
        """The process now."""
        memory, times = process.memory_info(), process.cpu_times()
        # Windows counts all faults together, macOS as here; neither tells of children.
        minor, major = getattr(memory, "pfaults", None), getattr(memory, "pageins", None)
        usage = Usage(times.user + times.system, minor, major)
        return Reading(memory.rss, None, process.num_threads(), usage)

    def standing(self, process: psutil.Process) -> Standing:
        """What changes slowly."""
        return Standing(getattr(process.memory_info(), "peak_wset", None))


class LinuxSource(Source):
    """/proc/PID/{stat,statm,status} (proc_pid_stat(5), proc_pid_status(5))."""

    def __init__(self, root: Path = PROC, ticks_per_s: int = 0, page_bytes: int = 0) -> None:
        import os

        self._root = root
        self._ticks = ticks_per_s or os.sysconf("SC_CLK_TCK")
        self._page = page_bytes or os.sysconf("SC_PAGE_SIZE")

    def reading(self, process: psutil.Process) -> Reading:
        folder = self._root / str(process.pid)
        # The name may hold spaces and brackets: fields are counted from behind it.
        told = (folder / "stat").read_bytes().rpartition(b")")[2].split()
        minor, children_minor, major, children_major = (int(field) for field in told[7:11])
        cpu, children = (int(told[11]) + int(told[12])), (int(told[13]) + int(told[14]))
        pages = (folder / "statm").read_bytes().split()
        usage = Usage(cpu / self._ticks, minor, major, children / self._ticks, children_minor, children_major)
        return Reading(int(pages[1]) * self._page, int(pages[2]) * self._page, int(told[17]), usage)

    def standing(self, process: psutil.Process) -> Standing:
        text = (self._root / str(process.pid) / "status").read_text("ascii", "replace")
        told = {
            name: int(value.split()[0]) * 1024
            for name, _, value in (line.partition(":") for line in text.splitlines())
            if value.endswith(" kB")
        }
        shared, locked = told.get("RssShmem"), told.get("VmLck")
        pinned = None if shared is None else shared + (locked or 0)
        return Standing(told.get("VmHWM"), told.get("VmSwap"), pinned)


class ProcessTree:
    """A process and its children, read at once. Children are looked up every two seconds, slow figures every second."""

    def __init__(
        self,
        pid: int,
        source: Source | None = None,
        children: Callable[[], list[int]] | None = None,
        ours_from_s: float = math.inf,
    ) -> None:
        """`ours_from_s` is when the run began, in seconds since 1970: processes born later are its own."""
        self._root = psutil.Process(pid)
        self._old_peak_bytes = 0 if self._born_s() >= ours_from_s else None
        self._source = source or (LinuxSource() if sys.platform == "linux" else Source())
        self._children = children or (lambda: [child.pid for child in self._root.children(recursive=True)])
        self._processes = [self._root]
        self._rescan_at_s = self._slow_at_s = 0.0
        self._standing: dict[int, Standing] = {}
        self._last: dict[int, Usage] = {}
        self._used = [0.0, 0.0, 0.0]
        self._faults: list[str] = []
        self._told: set[str] = set()

    @property
    def pids(self) -> set[int]:
        """The processes as last looked up."""
        return {process.pid for process in self._processes}

    def faults(self) -> tuple[str, ...]:
        """What went wrong since the last call; each thing is said once."""
        found = tuple(self._faults)
        self._faults.clear()
        return found

    def read(self, at_ns: int) -> Sample | None:
        """The tree's sum at `at_ns`; None where the root process is gone, or may not be read now (`ended` tells)."""
        if at_ns / 1e9 >= self._rescan_at_s:
            self._rescan_at_s = at_ns / 1e9 + _RESCAN_S
            self._look_up()
        slow = at_ns / 1e9 >= self._slow_at_s
        if slow:
            self._slow_at_s = at_ns / 1e9 + _SLOW_S
        read: dict[int, Reading] = {}
        for process in self._processes:
            with self._telling(process.pid):
                read[process.pid] = self._source.reading(process)
                if slow or process.pid not in self._standing:
                    self._standing[process.pid] = self._source.standing(process)
        if self._root.pid not in read:
            return None
        self._standing = {pid: self._standing[pid] for pid in read if pid in self._standing}
        self._book({pid: reading.usage for pid, reading in read.items()})
        return self._sample(at_ns, list(read.values()))

    def ended(self) -> bool:
        """Whether the root process is gone (its number may have been given to another, or it waits to be collected)."""
        try:
            return not self._root.is_running() or self._root.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False

    def _look_up(self) -> None:
        known = {process.pid: process for process in self._processes}
        with self._telling(self._root.pid):
            found = [self._root]
            for pid in self._children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    found.append(known.get(pid) or psutil.Process(pid))
            self._processes = found

    @contextlib.contextmanager
    def _telling(self, pid: int):  # type: ignore[no-untyped-def]
        """A process that ended is no fault; one that may not be read is, once."""
        try:
            yield
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return
        except (psutil.AccessDenied, OSError) as error:
            why = f"process {pid} cannot be read: {getattr(error, 'strerror', None) or 'permission denied'}"
            if why not in self._told:
                self._told.add(why)
                self._faults.append(why)

    def _book(self, now: dict[int, Usage]) -> None:
        """Adds what was used since the last reading.

        A process that is gone was seen with some of what it used; the whole of it is now in its parent's count of
        ended children, where the parent waited for it. What a child used before it was first seen counts too.
        """
        first = not self._last
        for at, (own, ended) in enumerate(((0, 3), (1, 4), (2, 5))):
            gone = sum(usage[own] or 0 for pid, usage in self._last.items() if pid not in now)
            grown = waited = 0.0
            for pid, usage in now.items():
                before = self._last.get(pid)
                grown += (usage[own] or 0) - ((before[own] or 0) if before else 0)
                waited += (usage[ended] or 0) - ((before[ended] or 0) if before else 0)
            self._used[at] += max(0.0, grown) + (waited if first else max(0.0, waited - gone))
        self._last = now

    def _sample(self, at_ns: int, read: list[Reading]) -> Sample:
        resident = sum(reading.resident_bytes for reading in read)
        file = _sum(reading.shared_bytes for reading in read)
        anonymous = None if file is None else resident - file
        standing = list(self._standing.values())
        pinned = _sum(entry.pinned_bytes for entry in standing)
        counted = all(reading.usage.major_faults is not None for reading in read)
        return Sample(
            at_ns,
            resident,
            file,
            anonymous,
            self._peak_bytes(len(read)),
            round(self._used[0], 4),
            swap_bytes=_sum(entry.swap_bytes for entry in standing),
            unevictable_bytes=None if anonymous is None or pinned is None else min(resident, anonymous + pinned),
            threads=_sum(reading.threads for reading in read),
            minor_faults=round(self._used[1]) if counted else None,
            major_faults=round(self._used[2]) if counted else None,
        )

    def _peak_bytes(self, processes: int) -> int | None:
        """The kernel's high-water mark, where it is of this run: of a process born in it, or one that rose meanwhile.

        Several processes reach theirs at different times, so that their sum was never resident: None.
        """
        root = self._standing.get(self._root.pid)
        if processes != 1 or root is None or root.peak_bytes is None:
            return None
        if self._old_peak_bytes is None:
            self._old_peak_bytes = root.peak_bytes
        return root.peak_bytes if root.peak_bytes > self._old_peak_bytes else None

    def _born_s(self) -> float:
        """When the root process began; the beginning of time where that may not be read."""
        try:
            return self._root.create_time()
        except psutil.Error:
            return 0.0


def _sum(values: Iterable[int | None]) -> int | None:
    listed = list(values)
    return None if any(value is None for value in listed) else sum(value for value in listed if value is not None)
