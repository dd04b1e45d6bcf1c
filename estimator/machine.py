"""This machine as the estimator sees it: the only module that looks at it, and the only user of psutil.

Memory is read from the system. Bandwidth and compute rate are never guessed: they are stated on the
command line, or were probed when the coefficients were measured, or are unknown.
"""

from __future__ import annotations

import re

from estimator.coefficients import Coefficients
from estimator.container import container_free_bytes
from estimator.errors import EstimatorError
from estimator.processor import cpu_name
from estimator.specs import Hardware

_PREFIXES = {
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
# A million times the fastest part of the catalogue.
_MOST_PER_S = 1e22


def this_machine(
    bandwidth_bytes_per_s: float | None = None,
    compute_flop_per_s: float | None = None,
    coefficients: Coefficients | None = None,
) -> Hardware:
    """This machine, with rates as stated, else as probed with `coefficients` on the same CPU, else unknown."""
    import psutil  # here, because `models` and `--help` need not pay for it

    memory = psutil.virtual_memory()
    cpu = cpu_name()
    source = "stated" if bandwidth_bytes_per_s or compute_flop_per_s else "unknown"
    if coefficients is not None and coefficients.machine.cpu == cpu:
        probed = coefficients.machine
        if source == "unknown" and (probed.bandwidth_bytes_per_s or probed.compute_flop_per_s):
            source = "probed when the coefficients were measured"
        bandwidth_bytes_per_s = bandwidth_bytes_per_s or probed.bandwidth_bytes_per_s
        compute_flop_per_s = compute_flop_per_s or probed.compute_flop_per_s
    return Hardware(cpu, memory.total, free_bytes(), bandwidth_bytes_per_s, compute_flop_per_s, source)


def free_bytes() -> int:
    """Memory that is free now, or can be freed without swapping: the system's, or less if a container has a limit."""
    import psutil

    available = int(psutil.virtual_memory().available)
    limited = container_free_bytes()
    return available if limited is None else min(available, limited)


def size_bytes(text: str) -> int:
    """ "64GiB" -> 2^36. Raises EstimatorError."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([kMGT]i?)B?\s*", text)
    try:
        value = float(found.group(1)) * _PREFIXES[found.group(2)] if found else 0.0
    except (ValueError, KeyError):
        value = 0.0
    if not 1 <= value < 2**60:
        raise EstimatorError(f"cannot read the size {text!r}: write it like 64GiB")
    return int(value)


def identity() -> tuple[str, int, int]:
    """CPU, physical cores and bytes of memory of this machine: what coefficients are tied to."""
    import psutil

    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return cpu_name(), cores, psutil.virtual_memory().total


def rate_per_s(text: str, unit: str) -> float:
    """ "25GB/s" -> 25e9 (unit "B/s"), "200 GFLOP/s" -> 200e9 (unit "FLOP/s"). Raises EstimatorError."""
    found = re.fullmatch(r"\s*([\d.]+(?:[eE][+-]?\d+)?)\s*([kMGTP]i?)?" + f"(?:{unit})?\\s*", text)
    try:
        value = float(found.group(1)) * _PREFIXES[found.group(2) or ""] if found else 0.0
    except (ValueError, KeyError):
        value = 0.0
    if not 1 <= value <= _MOST_PER_S:
        raise EstimatorError(f"cannot read the rate {text!r}: write it like 25G{unit}")
    return value
