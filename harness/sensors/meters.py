"""All power sensors of a machine as one: what was found, and the part of a sample that they fill."""

from __future__ import annotations

from collections.abc import Collection

from harness.samples import GpuPower, GpuState, PowerSources, Sample
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl

# Memory, clocks, temperature, utilisation: several calls of the driver, so less often than power.
_STATE_EVERY_S = 1.0


class Meters:
    """GPUs and CPU counters, read together."""

    def __init__(self, gpus: Gpus, rapl: Rapl) -> None:
        self._gpus, self._rapl = gpus, rapl
        self._state_at_s = 0.0
        self._power: tuple[GpuPower, ...] = ()
        self._joules: float | None = None

    @property
    def sources(self) -> PowerSources:
        """What was found, and why nothing was."""
        return PowerSources(self._gpus.facts, self._gpus.note, self._rapl.zones, self._rapl.note)

    def read(self) -> None:
        """Reads power and energy: first thing of a sample, so that they are of its instant."""
        self._power, self._joules = self._gpus.power(), self._rapl.joules()

    def added(self, sample: Sample, pids: Collection[int]) -> Sample:
        """The sample with what `read` found, and once a second with the state of the GPUs."""
        states: tuple[GpuState, ...] = ()
        if sample.at_ns / 1e9 >= self._state_at_s:
            self._state_at_s = sample.at_ns / 1e9 + _STATE_EVERY_S
            states = self._gpus.states(pids)
        return sample._replace(
            gpu_power=self._power,
            gpu_states=states,
            cpu_energy_j=self._joules,
            faults=(*sample.faults, *self._gpus.faults(), *self._rapl.faults()),
        )
