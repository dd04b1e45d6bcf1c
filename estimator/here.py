"""`estimator hardware --here`: this machine and its GPUs, with what is free on them now."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.coefficients import find_coefficients
from estimator.errors import UnknownName
from estimator.gpus import Gpu, gpus_here
from estimator.hardware import part_of_gpu
from estimator.machine import this_machine
from estimator.probed import find_probed
from estimator.render import size, wrapped
from estimator.specs import Hardware


@dataclass(frozen=True, slots=True)
class Here:
    """What `hardware --here --json` prints: this machine, its GPUs, the part of the catalogue that each is, if any.

    `note` says why no GPU is listed, "" where some are.
    """

    machine: Hardware
    gpus: tuple[Gpu, ...]
    parts: tuple[str | None, ...]
    note: str


def what_is_here() -> Here:
    """This machine and its GPUs with what is free on them now."""
    machine = this_machine(coefficients=find_coefficients(None), probed=find_probed())
    try:
        gpus = gpus_here()
    except UnknownName as why:
        return Here(machine, (), (), str(why))
    found = (part_of_gpu(gpu.name, gpu.total_bytes) for gpu in gpus)
    return Here(machine, gpus, tuple(None if part is None else part.name for part in found), "")


def here_text(here: Here) -> str:
    """A line for this machine and for each of its GPUs, or why there is none."""
    machine = here.machine
    lines = [_free(machine.name, machine.memory_free_bytes or 0, machine.memory_total_bytes or 0)]
    for gpu, part in zip(here.gpus, here.parts, strict=True):
        lines.append(_free(f"GPU {gpu.number}: {gpu.name}", gpu.free_bytes, gpu.total_bytes))
        known = "not in the catalogue: its rates are unknown" if part is None else f"in the catalogue: {part}"
        lines += wrapped("", known + ("; divided (MIG)" if gpu.divided else ""))
    ask = "ask about them with `predict --gpus all` or `fit --gpus 0`"
    return "\n".join((*lines, *wrapped("", here.note or ask)))


def _free(name: str, free_bytes: int, total_bytes: int) -> str:
    return f"{name}: {size(free_bytes)} of {size(total_bytes)} free now"
