"""What kind of machine it is, from files of ours; the harness's own overhead, kept and measured again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from harness.errors import EngineFailure
from harness.fingerprint import temperature_c, this_machine, timer_resolution_s
from harness.overhead import instant_ttft_s, overhead
from harness.record import Host
from harness.samples import PowerSources

HOST = Host("Test CPU", 2, 2, 8 * 2**30, "Linux", "3.11")


def machine_files(root: Path) -> Path:
    files = {
        "proc/cpuinfo": "model name\t: X\nflags\t\t: fpu sse4_2 avx avx2 hypervisor avx512_vnni\n",
        "sys/class/dmi/id/sys_vendor": "Some Cloud\n",
        "sys/devices/system/node/node0/meminfo": "",
        "sys/devices/system/node/node1/meminfo": "",
    }
    for core, package in ((0, 0), (1, 0), (2, 1)):
        files[f"sys/devices/system/cpu/cpu{core}/topology/physical_package_id"] = f"{package}\n"
        files[f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"] = "powersave\n"
        files[f"sys/devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq"] = "3400000\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_machine_is_told_by_flags_sockets_nodes_governor_and_who_virtualises_it(tmp_path: Path) -> None:
    found = this_machine(PowerSources(gpu_note="no driver"), machine_files(tmp_path), linux=True)
    assert found.flags == ("sse4_2", "avx", "avx2", "avx512_vnni")
    assert (found.sockets, found.numa_nodes, found.governor, found.max_hz) == (2, 2, "powersave", 3.4e9)
    assert found.virtualisation == "Some Cloud"
    assert (found.gpus, found.gpu_note) == ((), "no driver")


def test_what_the_system_does_not_tell_is_unknown(tmp_path: Path) -> None:
    found = this_machine(PowerSources(), tmp_path, linux=True)
    assert (found.sockets, found.numa_nodes, found.governor, found.max_hz, found.virtualisation) == (None,) * 5


def test_a_cpu_without_a_hypervisor_is_bare(tmp_path: Path) -> None:
    root = machine_files(tmp_path)
    (root / "proc/cpuinfo").write_text("flags : avx\n")
    assert this_machine(PowerSources(), root, linux=True).virtualisation == "none"


def test_the_clocks_smallest_step_is_found() -> None:
    ticks = iter(range(10**6))
    assert timer_resolution_s(lambda: next(ticks) // 3 * 50) == pytest.approx(50e-9)


def test_a_temperature_is_a_number_or_unknown() -> None:
    found = temperature_c()
    assert found is None or 0 < found < 150


def test_the_overhead_is_measured_once_for_a_machine_and_again_when_asked(tmp_path: Path) -> None:
    values = iter([0.001, 0.002])

    async def measure() -> float:
        return next(values)

    async def thrice() -> list[float | None]:
        asked = [await overhead(HOST, tmp_path, measure, fresh) for fresh in (False, False, True)]
        return [found.seconds for found in asked]

    assert asyncio.run(thrice()) == [0.001, 0.001, 0.002]


def test_an_overhead_that_cannot_be_measured_is_unknown_with_the_reason(tmp_path: Path) -> None:
    async def measure() -> float:
        raise EngineFailure("no port is free")

    found = asyncio.run(overhead(HOST, tmp_path, measure))
    assert found.seconds is None
    assert "was not measured: no port is free" in found.note


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="loopback timing")
def test_an_instant_server_answers_within_a_tenth_of_a_second() -> None:
    assert 0 < asyncio.run(instant_ttft_s(5)) < 0.1
