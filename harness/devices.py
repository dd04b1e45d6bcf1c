"""Which GPUs an engine uses. Pure: from samples alone; whoever asks of GPUs asks here, so that all get one answer."""

from __future__ import annotations

from collections.abc import Iterable

from harness.samples import Sample


def holding_gpus(samples: Iterable[Sample]) -> set[int]:
    """The GPUs that hold memory of the sampled processes, as their driver says."""
    return {state.device for sample in samples for state in sample.gpu_states if state.process_bytes}


def used_gpus(holding: set[int], there: set[int], on_cpu: bool) -> set[int]:
    """The GPUs that an engine uses, of those that are `there`: those that hold memory of it through the whole record.

    Where none lists it (the driver knows a container's process by another number) all, unless it computes on the CPU.
    """
    return holding & there or (set() if on_cpu else there)
