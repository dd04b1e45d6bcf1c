"""Upper bounds of memory: what a "fits" stands on, so that it is never false. Never an estimate.

Each allowance was seen to be enough over every dry run and every measured process that is stored
(results/reference; `python -m tests.benchmarks.fits` counts), those among them that it was not chosen by.
"""

from __future__ import annotations

from dataclasses import replace

from estimator.specs import ModelFile, Workload
from estimator.theory.buffers import compute_buffer_bytes, micro_batch_rows, most_rows
from estimator.theory.columns import larger
from estimator.theory.memory import MemoryNeed, memory_need
from estimator.theory.resident import candidate_bytes, scratch_bytes, touched_compute_bytes
from estimator.theory.split import host_share_bytes
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES

MIB = 2**20
_PLAN_BYTES = 64 * MIB
# The reference's fit (12.7 MB, 227 B, 10.2 kB, 4.4 kB; libraries 21 MB), and a quarter more.
_PROCESS_BYTES = 16e6
_ENTRY_BYTES = 284.0
_TENSOR_BYTES = 12_800.0
_ROW_BYTES = 5_600.0
LIBRARIES_BYTES = 64 * MIB


def most_compute_bytes(file: ModelFile, work: Workload) -> int:
    """max(compute buffer, what is touched of it) + 4·n·hidden + 64 MiB.

    The engine's allocator leaves holes: 30 MiB was the most that any of 987 dry runs took over the formula, one of
    300 shapes drawn afterwards took 38 MiB over it with a row of activations (4·n·hidden). n: `most_rows`.
    """
    rows = most_rows(work)
    row = 4 * rows * file.model.hidden
    planned = larger(compute_buffer_bytes(file.model, work, rows), touched_compute_bytes(file.model, work))
    return planned + row + _PLAN_BYTES


def most_runtime_bytes(file: ModelFile, work: Workload) -> float:
    """What a process holds beside its buffers: 16 MB + 284 B x vocabulary + 12.8 kB x tensors + 5.6 kB x rows

    + scratch + candidates of each sequence. Source: a quarter more than the fit to 52 processes (DESIGN.md).
    """
    tensors = sum(group.tensors for group in file.groups)
    process = _PROCESS_BYTES + _ENTRY_BYTES * file.model.vocabulary + _TENSOR_BYTES * tensors
    process = process + _ROW_BYTES * most_rows(work)
    scratch = scratch_bytes(file.model, work) * most_rows(work) / micro_batch_rows(work)
    return process + scratch + work.concurrency * candidate_bytes(file.model)


def bounded_need(
    file: ModelFile,
    work: Workload,
    repacked_types: frozenset[str],
    runtime_bytes: float | None = None,
    libraries_bytes: float | None = None,
) -> MemoryNeed:
    """The most that a process on the CPU takes, its own part as given, else by the allowances."""
    runtime = most_runtime_bytes(file, work) if runtime_bytes is None else runtime_bytes
    libraries = LIBRARIES_BYTES if libraries_bytes is None else libraries_bytes
    whole = memory_need(file, work, repacked_types, runtime, libraries)
    return replace(whole, compute_bytes=most_compute_bytes(file, work))


def bounded_host_need(file: ModelFile, work: Workload) -> MemoryNeed:
    """The most that the host holds of a model that is on a GPU in part or whole: its layers, cache, buffers, process.

    Repacked copies count as far as its matrices could have one: then they are read, and not the file's pages.
    """
    whole = bounded_need(file, work, X86_AVX2_REPACKED_TYPES)
    weights, cache = host_share_bytes(file, work)
    return replace(
        whole, weights_bytes=weights, repacked_bytes=min(weights, whole.repacked_bytes), kv_cache_bytes=cache
    )
