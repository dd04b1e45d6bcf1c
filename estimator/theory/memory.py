"""Where the memory of a serving process goes, by component, and what of it can be evicted."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from estimator.specs import ModelFile, Workload
from estimator.theory.buffers import compute_buffer_bytes, device_compute_bytes, output_buffer_bytes
from estimator.theory.kv_cache import kv_cache_bytes
from estimator.theory.resident import candidate_bytes, reused_heap_bytes, scratch_bytes, touched_compute_bytes
from estimator.theory.weights import host_weight_bytes, mapped_bytes, repacked_bytes


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
        return self.libraries_bytes + max(0, self.weights_bytes - self.repacked_bytes)


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
    """What `devices` GPUs hold, layers split among them; with unified memory the embedding table counts too.

    largest share = ceil((layers + 1) / devices) / (layers + 1) x (weights + KV cache) + compute + output: the head
    counts as a layer, and as one of no more than the others' size, which one more layer makes up for.
    """
    host = 0 if shares_host_memory else host_weight_bytes(file)
    weights, cache = file.weight_bytes - host, kv_cache_bytes(file.model, work)
    compute, output = device_compute_bytes(file.model, work), output_buffer_bytes(file.model, work)
    layers = file.model.layers + 1
    whole_layers = layers if devices == 1 else min(layers, -(-layers // devices) + 1)
    largest = -(-(weights + cache) * whole_layers // layers) + compute + output
    return DeviceNeed(weights, cache, compute * devices, output, host, largest)
