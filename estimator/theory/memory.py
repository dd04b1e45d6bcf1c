"""Where the memory of a serving process goes, by component, and what of it can be evicted."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from estimator.specs import Model, ModelFile, Workload
from estimator.theory.buffers import (
    compute_buffer_bytes,
    device_compute_bytes,
    micro_batch_rows,
    most_rows,
    output_buffer_bytes,
    pipeline_bytes,
)
from estimator.theory.columns import larger
from estimator.theory.kv_cache import kv_cache_bytes
from estimator.theory.resident import candidate_bytes, reused_heap_bytes, scratch_bytes, touched_compute_bytes
from estimator.theory.split import (
    device_share_bytes,
    fullest_layers_bytes,
    fullest_rows_bytes,
    host_share_bytes,
    shares_by_device,
    streamed_bytes,
)
from estimator.theory.weights import mapped_bytes, repacked_bytes


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes by component, named as the engine names its buffers where it does.

    `weights` and `libraries` are file-backed: the kernel may evict their pages. Everything else is
    anonymous and stays. `runtime` and `libraries` are what the engine's own account leaves out; they
    come from calibration and are 0 in pure theory.
    """

    weights_bytes: int
    repacked_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    output_bytes: int
    runtime_bytes: int = 0
    libraries_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Resident when every page has been touched: Σ components."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def anonymous_bytes(self) -> int:
        """What cannot be evicted (without swap): repacked + KV cache + compute + output + runtime."""
        return self.total_bytes - self.file_bytes

    @property
    def file_bytes(self) -> int:
        """What is backed by files: weights + libraries."""
        return self.weights_bytes + self.libraries_bytes

    @property
    def hot_file_bytes(self) -> int:
        """File-backed pages that every token reads again: libraries, and weights that were not repacked."""
        return self.libraries_bytes + larger(0, self.weights_bytes - self.repacked_bytes)


def memory_need(
    file: ModelFile,
    work: Workload,
    repacked_types: frozenset[str],
    runtime_bytes: float = 0.0,
    libraries_bytes: float = 0.0,
) -> MemoryNeed:
    """What serving `work` from `file` takes: the engine's buffers by theory, the rest as given."""
    return MemoryNeed(
        weights_bytes=mapped_bytes(file),
        repacked_bytes=repacked_bytes(file, repacked_types),
        kv_cache_bytes=kv_cache_bytes(file.model, work),
        compute_bytes=compute_buffer_bytes(file.model, work),
        output_bytes=output_buffer_bytes(file.model, work),
        runtime_bytes=round(runtime_bytes),
        libraries_bytes=round(libraries_bytes),
    )


def resident_need(
    file: ModelFile,
    work: Workload,
    repacked_types: frozenset[str],
    fitted_bytes: float = 0.0,
    libraries_bytes: float = 0.0,
) -> MemoryNeed:
    """What a process that serves `work` from `file` really holds: `memory_need`, as far as pages are touched.

    compute = what micro-batches write of it; runtime = fitted + scratch + sequences x candidates - reused heap.
    """
    runtime = (
        fitted_bytes
        + scratch_bytes(file.model, work)
        + work.concurrency * candidate_bytes(file.model)
        - reused_heap_bytes(file.model, work)
    )
    whole = memory_need(file, work, repacked_types, runtime, libraries_bytes)
    return replace(whole, compute_bytes=touched_compute_bytes(file.model, work))


@dataclass(frozen=True, slots=True)
class DeviceNeed:
    """Bytes in the memory of GPUs, all layers on them: nothing of it can be evicted.

    `host_weights` stay in the memory of the CPU and are not in the total. `largest_share` is what the fullest of
    several devices holds of weights and cache (layers are whole) and buffers (each has its own).
    """

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    output_bytes: int
    host_weights_bytes: int
    largest_share_bytes: int

    @property
    def total_bytes(self) -> int:
        """weights + KV cache + compute + output, of all devices together."""
        return self.weights_bytes + self.kv_cache_bytes + self.compute_bytes + self.output_bytes


def device_need(file: ModelFile, work: Workload, devices: int, shares_host_memory: bool) -> DeviceNeed:
    """What `devices` GPUs hold of the layers that are theirs; with unified memory the embedding table counts too.

    largest share = weights and KV cache of the fullest (split.py) + compute + output, however rows are rounded; compute
    has room for the largest layer of the host that is copied over for a long prompt.
    """
    host = 0 if shares_host_memory else host_share_bytes(file, work)[0]
    weights, cache = device_share_bytes(file, work)
    if shares_host_memory:
        weights, cache = file.weight_bytes, kv_cache_bytes(file.model, work)
    compute, most = (
        device_buffer_bytes(file.model, work, devices, rows) + streamed_bytes(file, work)
        for rows in (micro_batch_rows(work), most_rows(work))
    )
    output = output_buffer_bytes(file.model, work)
    fullest = weights + cache if shares_host_memory else _fullest_bytes(file, work, devices)
    return DeviceNeed(weights, cache, compute * devices, output, host, fullest + most + output)


def device_buffer_bytes(model: Model, work: Workload, devices: int, rows: int) -> int:
    """The compute buffer of each of `devices` for `rows` of a micro-batch, with its copies of inputs among several."""
    return device_compute_bytes(model, work, rows) + (pipeline_bytes(model, work, rows) if devices > 1 else 0)


def shares_of_devices(file: ModelFile, work: Workload, devices: int) -> tuple[int, ...]:
    """What each of `devices` GPUs alike holds: its layers, or its part of every tensor, with buffers of its own."""
    buffers = device_need(file, work, devices, shares_host_memory=False)
    own = buffers.compute_bytes // devices + buffers.output_bytes
    if work.split == "layer":
        return tuple(share + own for share in shares_by_device(file, work, devices))
    first = fullest_rows_bytes(file, work, devices)
    return (first + own, *[first - buffers.kv_cache_bytes + own] * (devices - 1))


def _fullest_bytes(file: ModelFile, work: Workload, devices: int) -> int:
    return (fullest_rows_bytes if work.split == "tensor" else fullest_layers_bytes)(file, work, devices)
