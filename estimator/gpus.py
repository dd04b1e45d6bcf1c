"""The GPUs of this machine as NVIDIA's driver lists them: the estimator's only user of NVML, and only when asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from estimator.errors import UnknownName

# Both mean that there is none. The harness keeps them in its records, as its notes on GPUs.
NO_GPU_DRIVER = "no NVIDIA driver (libnvidia-ml was not found)"
NO_GPU_LISTED = "the NVIDIA driver lists no GPU"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this machine; `divided` ones (MIG) give their memory to instances. `free_bytes` is of this instant."""

    number: int
    name: str
    total_bytes: int
    free_bytes: int
    divided: bool = False


def gpus_here(numbers: Sequence[int] | None = None) -> tuple[Gpu, ...]:
    """The GPUs of these numbers, which are the driver's; all where none are named.

    Raises UnknownName where there are no such, or where the driver does not answer.
    """
    import pynvml  # here, because nobody else need pay for it

    try:
        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as error:
        raise UnknownName(f"no GPU to ask: {why_no_gpu(error)}") from None
    if not count:
        raise UnknownName(f"no GPU to ask: {NO_GPU_LISTED}")
    wanted = range(count) if numbers is None else numbers
    missing = [number for number in wanted if number >= count]
    if missing:
        listed = "0" if count == 1 else f"0 to {count - 1}"
        raise UnknownName(f"there is no GPU {missing[0]} here: the driver lists {listed}")
    return tuple(_gpu(number) for number in wanted)


def why_no_gpu(error: Any) -> str:
    """What an NVMLError of nvmlInit means, and what to do about it."""
    import pynvml

    if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return NO_GPU_DRIVER
    if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "the NVIDIA driver is not loaded; load its kernel module"
    if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
        return "no permission to ask the NVIDIA driver; give this user access to the nvidia device files"
    return f"NVML does not start: {error}"


def _gpu(number: int) -> Gpu:
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        name = str(pynvml.nvmlDeviceGetName(handle))
        return Gpu(number, name, int(memory.total), int(memory.free), _is_divided(handle))
    except pynvml.NVMLError as error:
        raise UnknownName(f"GPU {number} does not answer: {error}") from None


def _is_divided(handle: Any) -> bool:
    import pynvml

    try:
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
    except pynvml.NVMLError as error:
        if error.value in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND):
            return False
        raise
