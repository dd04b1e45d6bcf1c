"""The machine's own counters from files of ours: what is read, what is unknown, what is lost on the way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.sensors.system import Machine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and /sys")

STAT = "cpu  100 20 30 4000 50 6 4 10 7 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n"


def root_of(folder: Path) -> Path:
    files = {
        "proc/stat": STAT,
        "proc/7/stat": "7 (python) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 1 1 1",
        "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 total=1\n",
        "proc/vmstat": "pgpgin 5\npswpin 3\npswpout 4\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2800000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3100000\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "5\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_counters_of_linux_are_read_in_seconds_bytes_and_hertz(tmp_path: Path) -> None:
    system = Machine(7, root_of(tmp_path), lambda: 0).read(0)
    ticks = os.sysconf("SC_CLK_TCK")
    # User and nice hold the guests' time; idle, waiting and steal are not busy.
    assert (system.busy_s, system.steal_s) == (160 / ticks, 10 / ticks)
    assert system.harness_cpu_s is not None
    assert system.harness_cpu_s >= 200 / ticks
    assert system.memory_stall_s == 2.5
    assert system.swapped_bytes == 7 * os.sysconf("SC_PAGE_SIZE")
    assert (system.cpu_hz, system.throttles) == (3.1e9, 7)


def test_an_event_of_a_core_or_a_package_that_all_its_logical_cpus_count_is_counted_once(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    # Two packages of two cores of two threads; each thread counts its core's and its package's events.
    for number in range(8):
        package, core = number // 2 % 2, number % 2
        cpu = root / f"sys/devices/system/cpu/cpu{number}"
        for name, text in {
            "topology/physical_package_id": str(package),
            "topology/core_id": str(core),
            "thermal_throttle/core_throttle_count": str(1 + core),
            "thermal_throttle/package_throttle_count": str(10 * (1 + package)),
        }.items():
            (cpu / name).parent.mkdir(parents=True, exist_ok=True)
            (cpu / name).write_text(text + "\n")
    assert Machine(7, root, lambda: 0).read(0).throttles == 2 * (1 + 2) + 10 + 20


def test_clock_and_heat_are_read_once_a_second(tmp_path: Path) -> None:
    machine = Machine(7, root_of(tmp_path), lambda: 0)
    hz = [machine.read(tick * 100_000_000).cpu_hz for tick in range(12)]
    assert [at for at, found in enumerate(hz) if found is not None] == [0, 10]


def test_what_a_machine_never_had_is_unknown_and_no_fault(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    for name in ("proc/pressure/memory", "proc/vmstat"):
        (root / name).unlink()
    machine = Machine(7, root, lambda: 0)
    system = machine.read(0)
    assert (system.memory_stall_s, system.swapped_bytes) == (None, None)
    assert machine.faults() == ()


def test_a_file_that_vanishes_is_a_fault_said_once_and_the_rest_is_read(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    machine = Machine(7, root, lambda: 0)
    machine.read(0)
    (root / "proc/pressure/memory").unlink()
    first, second = machine.read(1), machine.read(2)
    assert (first.memory_stall_s, second.memory_stall_s) == (None, None)
    assert second.busy_s is not None
    assert machine.faults() == ("/proc/pressure/memory cannot be read any more: No such file or directory",)


def test_a_wall_clock_that_steps_is_told_and_drift_is_not(tmp_path: Path) -> None:
    second = 1_000_000_000
    wall = iter([0, second + 1000, 2 * second + 3600 * second, 3 * second + 3600 * second])
    machine = Machine(7, root_of(tmp_path), lambda: next(wall))
    for tick in range(4):
        machine.read(tick * second)
    assert machine.faults() == ("the wall clock stepped by +3600.0 s; instants are of the monotonic clock",)
