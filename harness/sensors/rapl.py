"""CPU energy: the RAPL counters that Linux shows under powercap (kernel documentation, power/powercap).

Packages and their DRAM are read: `core` and `uncore` are parts of a package, `psys` and `intel-rapl-mmio` count it
again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass
class _Zone:
    folder: Path
    name: str
    range_uj: int
    last_uj: int
    used_uj: int = 0

    def read_uj(self) -> int:
        """Microjoules since the first read; the counter begins again after `max_energy_range_uj`. Raises OSError."""
        now_uj = _number(self.folder / "energy_uj")
        step = now_uj - self.last_uj
        self.used_uj += step if step >= 0 else step + self.range_uj
        self.last_uj = now_uj
        return self.used_uj


class Rapl:
    """The energy counters of this machine's CPUs under `root`. `note` says why there are none, and what to do."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self.note = ""
        self._faults: list[str] = []
        self._told: set[str] = set()
        self._zones: list[_Zone] = []
        folders = [folder for folder in sorted(root.glob("intel-rapl:*")) if _counts(folder)]
        if not folders:
            system = "" if sys.platform == "linux" else f"; {sys.platform} has no powercap"
            self.note = f"no RAPL counters in {root} (virtual machines rarely have them){system}"
            return
        try:
            self._zones = [_opened(folder, root) for folder in folders]
        except OSError as error:
            self.note = (
                f"cannot read {error.filename}: {error.strerror}; an administrator can allow it with "
                f"`chmod a+r {root}/intel-rapl:*/energy_uj`"
            )
        except ValueError as error:
            self.note = f"a RAPL counter in {root} is no number: {error}"

    @property
    def zones(self) -> tuple[str, ...]:
        """What is counted: package-0, package-0 dram, ..."""
        return tuple(zone.name for zone in self._zones)

    def joules(self) -> float | None:
        """Joules of all zones since the first read; None where one could not be read: a part is not the sum."""
        if not self._zones:
            return None
        try:
            return sum(zone.read_uj() for zone in self._zones) / 1e6
        except (OSError, ValueError) as error:
            fault = f"CPU energy: {error.strerror if isinstance(error, OSError) else error}"
            if fault not in self._told:
                self._told.add(fault)
                self._faults.append(fault)
            return None

    def faults(self) -> tuple[str, ...]:
        """What went wrong since the last call, each thing once."""
        found = tuple(self._faults)
        self._faults.clear()
        return found


def _counts(folder: Path) -> bool:
    """Whether a zone is a package or its DRAM."""
    try:
        name = (folder / "name").read_text("ascii").strip()
    except OSError:
        return False
    return name.startswith("package") or name == "dram"


def _opened(folder: Path, root: Path) -> _Zone:
    name = (folder / "name").read_text("ascii").strip()
    if name == "dram":
        above = root / folder.name.rpartition(":")[0] / "name"
        name = f"{above.read_text('ascii').strip()} dram"
    return _Zone(folder, name, _number(folder / "max_energy_range_uj"), _number(folder / "energy_uj"))


def _number(file: Path) -> int:
    return int(file.read_text("ascii"))
