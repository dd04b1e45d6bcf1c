"""The process tree from injected readings: children that come and go, processes that end, permissions that are lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.metrics import Peak, peak
from harness.sensors.tree import LinuxSource, ProcessTree, Reading, Source, Standing, Usage

ROOT_PID = os.getpid()
MIB = 2**20


class Told(Source):
    """Processes as a test tells them, by number."""

    def __init__(self, readings: dict[int, Reading | Exception]) -> None:
        self.readings = readings
        self.peak_bytes = 500 * MIB

    def reading(self, process: psutil.Process) -> Reading:
        found = self.readings.get(process.pid, psutil.NoSuchProcess(process.pid))
        if isinstance(found, Exception):
            raise found
        return found

    def standing(self, process: psutil.Process) -> Standing:
        return Standing(self.peak_bytes, MIB, 2 * MIB)


def used(cpu_s: float, children_s: float = 0.0, major: int = 0, children_major: int = 0) -> Reading:
    return Reading(100 * MIB, 60 * MIB, 3, Usage(cpu_s, 10, major, children_s, 0, children_major))


@pytest.fixture
def child() -> int:
    """A process number that is alive and not ours to read."""
    return os.getppid()


def test_the_tree_is_the_sum_of_its_processes_and_shared_and_locked_memory_cannot_be_evicted(child: int) -> None:
    source = Told({ROOT_PID: used(1.0, major=5), child: used(2.0, major=7)})
    sample = ProcessTree(ROOT_PID, source, lambda: [child]).read(0)
    assert sample is not None
    assert (sample.resident_bytes, sample.file_bytes, sample.anonymous_bytes) == (200 * MIB, 120 * MIB, 80 * MIB)
    assert (sample.unevictable_bytes, sample.swap_bytes) == (84 * MIB, 2 * MIB)
    assert (sample.threads, sample.cpu_s, sample.major_faults, sample.minor_faults) == (6, 3.0, 12, 20)


def test_the_high_water_mark_of_a_server_that_was_there_before_the_run_counts_from_its_first_rise_on() -> None:
    source = Told({ROOT_PID: used(1.0)})
    tree = ProcessTree(ROOT_PID, source, list, ours_from_s=psutil.Process().create_time() + 1)
    peaks = []
    for second, peak_bytes in enumerate((500, 500, 600, 600)):
        source.peak_bytes = peak_bytes * MIB
        sample = tree.read(second * 2_000_000_000)
        assert sample is not None
        peaks.append(sample.peak_bytes)
    assert peaks == [None, None, 600 * MIB, 600 * MIB]


def test_the_high_water_mark_of_an_engine_that_the_run_started_counts_at_once() -> None:
    sample = ProcessTree(ROOT_PID, Told({ROOT_PID: used(1.0)}), list, ours_from_s=0.0).read(0)
    assert sample is not None
    assert sample.peak_bytes == 500 * MIB


def test_the_high_water_marks_of_several_processes_are_of_different_times_and_not_summed(child: int) -> None:
    source = Told({ROOT_PID: used(1.0), child: used(2.0)})
    sample = ProcessTree(ROOT_PID, source, lambda: [child], ours_from_s=0.0).read(0)
    assert sample is not None
    assert sample.peak_bytes is None
    assert peak([sample]) == Peak(200 * MIB, 120 * MIB, 80 * MIB, 84 * MIB, 2 * MIB)


def test_a_child_that_ends_keeps_its_cpu_time_and_faults_whether_its_parent_waited_for_it_or_not(child: int) -> None:
    for waited_s in (2.5, 0.0):
        source = Told({ROOT_PID: used(1.0), child: used(2.0, major=7)})
        tree = ProcessTree(ROOT_PID, source, lambda: [child])
        assert tree.read(0) is not None
        source.readings = {ROOT_PID: used(1.5, children_s=waited_s, children_major=9 if waited_s else 0)}
        sample = tree.read(1)
        assert sample is not None
        # What it used after it was last seen is known only from the parent.
        assert sample.cpu_s == pytest.approx(1.5 + max(2.0, waited_s))
        assert sample.major_faults == (9 if waited_s else 7)
        assert tree.faults() == ()


def test_a_child_that_came_and_went_between_two_readings_is_counted_by_its_parent() -> None:
    source = Told({ROOT_PID: used(1.0)})
    tree = ProcessTree(ROOT_PID, source, list)
    tree.read(0)
    source.readings = {ROOT_PID: used(1.0, children_s=0.7)}
    sample = tree.read(1)
    assert sample is not None
    assert sample.cpu_s == pytest.approx(1.7)


def test_a_permission_that_is_lost_is_said_once_and_reading_goes_on_when_it_is_given_back() -> None:
    source = Told({ROOT_PID: used(1.0)})
    tree = ProcessTree(ROOT_PID, source, list)
    tree.read(0)
    source.readings = {ROOT_PID: PermissionError(13, "Permission denied")}
    assert tree.read(1) is None
    assert tree.read(2) is None
    assert not tree.ended()
    assert tree.faults() == (f"process {ROOT_PID} cannot be read: Permission denied",)
    source.readings = {ROOT_PID: used(3.0)}
    sample = tree.read(3)
    assert sample is not None
    assert sample.cpu_s == 3.0


def test_a_process_that_ended_is_told_from_one_that_may_not_be_read() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tree = ProcessTree(process.pid)
    assert tree.read(0) is not None
    assert not tree.ended()
    process.communicate(b"\n")
    assert tree.read(1) is None
    assert tree.ended()
    assert tree.faults() == ()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_files_of_linux_are_read_field_by_field(tmp_path: Path) -> None:
    folder = tmp_path / str(ROOT_PID)
    folder.mkdir()
    (folder / "stat").write_text(
        "9 (a ) name) S 1 9 9 0 -1 4194304 100 200 3 4 500 70 20 10 20 0 11 0 1000 99999 512 18446744073709551615\n"
    )
    (folder / "statm").write_text("4000 512 128 1 0 300 0\n")
    (folder / "status").write_text(
        "VmLck:\t 8 kB\nVmHWM:\t 4096 kB\nRssShmem:\t 16 kB\nVmSwap:\t 32 kB\nThreads:\t11\n"
    )
    source = LinuxSource(tmp_path, ticks_per_s=100, page_bytes=4096)
    process = psutil.Process(ROOT_PID)
    reading = source.reading(process)
    assert reading == Reading(512 * 4096, 128 * 4096, 11, Usage(5.7, 100, 3, 0.3, 200, 4))
    assert source.standing(process) == Standing(4096 * 1024, 32 * 1024, 24 * 1024)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_kernels_figures_of_this_process_agree_with_psutils() -> None:
    process = psutil.Process()
    reading, memory = LinuxSource().reading(process), process.memory_info()
    assert abs(reading.resident_bytes - memory.rss) < 0.05 * memory.rss
    assert reading.threads == process.num_threads()
