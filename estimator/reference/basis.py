"""What an answer of the reference stands on, in words: which measurements, how many, how far off elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from estimator.reference.file import HeldOutMachines, MovedErrors, Reference
from estimator.reference.machine import GROUPS, Machine


def basis_of(reference: Reference, machine: Machine, own: Mapping[str, int]) -> str:
    """One sentence; `own` has for each phase that was answered the number of the machine's own cells."""
    fits = reference.groups[GROUPS[machine.back_end]]
    oldest, newest = (int(year) for year in reference.build_years[machine.back_end])
    errors = [f"{phase} off by {_error(fits[phase].held_out[machine.back_end])}" for phase in own]
    measured = machine.name in reference.machines[machine.back_end]
    among = "it is among them" if measured else "it is not among them"
    published = (
        f"the reference fit to published llama.cpp speeds of {len(reference.machines[machine.back_end])} machines with "
        f"{machine.back_end} ({among}), builds of {oldest} to {newest}; with each machine left out, {'; '.join(errors)}"
    )
    group = GROUPS[machine.back_end]
    lines = {phase: reference.moving[phase].held_out.get(group, ()) for phase in own}
    return "; ".join([published, *(_moved(lines[phase], phase, cells) for phase, cells in own.items() if cells)])


def _error(held_out: HeldOutMachines) -> str:
    return (
        f"{held_out.mean:.0%} on average, {held_out.median:.0%} at the median "
        f"({held_out.rows} rows of {held_out.machines} machines)"
    )


def _moved(lines: Sequence[MovedErrors], phase: str, cells: int) -> str:
    """How many own cells moved `phase`, and what as many have done on machines left out."""
    whole = f"{phase} moved by {cells} cell{'' if cells == 1 else 's'} measured on it"
    alike = [entry for entry in lines if entry.cells is not None and entry.cells <= cells]
    return f"{whole} ({_learnt(alike[-1])})" if alike else whole


def _learnt(found: MovedErrors) -> str:
    held = "" if found.coverage is None else f"; their intervals held {found.coverage:.0%}"
    return (
        f"as {found.cells} of their own cells moved {found.machines} machines left out, asked for models or types that "
        f"none of these had, from {found.unmoved:.0%} to {found.mean:.0%} off on average{held}"
    )
