"""The command `calibration plan`: from its options, this machine and stored runs to a plan."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.candidates import LEAST_WEIGHTS_BYTES, QUANTS, BuildSeconds, fresh_build_s
from calibration.dataset import Dataset
from calibration.errors import CalibrationError
from calibration.fitting import reference
from calibration.gate import admitted
from calibration.observations import Build, Observation
from calibration.planning import Planned, Wish, plan
from calibration.reading import read_dataset
from estimator.catalog import find_mixture, find_model
from estimator.coefficients import Coefficients
from estimator.machine import identity, size_bytes, this_machine
from estimator.specs import ModelFile
from estimator.tensors import model_file
from harness.plan import seconds
from harness.weights.store import Store

# How many times as fast, or as slow, as the prior's another machine may be.
MOST_TIMES = 1e4


@dataclass(frozen=True, slots=True)
class Question:
    """The options as they were written; lists have commas. `speed`: of another machine, over that of the prior's."""

    budget: str = "5m"
    model: str | None = None
    measure: str | None = None
    quant: str | None = None
    repeats: int = 4
    memory: str | None = None
    prior: bool = True
    fresh: bool = False
    include: str | None = None
    speed: float | None = None
    disk: str | None = None
    models: int = 1

    def wish(self) -> Wish:
        """What is wanted, in numbers. Raises HarnessError and EstimatorError for words that are none."""
        budget_s = seconds(self.budget)
        if budget_s <= 0:
            raise CalibrationError(f"--budget {self.budget} is no time: give 90s, 5m or 1h")
        if self.speed is not None and not (1 / MOST_TIMES <= self.speed <= MOST_TIMES and self.memory and self.prior):
            raise CalibrationError(
                f"--speed is above 0 (1 / {MOST_TIMES:g} to {MOST_TIMES:g}) and of another machine: say its --memory "
                "too, and leave --no-prior out"
            )
        free = this_machine().memory_free_bytes or 0
        room = Store().room_bytes() if self.speed is None else math.inf
        return Wish(
            budget_s,
            free if self.memory is None else size_bytes(self.memory),
            _names(self.model),
            _names(self.measure),
            _names(self.quant) or QUANTS,
            self.repeats,
            least_models=self.models,
            include=tuple(dict.fromkeys(map(_file, _names(self.include)))),
            disk_bytes=room if self.disk is None else min(room, size_bytes(self.disk)),
        )

    def command(self, results: list[Path]) -> str:
        """The command that makes the plan again, where files and measurements are the same."""
        options = {
            "budget": self.budget, "model": self.model, "measure": self.measure, "quant": self.quant,
            "memory": self.memory, "include": self.include, "disk": self.disk,
            "models": None if self.models == 1 else str(self.models),
            "speed": None if self.speed is None else f"{self.speed:g}",
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
    if question.speed is not None:
        if results or prior is None:
            raise CalibrationError("--speed is of another machine than RESULTS: leave one of them out")
        return plan([], faster(prior, question.speed), wish), []
    data, unused = read_dataset(results, include_noisy=True) if results else (None, [])
    observations, notes = _of_this_machine(data)
    return plan(observations, prior, wish, _build_s(question.fresh)), [*unused, *notes]


def faster(prior: Coefficients, times: float) -> Coefficients:
    """The prior of a machine so many times as fast."""
    speed = {n: replace(entry, seconds_per_unit=entry.seconds_per_unit / times) for n, entry in prior.speed.items()}
    return replace(prior, speed=speed)


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
        if not fresh and store.has(file.model, file.quant):
            return 0.0
        return math.inf if store.missing_bytes(file.model, file.quant) else fresh_build_s(file)

    return seconds_of


def _file(text: str) -> tuple[str, str]:
    """Model and weight type of "mistral:7b q4_k_m". Raises CalibrationError for what is never measured, UnknownName."""
    name, _, quant = text.partition(" ")
    if not quant.strip():
        raise CalibrationError(f"--include {text!r} has no weight type: write it like 'mistral:7b q4_k_m'")
    model, mixture = find_model(name), find_mixture(quant.strip())
    if model_file(model, mixture).weight_bytes < LEAST_WEIGHTS_BYTES:
        raise CalibrationError(
            f"--include {text!r}: weights under {LEAST_WEIGHTS_BYTES >> 20} MiB are not measured, as a processor's "
            "cache may hold much of them"
        )
    return model.name, mixture


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
