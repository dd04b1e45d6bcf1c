"""The NVIDIA sensor over the real binding and a driver of ours (fake_nvml.py)."""

from __future__ import annotations

import pynvml
import pytest

from harness.samples import GpuPower
from harness.sensors.nvidia import Gpus
from tests.harness.fake_nvml import FakeGpu, FakeNvml, nvml

OLD = FakeGpu(
    instant=False,
    architecture=pynvml.NVML_DEVICE_ARCH_PASCAL,
    capability=(6, 1),
    errors={
        "nvmlDeviceGetTotalEnergyConsumption": pynvml.NVML_ERROR_NOT_SUPPORTED,
        "nvmlDeviceGetArchitecture": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    },
)


def test_a_gpu_that_tells_everything_is_recorded_in_si_units() -> None:
    gpu = FakeGpu(watts=lambda at_s: 312.5, joules=lambda at_s: 5000.25, processes={7: 4 * 2**30, 8: 2**30, 9: 2**20})
    with nvml(FakeNvml(gpu)):
        gpus = Gpus()
        assert gpus.power() == (GpuPower(0, 312.5, 5000.25),)
        (state,) = gpus.states({7, 8})
        (facts,) = gpus.facts
    assert (facts.name, facts.driver, facts.memory_bytes) == ("Fake H200", "580.65.06", 141 * 2**30)
    assert (facts.power, facts.energy_counter, facts.mig) == ("instant", True, False)
    assert (state.used_bytes, state.process_bytes) == (6 * 2**30, 5 * 2**30)
    assert (state.compute_share, state.memory_share, state.temperature_c) == (0.9, 0.4, 55)
    assert (state.sm_clock_hz, state.memory_clock_hz) == (1_980_000_000, 3_201_000_000)
    assert state.throttle == ("software power cap", "software thermal slowdown")
    assert gpus.faults() == ()


def test_a_process_in_both_lists_of_the_driver_is_counted_once_and_others_not_at_all() -> None:
    with nvml(FakeNvml(FakeGpu(processes={7: 100, 9: 50}))):
        gpus = Gpus()
        assert gpus.states({7})[0].process_bytes == 100
        assert gpus.states({1})[0].process_bytes == 0


def test_memory_that_the_driver_does_not_tell_of_a_process_is_unknown_and_not_zero() -> None:
    with nvml(FakeNvml(FakeGpu(processes={7: pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value}))):
        assert Gpus().states({7})[0].process_bytes is None


def test_what_an_old_gpu_does_not_support_is_unknown_no_fault_and_not_asked_again() -> None:
    with nvml(FakeNvml(OLD)) as driver:
        gpus = Gpus()
        driver.asked.clear()
        assert gpus.power() == gpus.power() == (GpuPower(0, 100.0, None),)
        assert driver.asked == ["nvmlDeviceGetPowerUsage"] * 2
        assert gpus.faults() == ()
        assert not gpus.facts[0].energy_counter


@pytest.mark.parametrize(
    ("architecture", "capability", "power"),
    [
        (pynvml.NVML_DEVICE_ARCH_PASCAL, (6, 1), "instant"),
        (pynvml.NVML_DEVICE_ARCH_AMPERE, (8, 0), "instant"),
        (pynvml.NVML_DEVICE_ARCH_AMPERE, (8, 6), "averaged"),
        (pynvml.NVML_DEVICE_ARCH_HOPPER, (9, 0), "averaged"),
    ],
)
def test_power_usage_is_a_one_second_average_from_ampere_on_but_on_ga100(
    architecture: int, capability: tuple[int, int], power: str
) -> None:
    with nvml(FakeNvml(FakeGpu(instant=False, architecture=architecture, capability=capability))):
        assert Gpus().facts[0].power == power


def test_power_of_an_unknown_architecture_is_taken_for_averaged() -> None:
    with nvml(FakeNvml(OLD)):
        assert Gpus().facts[0].power == "averaged"


def test_a_gpu_without_power_sensor_has_unknown_power_and_never_zero() -> None:
    errors = {"nvmlDeviceGetPowerUsage": 3, "nvmlDeviceGetTotalEnergyConsumption": 3}
    with nvml(FakeNvml(FakeGpu(instant=False, errors=errors))):
        gpus = Gpus()
        assert gpus.power() == (GpuPower(0, None, None),)
        assert gpus.facts[0].power is None


def test_a_divided_gpu_tells_the_memory_of_its_instance_and_no_utilisation() -> None:
    gpu = FakeGpu(mig=True, processes={7: 300})
    with nvml(FakeNvml(gpu)):
        gpus = Gpus()
        (state,) = gpus.states({7})
        assert gpus.facts[0].mig is True
        assert (state.process_bytes, state.compute_share) == (300, None)
        assert gpus.faults() == ()


def test_a_missing_permission_is_said_once_and_the_rest_is_read() -> None:
    refused = {"nvmlDeviceGetComputeRunningProcesses_v3": pynvml.NVML_ERROR_NO_PERMISSION}
    refused["nvmlDeviceGetGraphicsRunningProcesses_v3"] = pynvml.NVML_ERROR_NO_PERMISSION
    with nvml(FakeNvml(FakeGpu(errors=refused))):
        gpus = Gpus()
        first, second = gpus.states({7})[0], gpus.states({7})[0]
        assert first == second
        assert (first.process_bytes, first.used_bytes) == (None, 6 * 2**30)
        assert gpus.faults() == (
            "GPU 0, compute processes: Insufficient Permissions",
            "GPU 0, graphics processes: Insufficient Permissions",
        )


def test_a_permission_lost_and_given_back_leaves_a_hole_and_a_fault() -> None:
    gpu = FakeGpu()
    with nvml(FakeNvml(gpu)):
        gpus = Gpus()
        gpu.errors["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVML_ERROR_NO_PERMISSION
        assert gpus.power()[0].energy_j is None
        gpu.errors.clear()
        assert gpus.power()[0].energy_j is not None
        assert gpus.faults() == ("GPU 0, energy counter: Insufficient Permissions",)


def test_a_lost_gpu_is_a_fault_and_the_other_goes_on() -> None:
    lost, well = FakeGpu(), FakeGpu()
    with nvml(FakeNvml(lost, well)) as driver:
        gpus = Gpus()
        lost.lost_after = lost.calls + 2
        read = [gpus.power() for _ in range(4)]
        assert [first.energy_j is None for first, _ in read] == [False, True, True, True]
        assert all(second == GpuPower(1, 100.0, 0.0) for _, second in read)
        assert gpus.faults() == ("GPU 0: GPU is lost; it is not asked any more",)
        driver.asked.clear()
        gpus.power()
        assert len(driver.asked) == 2, "the other GPU's"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no NVIDIA driver"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "load its kernel module"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "give this user access"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "version mismatch"),
    ],
)
def test_without_a_driver_there_are_no_gpus_and_it_is_said_why(error: int, said: str) -> None:
    with nvml(FakeNvml(init=error)):
        gpus = Gpus()
    assert (gpus.facts, gpus.power(), gpus.states({1})) == ((), (), ())
    assert said in gpus.note


def test_a_driver_without_gpus_says_so() -> None:
    with nvml(FakeNvml()):
        assert "lists no GPU" in Gpus().note
