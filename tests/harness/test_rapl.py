"""RAPL counters in a folder of ours that looks like powercap."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.sensors.rapl import Rapl


def zone(root: Path, folder: str, name: str, energy_uj: int, range_uj: int = 262_143_328_850) -> Path:
    """A zone; the path of its counter."""
    place = root / folder
    place.mkdir()
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


@pytest.fixture
def counters(tmp_path: Path) -> list[Path]:
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl:1", "psys", 1)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1)
    return [
        zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000),
        zone(tmp_path, "intel-rapl:0:1", "dram", 1_000_000, range_uj=65_000_000),
    ]


def test_packages_and_their_memory_are_counted_and_nothing_twice(tmp_path: Path, counters: list[Path]) -> None:
    rapl = Rapl(tmp_path)
    assert rapl.zones == ("package-0", "package-0 dram")
    counters[0].write_text("17000000\n")
    counters[1].write_text("1500000\n")
    assert rapl.joules() == pytest.approx(12.5)


def test_a_counter_that_begins_again_goes_on_in_the_sum(tmp_path: Path, counters: list[Path]) -> None:
    rapl = Rapl(tmp_path)
    counters[1].write_text("64000000\n")
    assert rapl.joules() == pytest.approx(63.0)
    counters[1].write_text("2000000\n")
    assert rapl.joules() == pytest.approx(66.0)
    counters[1].write_text("4000000\n")
    assert rapl.joules() == pytest.approx(68.0)


def test_a_machine_without_counters_measures_nothing_and_says_so(tmp_path: Path) -> None:
    rapl = Rapl(tmp_path / "none")
    assert (rapl.zones, rapl.joules()) == ((), None)
    assert "no RAPL counters" in rapl.note


def test_a_counter_that_may_not_be_read_is_said_with_what_to_do(tmp_path: Path, counters: list[Path]) -> None:
    # A folder in place of the file cannot be read by anybody, the superuser included.
    counters[0].unlink()
    counters[0].mkdir()
    rapl = Rapl(tmp_path)
    assert (rapl.zones, rapl.joules()) == ((), None)
    assert f"chmod a+r {tmp_path}" in rapl.note


def test_a_counter_that_vanishes_is_one_fault_and_unknown_and_not_the_sum_of_the_rest(
    tmp_path: Path, counters: list[Path]
) -> None:
    rapl = Rapl(tmp_path)
    counters[1].unlink()
    assert [rapl.joules(), rapl.joules()] == [None, None]
    assert rapl.faults() == ("CPU energy: No such file or directory",)
    assert rapl.faults() == ()
