"""What machine this is, and short probes of what it can do."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil

from estimator.processor import cpu_name
from harness.fingerprint import temperature_c, timer_resolution_s
from harness.record import Host, Probes

_PROBE_BYTES = 128 * 2**20
_MATRIX = 1024


def this_host() -> Host:
    """Identity of this machine."""
    logical = os.cpu_count() or 1
    return Host(
        cpu=cpu_name(),
        physical_cores=psutil.cpu_count(logical=False) or logical,
        logical_cores=logical,
        memory_total_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def probes(threads: int, client_overhead_s: float | None = None, note: str = "") -> Probes:
    """Read bandwidth and F32 matrix-product rate with `threads` threads, load and steal: about half a second.

    Both are the best of several tries, as capabilities, not as loads. The F32 product by numpy's BLAS
    is no bound for an engine's integer kernels: it places the machine.
    """
    return Probes(
        read_bytes_per_s=read_bandwidth(threads),
        matmul_flop_per_s=matmul_rate(),
        client_overhead_s=client_overhead_s,
        load_average=psutil.getloadavg()[0],
        steal_share=_steal_share(),
        note=note,
        timer_resolution_s=timer_resolution_s(),
        memory_available_bytes=psutil.virtual_memory().available,
        temperature_c=temperature_c(),
    )


def read_bandwidth(threads: int) -> float:
    """Bytes per second that `threads` threads read from memory (sums over disjoint slices, best of 5)."""
    data = np.ones(_PROBE_BYTES // 8, dtype=np.float64)
    slices = np.array_split(data, threads)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(np.sum, slices))
            best = min(best, time.perf_counter() - start)
    return data.nbytes / best


def matmul_rate() -> float:
    """FLOP per second of an F32 matrix product (BLAS, its own threads, best of 3)."""
    matrix = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2.0 * _MATRIX**3 / best


def _steal_share() -> float | None:
    """Share of CPU time that the hypervisor gave to others since boot; None where the system keeps none."""
    times = psutil.cpu_times()
    steal = getattr(times, "steal", None)
    return None if steal is None else float(steal / sum(times))
