"""This machine as the estimator sees it: the only module that looks at it, and the only user of psutil.

Memory is read from the system. Bandwidth and compute rate are never guessed: they are stated on the
command line, or were probed when the coefficients were measured or by `harness doctor`, or are unknown.
"""

from __future__ import annotations

import re

from estimator.coefficients import Coefficients
from estimator.container import memory_free_bytes
from estimator.errors import EstimatorError
from estimator.probed import MOST_PER_S, Probed
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
_BY_DOCTOR = "measured by `harness doctor`"
_BY_PRODUCT = "prefill by the rate of an F32 matrix product; engines that multiply quants in int8 may exceed it"


def this_machine(
    bandwidth_bytes_per_s: float | None = None,
    compute_flop_per_s: float | None = None,
    coefficients: Coefficients | None = None,
    probed: Probed | None = None,
) -> Hardware:
    """This machine; rates as stated, else probed with `coefficients` on this CPU, else as `probed`, else unknown."""
    cpu, cores, memory_bytes = identity()
    known: list[tuple[str, float | None, float | None]] = [("stated", bandwidth_bytes_per_s, compute_flop_per_s)]
    if coefficients is not None and coefficients.machine.cpu == cpu:
        at_fit = coefficients.machine
        words = "probed when the coefficients were measured"
        known.append((words, at_fit.bandwidth_bytes_per_s, at_fit.compute_flop_per_s))
    if probed is not None and probed.is_of(cpu, cores):
        words = f"{_BY_DOCTOR}, {probed.probed_at}"
        known.append((words, probed.read_bytes_per_s, probed.matmul_flop_per_s))
    bandwidth = next(((rate, words) for words, rate, _ in known if rate), (None, ""))
    compute = next(((rate, words) for words, _, rate in known if rate), (None, ""))
    sources = dict.fromkeys(words for _, words in (bandwidth, compute) if words)
    source = "; ".join(sources) or "unknown"
    assumed = (_BY_PRODUCT,) if compute[1].startswith(_BY_DOCTOR) else ()
    return Hardware(cpu, memory_bytes, memory_free_bytes(), bandwidth[0], compute[0], source, assumptions=assumed)


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
    if not 1 <= value <= MOST_PER_S:
        raise EstimatorError(f"cannot read the rate {text!r}: write it like 25G{unit}")
    return value
