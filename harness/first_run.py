"""What a run without options measures: the stored plan for machines of this speed and memory. Pure but for reading it.

The plans are files that `harness run --plan` takes, made by `calibration plan` (`make plans`) for classes of machines:
2x-10GiB.toml is for one twice as fast as the reference with 10 GiB of memory to spare.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from estimator.catalog import find_mixture, find_model
from harness.plan import Plan, read_plan
from harness.record import Probes
from harness.weights.store import Store

PLANS = Path(__file__).parent / "data" / "plans"
# What the probes said of the reference, the machine of the shipped prior: medians over its 52 runs. One run's probes
# are compared with them, so not their best.
REFERENCE_READ_BYTES_PER_S, REFERENCE_MATMUL_FLOP_PER_S = 25.4e9, 146e9
_CLASS = re.compile(r"([\d.]+)x-([\d.]+)GiB")


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan for machines so many times as fast as the reference, whose model files this memory holds one at a time."""

    speed: float
    memory_bytes: int
    plan: Plan


def stored_plans(folder: Path = PLANS) -> list[StoredPlan]:
    """Every stored plan. Raises HarnessError for one that cannot be read."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        named = _CLASS.fullmatch(path.stem)
        assert named is not None, path
        found.append(StoredPlan(float(named[1]), round(float(named[2]) * 2**30), read_plan(path)))
    return found


def machine_speed(measured: Probes) -> float | None:
    """How many times as fast as the reference a machine is: 2 / (1 / reading + 1 / multiplying), each over its.

    As if half of the time went into reading memory and half into products. None where a probe is missing.
    """
    read, multiplied = measured.read_bytes_per_s, measured.matmul_flop_per_s
    if not read or not multiplied:
        return None
    return 2 / (REFERENCE_READ_BYTES_PER_S / read + REFERENCE_MATMUL_FLOP_PER_S / multiplied)


def chosen(
    plans: Sequence[StoredPlan], speed: float, free_bytes: int, lacking_bytes: Callable[[Plan], int]
) -> StoredPlan | None:
    """Of the plans that fit memory and disk those for the most memory, of them the one for the nearest speed by ratio.

    `lacking_bytes` of disk keep a plan's model files from being built. None where no plan fits.
    """
    fitting = [entry for entry in plans if entry.memory_bytes <= free_bytes]
    for memory_bytes in sorted({entry.memory_bytes for entry in fitting}, reverse=True):
        alike = [entry for entry in fitting if entry.memory_bytes == memory_bytes]
        nearest = min(alike, key=lambda entry: abs(math.log(entry.speed / speed)))
        if not lacking_bytes(nearest.plan):
            return nearest
    return None


def first_plan(
    measured: Probes, free_bytes: int, store: Store, plans: Sequence[StoredPlan] | None = None
) -> tuple[Plan | None, str]:
    """The stored plan for this machine, or None, and a line that says which and why. Raises HarnessError."""
    speed = machine_speed(measured)
    if speed is None:
        return None, f"no stored plan: how fast this machine is could not be probed ({measured.note})"
    listed = stored_plans() if plans is None else plans
    found = chosen(listed, speed, free_bytes, lambda plan: store.lacking_bytes(_new_bytes(plan, store)))
    if found is None:
        least = min(listed, key=lambda entry: (entry.memory_bytes, _new_bytes(entry.plan, store)))
        return None, (
            f"no stored plan fits: the least takes {least.memory_bytes / 2**30:g} GiB of memory and "
            f"{_new_bytes(least.plan, store) / 1e9:.1f} GB of disk, and {free_bytes / 2**30:.1f} GiB and "
            f"{max(0, store.room_bytes()) / 1e9:.1f} GB are free"
        )
    plan, new = found.plan, _new_bytes(found.plan, store)
    return plan, (
        f"planned: {sum(len(part.shapes) for part in plan.parts)} cells of {len(plan.parts)} model files, for machines "
        f"{found.speed:g} times as fast as the reference (the probes say {speed:.2g}) with "
        f"{found.memory_bytes / 2**30:g} GiB of memory ({free_bytes / 2**30:.1f} are free); {new / 1e9:.1f} GB of them "
        f"to build ({max(0, store.room_bytes()) / 1e9:.1f} GB of disk are free)"
    )


def _new_bytes(plan: Plan, store: Store) -> int:
    """What the model files of the parts take of the disk that are not there yet."""
    return sum(store.new_bytes(find_model(part.model), find_mixture(part.quant)) for part in plan.parts)
