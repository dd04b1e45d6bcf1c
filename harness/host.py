"""What machine this is, and short probes of what it can do."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
from numpy.typing import NDArray

from estimator.processor import cpu_name
from harness.fingerprint import temperature_c, timer_resolution_s
from harness.record import DISTURBED_SHARE, Host, Probes

_PROBE_BYTES = 128 * 2**20
_MATRIX = 1024
_TRIES = 3

Matrix = NDArray[np.float32]


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
    is no bound for an engine's integer kernels: it places the machine. A BLAS that takes no number of threads
    (`blas_threads`) uses its own. What other work disturbs is tried again, at most twice.
    """
    share, read, multiplied = min(_undisturbed(threads), key=lambda tried: tried[0])
    return Probes(
        read_bytes_per_s=read,
        matmul_flop_per_s=multiplied,
        client_overhead_s=client_overhead_s,
        load_average=psutil.getloadavg()[0],
        steal_share=_steal_share(),
        note=note,
        timer_resolution_s=timer_resolution_s(),
        memory_available_bytes=psutil.virtual_memory().available,
        temperature_c=temperature_c(),
        others_share=share,
    )


def _undisturbed(threads: int) -> Iterator[tuple[float, float, float]]:
    """Share of the CPUs that others took, bytes a second, FLOP a second: tries until one is quiet."""
    for _ in range(_TRIES):
        taken_s, started_s, own_s = _taken_s(), time.perf_counter(), time.process_time()
        read, multiplied = read_bandwidth(threads), matmul_rate(threads)
        others_s = _taken_s() - taken_s - (time.process_time() - own_s)
        share = max(0.0, others_s) / (time.perf_counter() - started_s) / (os.cpu_count() or 1)
        yield share, read, multiplied
        if share <= DISTURBED_SHARE:
            return


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


def matmul_rate(threads: int, product: Callable[[Matrix], object] = lambda matrix: matrix @ matrix) -> float:
    """FLOP per second of an F32 matrix product (BLAS, with `threads` threads if it takes a number; best of 3)."""
    from threadpoolctl import threadpool_limits

    matrix = np.ones((_MATRIX, _MATRIX), dtype=np.float32)
    best = float("inf")
    with threadpool_limits(threads, user_api="blas"):
        for _ in range(3):
            start = time.perf_counter()
            product(matrix)
            best = min(best, time.perf_counter() - start)
    return 2.0 * _MATRIX**3 / best


def blas_threads(threads: int) -> int | None:
    """The threads that numpy's BLAS uses when it is told `threads`; None where it takes no number (Apple's)."""
    from threadpoolctl import threadpool_info, threadpool_limits

    with threadpool_limits(threads, user_api="blas"):
        told = [int(library["num_threads"]) for library in threadpool_info() if library["user_api"] == "blas"]
    return max(told, default=None)


def _taken_s() -> float:
    """CPU seconds that all processes took since boot, and those that the hypervisor gave to other guests."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


def _steal_share() -> float | None:
    """Share of CPU time that the hypervisor gave to others since boot; None where the system keeps none."""
    times = psutil.cpu_times()
    steal = getattr(times, "steal", None)
    return None if steal is None else float(steal / sum(times))
