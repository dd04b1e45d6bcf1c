"""What the machine as a whole counts: CPU time of everybody, steal, memory pressure, swapping, clock, heat.

Unknown is None. A file that is not there from the beginning is unknown and no fault; one that stops being readable is
a fault, told once, and the run goes on.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from harness.samples import System

ROOT = Path("/")
_SLOW_S = 1.0
# Each core's clock costs a call into the kernel: so many are looked at.
_MOST_CORES = 16
_STEP_NS = 500_000_000
_STALL = re.compile(rb"some .*total=(\d+)")
_SWAPPED = re.compile(rb"^pswp(?:in|out) (\d+)$", re.MULTILINE)


class Machine:
    """The readings of one machine. `harness_pid` is the harness, whose CPU time and this process's are no noise."""

    def __init__(
        self,
        harness_pid: int | None = None,
        root: Path = ROOT,
        wall_ns: Callable[[], int] = time.time_ns,
        linux: bool = sys.platform == "linux",
    ) -> None:
        self._root, self._linux, self._wall_ns = root, linux, wall_ns
        self._harness = os.getppid() if harness_pid is None else harness_pid
        self._slow_at_s = 0.0
        self._offset_ns: int | None = None
        self._faults: list[str] = []
        self._lost: set[str] = set()
        cores = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*"))
        self._clocks = [path for core in cores if (path := core / "cpufreq" / "scaling_cur_freq").exists()]
        self._clocks = self._clocks[:: max(1, len(self._clocks) // _MOST_CORES)]
        self._throttles = _throttle_counts(cores)
        self._stall, self._vmstat = root / "proc/pressure/memory", root / "proc/vmstat"
        self._there = {path for path in (self._stall, self._vmstat) if path.exists()}
        self._ticks = os.sysconf("SC_CLK_TCK") if linux else 100
        self._page = os.sysconf("SC_PAGE_SIZE") if linux else 4096

    def faults(self) -> tuple[str, ...]:
        """What went wrong since the last call."""
        found = tuple(self._faults)
        self._faults.clear()
        return found

    def read(self, at_ns: int) -> System:
        """Everything now; clock and heat once a second."""
        self._notice_step(at_ns)
        slow = at_ns / 1e9 >= self._slow_at_s
        if slow:
            self._slow_at_s = at_ns / 1e9 + _SLOW_S
        busy, steal = self._cpu_s()
        return System(
            busy_s=busy,
            steal_s=steal,
            harness_cpu_s=self._harness_s(),
            memory_stall_s=self._stalled_s(),
            swapped_bytes=self._swapped_bytes(),
            cpu_hz=self._clock_hz() if slow else None,
            throttles=self._throttle_count() if slow else None,
        )

    def _notice_step(self, at_ns: int) -> None:
        """The wall clock against the monotonic one: set by hand, by NTP, or the machine slept."""
        offset = self._wall_ns() - at_ns
        if self._offset_ns is not None and abs(offset - self._offset_ns) > _STEP_NS:
            step_s = (offset - self._offset_ns) * 1e-9
            self._faults.append(f"the wall clock stepped by {step_s:+.1f} s; instants are of the monotonic clock")
        self._offset_ns = offset

    def _text(self, path: Path) -> bytes | None:
        """A file's bytes, None where it cannot be read; said once where it could before."""
        try:
            data = path.read_bytes()
        except OSError as error:
            if str(path) not in self._lost:
                self._lost.add(str(path))
                name = path.relative_to(self._root)
                self._faults.append(f"/{name} cannot be read any more: {error.strerror or error}")
            return None
        self._lost.discard(str(path))
        return data

    def _cpu_s(self) -> tuple[float | None, float | None]:
        """CPU time of all and steal, in seconds (proc_stat(5): user nice system idle iowait irq softirq steal)."""
        if not self._linux:
            times = psutil.cpu_times()
            idle = times.idle + getattr(times, "iowait", 0.0)
            return (times.user + times.system if sys.platform == "win32" else sum(times[:4]) - idle), None
        if (data := self._text(self._root / "proc/stat")) is None:
            return None, None
        told = [int(field) / self._ticks for field in data[: data.index(b"\n")].split()[1:]]
        busy = told[0] + told[1] + told[2] + told[5] + told[6]
        return round(busy, 2), round(told[7], 2) if len(told) > 7 else None

    def _harness_s(self) -> float | None:
        own = time.process_time()
        if not self._linux:
            try:
                times = psutil.Process(self._harness).cpu_times()
            except psutil.Error:
                return None
            return round(times.user + times.system + own, 3)
        if (data := self._text(self._root / "proc" / str(self._harness) / "stat")) is None:
            return None
        told = data.rpartition(b")")[2].split()
        return round((int(told[11]) + int(told[12])) / self._ticks + own, 3)

    def _stalled_s(self) -> float | None:
        """PSI (Documentation/accounting/psi.rst): microseconds in which some task waited for memory."""
        data = self._text(self._stall) if self._stall in self._there else None
        found = _STALL.search(data) if data is not None else None
        return None if found is None else int(found[1]) / 1e6

    def _swapped_bytes(self) -> int | None:
        data = self._text(self._vmstat) if self._vmstat in self._there else None
        found = _SWAPPED.findall(data) if data is not None else []
        return sum(int(pages) for pages in found) * self._page if found else None

    def _clock_hz(self) -> float | None:
        told = [int(data) * 1e3 for path in self._clocks if (data := self._text(path)) is not None]
        return max(told, default=None)

    def _throttle_count(self) -> int | None:
        told = [int(data) for path in self._throttles if (data := self._text(path)) is not None]
        return sum(told) if told else None


def _throttle_counts(cores: Sequence[Path]) -> list[Path]:
    """One count for each core and each package: all logical CPUs of one count its events."""
    found: dict[tuple[str, ...], Path] = {}
    for cpu in cores:
        package, die, core = (_topology(cpu, name) for name in ("physical_package_id", "die_id", "core_id"))
        # Where the system does not tell cores apart each logical CPU stands for itself.
        for key, name in (((package, die, core or cpu.name), "core"), ((package,), "package")):
            path = cpu / "thermal_throttle" / f"{name}_throttle_count"
            if key not in found and path.exists():
                found[key] = path
    return list(found.values())


def _topology(cpu: Path, name: str) -> str:
    try:
        return (cpu / "topology" / name).read_text("ascii", "replace").strip()
    except OSError:
        return ""
