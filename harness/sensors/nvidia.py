"""The NVIDIA sensor: what NVML says of each GPU, and what it does not say.

Names are those of the NVML API reference. An answer NOT_SUPPORTED is recorded as unknown (None), never as 0, and is
not asked for again; a refused or lost device is a fault, told once, and the run goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import Any, Literal, TypeVar

import pynvml

from estimator.gpus import NO_GPU_LISTED, why_no_gpu
from harness.samples import Gpu, GpuPower, GpuState

T = TypeVar("T")

_ABSENT = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
_GONE = (
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
)
# nvmlClocksEventReasons in words, by bit.
_REASONS = (
    "idle",
    "application clocks",
    "software power cap",
    "hardware slowdown",
    "sync boost",
    "software thermal slowdown",
    "hardware thermal slowdown",
    "hardware power brake",
    "display clocks",
)
_GA100 = (8, 0)
_VALUE_FIELDS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}


class Gpus:
    """All GPUs of the driver. `note` says why there are none."""

    def __init__(self) -> None:
        self._devices: list[_Device] = []
        self._faults: list[str] = []
        self.note = ""
        try:
            pynvml.nvmlInit()
            driver = str(pynvml.nvmlSystemGetDriverVersion())
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            self.note = why_no_gpu(error)
            return
        for device in range(count):
            try:
                self._devices.append(_Device(device, pynvml.nvmlDeviceGetHandleByIndex(device), driver, self._faults))
            except pynvml.NVMLError as error:
                self._faults.append(f"GPU {device}: {error}")
        if not self._devices:
            self.note = "; ".join(self._faults) or NO_GPU_LISTED

    @property
    def facts(self) -> tuple[Gpu, ...]:
        """Each GPU as the driver describes it."""
        return tuple(device.facts for device in self._devices)

    def power(self) -> tuple[GpuPower, ...]:
        """Power in watts and energy in joules of each GPU, now."""
        return tuple(device.power() for device in self._devices)

    def states(self, pids: Collection[int]) -> tuple[GpuState, ...]:
        """The slow readings of each GPU; `pids` are the processes whose memory is asked for."""
        return tuple(device.state(pids) for device in self._devices)

    def faults(self) -> tuple[str, ...]:
        """What went wrong since the last call; each thing is said once."""
        found = tuple(self._faults)
        self._faults.clear()
        return found


class _Device:
    """One GPU, asked so that no answer ends the run."""

    def __init__(self, device: int, handle: Any, driver: str, faults: list[str]) -> None:
        self._device, self._handle, self._faults = device, handle, faults
        self._absent: set[str] = set()
        self._told: set[tuple[str, int]] = set()
        self._gone = False
        self._mig = self._is_mig()
        self._watts: Callable[[], float | None] = lambda: None
        power = self._choose_power()
        memory = self._ask("memory", lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        self.facts = Gpu(
            device=device,
            name=self._ask("name", lambda: str(pynvml.nvmlDeviceGetName(handle))) or "unknown",
            driver=driver,
            memory_bytes=None if memory is None else int(memory.total),
            mig=self._mig,
            power=power,
            energy_counter=self._joules() is not None,
        )

    def power(self) -> GpuPower:
        """Power and energy now; energy first, since requests are told by it where there is one."""
        joules = self._joules()
        return GpuPower(self._device, self._watts(), joules)

    def state(self, pids: Collection[int]) -> GpuState:
        """The slow readings."""
        handle = self._handle
        memory = self._ask("memory", lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        load = self._ask("utilisation", lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
        return GpuState(
            device=self._device,
            used_bytes=None if memory is None else int(memory.used),
            process_bytes=self._process_bytes(pids),
            compute_share=None if load is None else int(load.gpu) / 100,
            memory_share=None if load is None else int(load.memory) / 100,
            sm_clock_hz=self._clock_hz("SM clock", pynvml.NVML_CLOCK_SM),
            memory_clock_hz=self._clock_hz("memory clock", pynvml.NVML_CLOCK_MEM),
            temperature_c=self._ask(
                "temperature", lambda: int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
            ),
            throttle=self._throttle(),
        )

    def _ask(self, what: str, read: Callable[[], T]) -> T | None:
        """An answer, None where there is none."""
        if self._gone or what in self._absent:
            return None
        try:
            return read()
        except pynvml.NVMLError as error:
            if error.value in _ABSENT:
                self._absent.add(what)
            else:
                self._fault(what, error)
            return None

    def _fault(self, what: str, error: Any) -> None:
        if error.value in _GONE:
            self._gone = True
            self._faults.append(f"GPU {self._device}: {error}; it is not asked any more")
        elif (what, error.value) not in self._told:
            self._told.add((what, error.value))
            self._faults.append(f"GPU {self._device}, {what}: {error}")

    def _is_mig(self) -> bool | None:
        modes = self._ask("MIG mode", lambda: pynvml.nvmlDeviceGetMigMode(self._handle))
        if modes is None:
            # GPUs without MIG answer NOT_SUPPORTED.
            return False if "MIG mode" in self._absent else None
        return bool(modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE)

    def _choose_power(self) -> Literal["instant", "averaged"] | None:
        """Which power reading to take, for the whole run, so that one column means one thing."""
        self._watts = self._instant_watts
        if self._watts() is not None:
            return "instant"
        self._watts = self._usage_watts
        if self._watts() is None:
            return None
        return "averaged" if self._usage_is_averaged() else "instant"

    def _instant_watts(self) -> float | None:
        """NVML_FI_DEV_POWER_INSTANT: milliwatts of the GPU at this instant."""

        def read() -> float:
            (field,) = pynvml.nvmlDeviceGetFieldValues(self._handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
            if field.nvmlReturn != pynvml.NVML_SUCCESS:
                raise pynvml.NVMLError(field.nvmlReturn)
            return float(getattr(field.value, _VALUE_FIELDS[field.valueType])) / 1e3

        return self._ask("instant power", read)

    def _usage_watts(self) -> float | None:
        """nvmlDeviceGetPowerUsage: milliwatts."""
        return self._ask("power", lambda: int(pynvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3)

    def _usage_is_averaged(self) -> bool:
        """nvmlDeviceGetPowerUsage is a one-second average on Ampere and later but GA100, of the instant before.

        (NVML API reference, nvmlDeviceGetPowerUsage.) Where the architecture is not told, the worse is assumed.
        """
        architecture = self._ask("architecture", lambda: int(pynvml.nvmlDeviceGetArchitecture(self._handle)))
        capability = self._ask("capability", lambda: pynvml.nvmlDeviceGetCudaComputeCapability(self._handle))
        if architecture is None:
            return True
        return architecture >= pynvml.NVML_DEVICE_ARCH_AMPERE and capability != _GA100

    def _joules(self) -> float | None:
        """nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded (Volta and later)."""
        return self._ask("energy counter", lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3)

    def _clock_hz(self, what: str, clock: int) -> int | None:
        return self._ask(what, lambda: int(pynvml.nvmlDeviceGetClockInfo(self._handle, clock)) * 1_000_000)

    def _throttle(self) -> tuple[str, ...] | None:
        bits = self._ask("clock reasons", lambda: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)))
        if bits is None:
            # The name before driver 535.
            bits = self._ask(
                "throttle reasons", lambda: int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle))
            )
        if bits is None:
            return None
        names = tuple(name for at, name in enumerate(_REASONS) if bits >> at & 1)
        rest = bits >> len(_REASONS) << len(_REASONS)
        return (*names, f"reason {rest:#x}") if rest else names

    def _process_bytes(self, pids: Collection[int]) -> int | None:
        """Device memory of the processes: 0 where the driver lists others only, None where it does not say."""
        handles = self._instances() if self._mig else [self._handle]
        listed: dict[tuple[int, int], int | None] = {}
        answered = False
        for at, handle in enumerate(handles):
            for what, ask in (
                ("compute processes", pynvml.nvmlDeviceGetComputeRunningProcesses),
                ("graphics processes", pynvml.nvmlDeviceGetGraphicsRunningProcesses),
            ):
                found = self._ask(f"{what}{f' of instance {at}' if self._mig else ''}", lambda a=ask, h=handle: a(h))  # type: ignore[misc]
                answered = answered or found is not None
                for process in found or ():
                    # One process can be in both lists, with the same memory.
                    listed[at, int(process.pid)] = process.usedGpuMemory
        used = [size for (_, pid), size in listed.items() if pid in pids]
        if not answered or any(size is None for size in used):
            return None
        return sum(size for size in used if size is not None)

    def _instances(self) -> list[Any]:
        """The handles of a divided GPU's instances; those that do not exist or may not be seen are left out."""
        count = self._ask("MIG instances", lambda: int(pynvml.nvmlDeviceGetMaxMigDeviceCount(self._handle))) or 0
        found = []
        for at in range(count):
            with contextlib.suppress(pynvml.NVMLError):
                found.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(self._handle, at))
        return found
