"""The command `calibration plan`: from its options, this machine and stored runs to a plan."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from calibration.candidates import QUANTS, BuildSeconds, fresh_build_s
from calibration.dataset import Dataset
from calibration.errors import CalibrationError
from calibration.fitting import reference
from calibration.gate import admitted
from calibration.observations import Build, Observation
from calibration.planning import Planned, Wish, plan
from calibration.reading import read_dataset
from estimator.machine import identity, size_bytes, this_machine
from estimator.specs import ModelFile
from harness.plan import seconds
from harness.weights.store import Store


@dataclass(frozen=True, slots=True)
class Question:
    """The options as they were written; lists have commas."""

    budget: str = "5m"
    model: str | None = None
    measure: str | None = None
    quant: str | None = None
    repeats: int = 4
    memory: str | None = None
    prior: bool = True
    fresh: bool = False

    def wish(self) -> Wish:
        """What is wanted, in numbers. Raises HarnessError and EstimatorError for words that are none."""
        budget_s = seconds(self.budget)
        if budget_s <= 0:
            raise CalibrationError(f"--budget {self.budget} is no time: give 90s, 5m or 1h")
        free = this_machine().memory_free_bytes or 0
        return Wish(
            budget_s,
            free if self.memory is None else size_bytes(self.memory),
            _names(self.model),
            _names(self.measure),
            _names(self.quant) or QUANTS,
            self.repeats,
        )

    def command(self, results: list[Path]) -> str:
        """The command that makes the plan again, where files and measurements are the same."""
        options = {
            "budget": self.budget, "model": self.model, "measure": self.measure, "quant": self.quant,
            "memory": self.memory,
        }  # fmt: skip
        words = [
            *map(str, results),
            *(word for name, value in options.items() if value for word in (f"--{name}", value)),
        ]
        words += (
            ["--repeats", str(self.repeats)] if self.repeats != Question.__dataclass_fields__["repeats"].default else []
        )
        words += [] if self.prior else ["--no-prior"]
        return shlex.join(["python", "-m", "calibration", "plan", *words, *(["--fresh"] if self.fresh else [])])


def next_plan(results: list[Path], question: Question) -> tuple[Planned, list[str]]:
    """The plan, and sentences on what of the results was not taken into account.

    Raises CalibrationError, HarnessError, EstimatorError, each with its own exit status.
    """
    wish, prior = question.wish(), reference() if question.prior else None
    data, unused = read_dataset(results, include_noisy=True) if results else (None, [])
    observations, notes = _of_this_machine(data)
    return plan(observations, prior, wish, _build_s(question.fresh)), [*unused, *notes]


def _of_this_machine(data: Dataset | None) -> tuple[list[Observation], list[str]]:
    """The observations of this machine's newest build, and how many were of others."""
    if data is None or not data.observations:
        return [], []
    mine = [build for build in data.probes if _is_here(build) and any(o.build == build for o in data.observations)]
    kept = admitted(data.of(mine[-1]).observations, data.probes)[0] if mine else []
    others = sum(1 for o in data.observations if not mine or o.build != mine[-1])
    note = f"not taken into account: {others} observations of other machines or builds"
    return kept, [note] if others else []


def _is_here(build: Build) -> bool:
    return (build.cpu, build.physical_cores, build.memory_total_bytes) == identity()


def _build_s(fresh: bool) -> BuildSeconds:
    store = Store()

    def seconds_of(file: ModelFile) -> float:
        if not fresh and store.path(file.model, file.quant).exists():
            return 0.0
        return math.inf if store.missing_bytes(file.model, file.quant) else fresh_build_s(file)

    return seconds_of


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
