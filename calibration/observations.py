"""The types of what was measured and is to be explained: builds, observations, and a data set of them. No logic."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from estimator.specs import ModelFile, Workload
from harness.record import Probes

PhaseName = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True)
class Build:
    """What a fit belongs to: one engine build on one kind of machine."""

    cpu: str
    physical_cores: int
    memory_total_bytes: int
    engine: str
    version: str
    system_info: str
    threads: int

    def __str__(self) -> str:
        return f"{self.engine} {self.version} on {self.cpu} with {self.threads} threads"


@dataclass(frozen=True, slots=True)
class Observation:
    """One phase of one cell: measured median `seconds` (TTFT, or TPOT), explained by `terms`."""

    build: Build
    phase: PhaseName
    file: ModelFile
    work: Workload
    terms: dict[str, float]
    seconds: float
    requests: int
    journal: str
    # Standard error of the median, relative; None of one request.
    relative_error: float | None = None
    # The median of each run that measured the cell, oldest first.
    by_run: tuple[tuple[str, float], ...] = ()
    # Used in spite of its noise.
    noisy: bool = False

    @property
    def label(self) -> str:
        """The phase and the cell in words."""
        return f"{self.phase} of {self.cell}"

    @property
    def cell(self) -> str:
        """The cell in words, the same for both phases."""
        w = self.work
        return f"{self.file.model.name} {self.file.quant} {w.prompt_tokens}/{w.output_tokens} at {w.depth_tokens}"


@dataclass(frozen=True, slots=True)
class MemoryObservation:
    """Peak memory of one engine with one model: measured bytes beside the engine's own account.

    Whatever the verdict on its cells: memory does not depend on how steady the times were.
    `work` is the engine's set-up: its slots as concurrency, its context in each, the largest micro-batch it ran.
    """

    build: Build
    file: ModelFile
    work: Workload
    buffers: dict[str, int]
    file_bytes: int
    anonymous_bytes: int
    journal: str = ""

    @property
    def label(self) -> str:
        """The process in words."""
        w = self.work
        slots = f" x {w.concurrency}" if w.concurrency > 1 else ""
        what = f"{self.file.model.name} {self.file.quant}"
        return f"{what}, context {w.context_tokens}{slots}, {w.ubatch_tokens} rows"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything usable in some records, and what was left out with the reason; `noisy` and `late` cells are used."""

    observations: tuple[Observation, ...]
    memory: tuple[MemoryObservation, ...]
    left_out: tuple[str, ...]
    noisy: tuple[str, ...]
    probes: dict[Build, Probes]
    digest: str
    digests: dict[Build, str] = field(default_factory=dict)
    late: tuple[str, ...] = ()

    @property
    def newest(self) -> Build | None:
        """The build of the latest run that has a usable cell."""
        usable = {o.build for o in self.observations}
        return next((build for build in reversed(self.probes) if build in usable), None)

    def of(self, build: Build) -> Dataset:
        """The part that belongs to `build`."""
        return replace(
            self,
            observations=tuple(o for o in self.observations if o.build == build),
            memory=tuple(m for m in self.memory if m.build == build),
            digest=self.digests.get(build, self.digest),
        )

    def by_build(self) -> dict[Build, Dataset]:
        """The part of each build that has a usable cell, the build with the latest run last."""
        observations: dict[Build, list[Observation]] = {}
        memory: dict[Build, list[MemoryObservation]] = {}
        for o in self.observations:
            observations.setdefault(o.build, []).append(o)
        for m in self.memory:
            memory.setdefault(m.build, []).append(m)
        return {
            build: replace(
                self,
                observations=tuple(observations[build]),
                memory=tuple(memory.get(build, ())),
                digest=self.digests.get(build, self.digest),
            )
            for build in self.probes
            if build in observations
        }
