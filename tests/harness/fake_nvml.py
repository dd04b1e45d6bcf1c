"""NVML below its Python binding: an object with the C symbols as methods, put in `pynvml.nvmlLib`.

The binding's own structs, loading and error mapping run. This is the one place of the tests where something is put into
a library, since the binding keeps its handle of the C library in a module variable and has no other door.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pynvml

_FIRST_INSTANCE = 1000


@dataclass
class FakeGpu:
    """A GPU of planted power. `errors` are the codes that single functions answer; `lost_after` calls it is lost."""

    watts: Callable[[float], float] = lambda at_s: 100.0
    joules: Callable[[float], float] = lambda at_s: 100.0 * at_s
    instant: bool = True
    architecture: int = pynvml.NVML_DEVICE_ARCH_HOPPER
    capability: tuple[int, int] = (9, 0)
    mig: bool | None = None
    name: str = "Fake H200"
    total_bytes: int = 141 * 2**30
    used_bytes: int = 6 * 2**30
    processes: dict[int, int] = field(default_factory=dict)
    reasons: int = 0x4 | 0x20
    errors: dict[str, int] = field(default_factory=dict)
    lost_after: int | None = None
    calls: int = 0


class FakeNvml:
    """The driver: GPUs, a clock in seconds, and what each C function answers. Unknown functions do not exist."""

    def __init__(self, *gpus: FakeGpu, clock_s: Callable[[], float] = lambda: 0.0, init: int = 0) -> None:
        self.gpus, self.clock_s, self.init = gpus, clock_s, init
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        answer: Callable[..., int | None] | None = getattr(type(self), f"_{name}", None)
        if answer is None:
            raise AttributeError(name)

        def function(*arguments: Any) -> int:
            self.asked.append(name)
            if name.startswith("nvmlDevice") and "HandleByIndex" not in name and "Count_v2" not in name:
                gpu = self._gpu(arguments[0])
                gpu.calls += 1
                if gpu.lost_after is not None and gpu.calls > gpu.lost_after:
                    return int(pynvml.NVML_ERROR_GPU_IS_LOST)
                if name in gpu.errors:
                    return gpu.errors[name]
                return answer(self, gpu, *arguments[1:]) or 0
            return answer(self, *arguments) or 0

        return function

    def _gpu(self, handle: Any) -> FakeGpu:
        at = (ctypes.cast(handle, ctypes.c_void_p).value or 0) - 1
        return self.gpus[at - _FIRST_INSTANCE if at >= _FIRST_INSTANCE else at]

    def _nvmlInitWithFlags(self, flags: int) -> int:
        return self.init

    def _nvmlSystemGetDriverVersion(self, text: Any, size: Any) -> None:
        text.value = b"580.65.06"

    def _nvmlDeviceGetCount_v2(self, count: Any) -> None:
        count._obj.value = len(self.gpus)

    def _nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> None:
        _point(handle, index.value + 1)

    def _nvmlDeviceGetMaxMigDeviceCount(self, gpu: FakeGpu, count: Any) -> None:
        count._obj.value = 2

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: Any, instance: Any) -> int:
        if index.value:
            return int(pynvml.NVML_ERROR_NOT_FOUND)
        _point(instance, (ctypes.cast(handle, ctypes.c_void_p).value or 0) + _FIRST_INSTANCE)
        return 0

    def _nvmlDeviceGetName(self, gpu: FakeGpu, text: Any, size: Any) -> None:
        text.value = gpu.name.encode()

    def _nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, memory: Any) -> None:
        memory._obj.total, memory._obj.used = gpu.total_bytes, gpu.used_bytes
        memory._obj.free = gpu.total_bytes - gpu.used_bytes

    def _nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu, rates: Any) -> int:
        rates._obj.gpu, rates._obj.memory = 90, 40
        return int(pynvml.NVML_ERROR_NOT_SUPPORTED) if gpu.mig else 0

    def _nvmlDeviceGetFieldValues(self, gpu: FakeGpu, count: Any, values: Any) -> None:
        (value,) = values._obj
        assert value.fieldId == pynvml.NVML_FI_DEV_POWER_INSTANT
        value.nvmlReturn = 0 if gpu.instant else pynvml.NVML_ERROR_NOT_SUPPORTED
        value.valueType = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
        value.value.uiVal = round(gpu.watts(self.clock_s()) * 1e3)

    def _nvmlDeviceGetPowerUsage(self, gpu: FakeGpu, milliwatts: Any) -> None:
        milliwatts._obj.value = round(gpu.watts(self.clock_s()) * 1e3)

    def _nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu, millijoules: Any) -> None:
        millijoules._obj.value = round(gpu.joules(self.clock_s()) * 1e3)

    def _nvmlDeviceGetArchitecture(self, gpu: FakeGpu, architecture: Any) -> None:
        architecture._obj.value = gpu.architecture

    def _nvmlDeviceGetCudaComputeCapability(self, gpu: FakeGpu, major: Any, minor: Any) -> None:
        major._obj.value, minor._obj.value = gpu.capability

    def _nvmlDeviceGetMigMode(self, gpu: FakeGpu, current: Any, pending: Any) -> int:
        current._obj.value = pending._obj.value = int(gpu.mig or False)
        return int(pynvml.NVML_ERROR_NOT_SUPPORTED) if gpu.mig is None else 0

    def _nvmlDeviceGetClockInfo(self, gpu: FakeGpu, kind: Any, megahertz: Any) -> None:
        megahertz._obj.value = 1980 if kind.value == pynvml.NVML_CLOCK_SM else 3201

    def _nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: Any, celsius: Any) -> None:
        celsius._obj.value = 55

    def _nvmlDeviceGetCurrentClocksEventReasons(self, gpu: FakeGpu, reasons: Any) -> None:
        reasons._obj.value = gpu.reasons

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu, reasons: Any) -> None:
        reasons._obj.value = gpu.reasons

    def _nvmlDeviceGetComputeRunningProcesses_v3(self, gpu: FakeGpu, count: Any, processes: Any) -> int:
        if processes is None:
            count._obj.value = len(gpu.processes)
            return int(pynvml.NVML_ERROR_INSUFFICIENT_SIZE) if gpu.processes else 0
        for entry, (pid, size) in zip(processes, gpu.processes.items(), strict=False):
            entry.pid, entry.usedGpuMemory = pid, size
        count._obj.value = len(gpu.processes)
        return 0

    _nvmlDeviceGetGraphicsRunningProcesses_v3 = _nvmlDeviceGetComputeRunningProcesses_v3


def _point(handle: Any, address: int) -> None:
    pointer = ctypes.c_void_p(address)
    ctypes.memmove(ctypes.addressof(handle._obj), ctypes.byref(pointer), ctypes.sizeof(pointer))


@contextmanager
def nvml(library: FakeNvml) -> Iterator[FakeNvml]:
    """The binding speaks to `library` inside the block."""
    before = pynvml.nvmlLib
    pynvml._nvmlGetFunctionPointer_cache.clear()
    pynvml.nvmlLib = library
    try:
        yield library
    finally:
        pynvml.nvmlLib = before
        pynvml._nvmlGetFunctionPointer_cache.clear()
