"""What sensors add to a record: samples, and what was found of sensors. Part of the format that record.py owns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple


class GpuPower(NamedTuple):
    """Power and energy of one whole GPU; None: unknown, never 0 for it. `energy_j` counts since its driver started."""

    device: int
    power_w: float | None
    energy_j: float | None


class GpuState(NamedTuple):
    """What else a GPU says of itself, read once a second; None: unknown, never 0 for it.

    `used_bytes` is memory in use on the whole device, `process_bytes` that of the sampled process tree;
    the shares are of the driver's own last interval; `throttle` are the reasons why clocks are held back.
    """

    device: int
    used_bytes: int | None
    process_bytes: int | None
    compute_share: float | None
    memory_share: float | None
    sm_clock_hz: int | None
    memory_clock_hz: int | None
    temperature_c: int | None
    throttle: tuple[str, ...] | None


class System(NamedTuple):
    """What the whole machine counts, of all cores, since it started; None: not told, or not read this time.

    `busy_s` is CPU time of all processes and of the kernel, `steal_s` what the hypervisor gave to other guests,
    `harness_cpu_s` what the harness and its sampler used; `memory_stall_s` the time in which some task waited for
    memory (PSI), `swapped_bytes` both ways. `cpu_hz` is the fastest core's clock, `throttles` how often a core or
    package was slowed down for its heat, each counted once; both are read once a second.
    """

    busy_s: float | None = None
    steal_s: float | None = None
    harness_cpu_s: float | None = None
    memory_stall_s: float | None = None
    swapped_bytes: int | None = None
    cpu_hz: float | None = None
    throttles: int | None = None


class Sample(NamedTuple):
    """The server's process tree at one instant; `cpu_s` is the CPU time used since it started, ended children's too.

    `file_bytes` are resident pages backed by files (the memory-mapped model, libraries) and shared
    memory, `anonymous_bytes` the rest of what is resident (both None where the system does not tell);
    `peak_bytes` is the kernel's own high-water mark of resident memory, None where it keeps none, where it may be from
    before the run, and of several processes, whose marks are of different times.
    GPUs and `cpu_energy_j` (all packages and their DRAM, since sampling began) are of the whole machine;
    `gpu_states` is empty between two slow reads. `faults` are what went wrong with a sensor just now.

    `unevictable_bytes` is the resident part that the kernel cannot drop and read again: anonymous, shared and locked
    memory. Page faults are counted as `cpu_s` is; a major one waited for the disk.
    """

    at_ns: int
    resident_bytes: int
    file_bytes: int | None
    anonymous_bytes: int | None
    peak_bytes: int | None
    cpu_s: float
    gpu_power: tuple[GpuPower, ...] = ()
    gpu_states: tuple[GpuState, ...] = ()
    cpu_energy_j: float | None = None
    faults: tuple[str, ...] = ()
    swap_bytes: int | None = None
    unevictable_bytes: int | None = None
    threads: int | None = None
    minor_faults: int | None = None
    major_faults: int | None = None
    system: System | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver describes it. `power` says what `power_w` is: of the instant, or a one-second average.

    `mig` is whether it is divided into instances (None: unknown); power is then still that of the whole GPU.
    """

    device: int
    name: str
    driver: str
    memory_bytes: int | None
    mig: bool | None
    power: Literal["instant", "averaged"] | None
    energy_counter: bool


@dataclass(frozen=True, slots=True)
class PowerSources:
    """The power sensors that were found; the notes say why there are none. `idle_ns` is the idle baseline's window."""

    gpus: tuple[Gpu, ...] = ()
    gpu_note: str = ""
    cpu_zones: tuple[str, ...] = ()
    cpu_note: str = ""
    idle_ns: tuple[int, int] | None = None

    @property
    def any(self) -> bool:
        """Whether anything measures power or energy."""
        return bool(self.cpu_zones) or any(gpu.power or gpu.energy_counter for gpu in self.gpus)


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples since the line before; `sampler_cpu_s` is what the sampler itself has used so far.

    `sources` stands in the first line of a sampler. `pid` is the process that is sampled: subjects that share a server
    share its samples. `faults` are what ended the sampling, if something did.
    """

    subject_id: str
    samples: tuple[Sample, ...]
    sampler_cpu_s: float
    sources: PowerSources | None = None
    pid: int | None = None
    faults: tuple[str, ...] = ()
    kind: Literal["samples"] = "samples"
