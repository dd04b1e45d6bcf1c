"""From records to a coefficient file: gate, fit, hold out, say on what it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from calibration.dataset import Build, Dataset, MemoryObservation, Observation, PhaseName
from calibration.errors import NothingToFit
from calibration.fitters import GUESS_SD, SpeedFit, fit_memory, phase_of
from calibration.gate import admitted
from calibration.machines import Machines, machine_of
from calibration.reading import read_dataset
from calibration.strength import Fits, Known, Strength
from calibration.uncertainty import another_run_sd, error_method, evidence, price_errors, run_to_run, with_runs
from calibration.validate import (
    CELL_GROUP,
    Residual,
    fits_without,
    held_out,
    memory_residuals,
    memory_without,
    speed_residuals,
    weight_types,
)
from estimator.coefficients import (
    Coefficients,
    FittedEngine,
    FittedMachine,
    FittedRecords,
    HeldOut,
    MemoryCoefficients,
    SpeedCoefficient,
    ValidRange,
    read_coefficients,
    speed_coefficient,
)
from estimator.evidence import RunToRun
from estimator.plain import to_plain

# Builds that are left out are named up to so many.
_NAMED_BUILDS = 5
REFERENCE = Path(__file__).parent.parent / "estimator" / "data" / "reference_cpu.json"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fit with everything that a report needs."""

    build: Build
    coefficients: Coefficients
    observations: tuple[Observation, ...]
    residuals: dict[PhaseName, list[Residual]]
    memory_residuals: dict[str, list[Residual]]
    left_out: tuple[str, ...]
    noisy: tuple[str, ...]
    # Processes behind the prices of memory; the prior's prices (None: fitted without one); the same fit to others.
    memory: tuple[MemoryObservation, ...]
    prices: Mapping[str, float] | None
    refit: Callable[[Sequence[Observation]], SpeedFit]
    late: tuple[str, ...] = ()


def fit(paths: list[Path], prior: Coefficients | None, include_noisy: bool = False) -> Fitted:
    """The fit of the newest build in the journals at `paths`.

    Raises NothingToFit with the reasons, BadResults for unreadable journals.
    """
    return Builds(*read_dataset(paths, include_noisy), prior).newest()


class Builds:
    """Everything that was read, build by build; machines that others are compared with are looked at once."""

    def __init__(self, everything: Dataset, unreadable: Sequence[str], prior: Coefficients | None) -> None:
        self._everything = everything
        self._unreadable = unreadable
        self._prior = prior
        self.parts = everything.by_build()
        self._machines = Machines(self.parts, prior)

    def newest(self) -> Fitted:
        """The fit of the build with the latest run. Raises NothingToFit."""
        build = self._everything.newest
        if build is None:
            why = "; ".join(self._everything.left_out[:3]) or "the records hold no counted request"
            raise NothingToFit(f"no usable cell: {why}; measure more, or fit with --include-noisy")
        return self.fit(build)

    def fit(self, build: Build) -> Fitted:
        """The fit of one build. Raises NothingToFit where none of its cells is possible."""
        data = self.parts[build]
        kept, impossible = admitted(data.observations, data.probes)
        left_out = [*self._unreadable, *data.left_out, *impossible, *_others(self.parts, build)]
        if not kept:
            raise NothingToFit(f"no possible cell: {'; '.join(left_out[:3])}")
        known = replace(self._machines.known(build), errors=prior_errors(self._prior))
        return _fitted(build, replace(data, left_out=tuple(left_out)), kept, known, self._prior)


def prior_errors(prior: Coefficients | None) -> dict[str, float]:
    """How well the prior knows its own prices, relative: no worse than a guess, which is what one model says."""
    return {
        name: min(GUESS_SD, GUESS_SD if entry.standard_error is None else entry.standard_error / entry.seconds_per_unit)
        for name, entry in (prior.speed if prior else {}).items()
        if entry.seconds_per_unit > 0
    }


def _fitted(build: Build, data: Dataset, kept: list[Observation], known: Known, prior: Coefficients | None) -> Fitted:
    if known.prices is None:
        # Another engine's prices, or none.
        prior = None
    fits, beyond = Fits(kept, known), prior.memory if prior else None
    without, memory_fits = fits_without(kept, fits.fit), memory_without(data.memory, beyond)
    residuals, memory = speed_residuals(kept, None, without), memory_residuals(data.memory, beyond, memory_fits)
    seen: dict[str, list[Residual]] = {str(phase): found for phase, found in residuals.items()}
    seen |= {f"memory_{part}": found for part, found in memory.items()}
    runs, strength = run_to_run(kept), fits.strength(kept)
    fitted_memory = fit_memory(data.memory, beyond) if data.memory else None
    what = "cells of one model" if any(name.startswith(CELL_GROUP) for name in without) else "models"
    coefficients = Coefficients(
        fitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(build, data),
        engine=FittedEngine(build.engine, build.version, build.system_info, build.threads),
        records=_records(data, kept),
        speed=_speed(fits.fit(kept), list(without.values()), prior is not None, runs),
        memory=fitted_memory,
        held_out=_with_prior(_held_out(seen, runs), prior, seen),
        valid=_valid(kept),
        prior=_prior_facts(prior, strength, known.machines),
        evidence=evidence(
            kept,
            data.memory,
            error_method(len(without), what),
            _memory_errors(fitted_memory, list(memory_fits.values())),
        ),
    )
    return Fitted(
        build, coefficients, tuple(kept), residuals, memory, data.left_out, data.noisy, data.memory, known.prices,
        lambda some: Fits(some, known).fit(some), data.late,
    )  # fmt: skip


def _speed(
    fit: SpeedFit, without: list[SpeedFit], has_prior: bool, runs: Mapping[str, RunToRun]
) -> dict[str, SpeedCoefficient]:
    errors = price_errors(fit.seconds_per_unit, [other.seconds_per_unit for other in without])
    found = {}
    for name, price in sorted(fit.seconds_per_unit.items()):
        error = with_runs(errors[name], price, runs[phase_of(name)])
        origin: Literal["measured", "prior"] = "measured" if fit.cells[name] or not has_prior else "prior"
        found[name] = speed_coefficient(name, price, fit.cells[name], origin, error)
    return found


def _memory_errors(fit: MemoryCoefficients | None, without: list[MemoryCoefficients]) -> dict[str, float | None]:
    if fit is None:
        return {}
    prices, *others = ({n: v for n, v in to_plain(m).items() if isinstance(v, float)} for m in (fit, *without))
    return price_errors(prices, others)


def _others(parts: Mapping[Build, Dataset], build: Build) -> list[str]:
    """A sentence on what was measured of other builds: prices belong to one engine build on one machine."""
    counts = Counter({other: len(part.observations) for other, part in parts.items() if other != build})
    named = [f"{count} observations of another build: {name}" for name, count in counts.most_common(_NAMED_BUILDS)]
    rest = list(counts.items())[_NAMED_BUILDS:] if len(counts) > _NAMED_BUILDS else []
    if rest:
        left = sum(counts.values()) - sum(count for _, count in counts.most_common(_NAMED_BUILDS))
        machines = len({machine_of(b) for b in counts} - {machine_of(build)})
        named.append(f"{left} observations of {len(rest)} more builds ({machines} other machines in all)")
    return named


def _prior_facts(prior: Coefficients | None, strength: Strength, machines: int) -> dict[str, object]:
    if prior is None:
        return {}
    return {
        "machine": prior.machine.cpu,
        "models": prior.records.models,
        "engine": f"{prior.engine.name} {prior.engine.version}",
        "digest": prior.records.digest,
        "relative_sd": strength.relative_sd,
        "chosen": strength.words,
        "chosen_over_models": strength.models,
        "other_machines": machines,
    }


def _machine(build: Build, data: Dataset) -> FittedMachine:
    probes = data.probes.get(build)
    return FittedMachine(
        cpu=build.cpu,
        physical_cores=build.physical_cores,
        memory_total_bytes=build.memory_total_bytes,
        bandwidth_bytes_per_s=probes.read_bytes_per_s if probes else None,
        compute_flop_per_s=probes.matmul_flop_per_s if probes else None,
    )


def _records(data: Dataset, kept: list[Observation]) -> FittedRecords:
    return FittedRecords(
        journals=len({run for o in kept for run, _ in o.by_run}),
        requests=sum(o.requests for o in kept if o.phase == "prefill"),
        cells=sum(1 for o in kept if o.phase == "prefill"),
        models=len({o.file.model.name for o in kept}),
        digest=data.digest,
    )


def _held_out(seen: Mapping[str, list[Residual]], runs: Mapping[str, RunToRun]) -> dict[str, HeldOut]:
    """Of each phase and part of memory; runs differ in their times alone."""
    errors = {name: held_out(part, another_run_sd(runs[name]) if name in runs else 0.0) for name, part in seen.items()}
    return {name: error for name, error in errors.items() if error is not None}


def _with_prior(
    found: Mapping[str, HeldOut], prior: Coefficients | None, seen: Mapping[str, list[Residual]]
) -> dict[str, HeldOut]:
    """The errors found here; the prior's of what could not be found, and its interval where there is none."""
    known = prior.held_out if prior else {}
    borrowed = {name: replace(error, interval_origin="prior") for name, error in known.items() if name not in found}
    return borrowed | {name: _with_interval(error, known.get(name), seen[name]) for name, error in found.items()}


def _with_interval(error: HeldOut, known: HeldOut | None, seen: list[Residual]) -> HeldOut:
    """Too few models here for an interval: the prior's, widened to hold every measured / predicted - 1 seen here."""
    if error.relative_interval_90 is not None or known is None or known.relative_interval_90 is None:
        return error
    low, high = known.relative_interval_90
    beside = [residual.measured / residual.predicted - 1 for residual in seen if residual.predicted > 0]
    wide = (min(low, *beside), max(high, *beside)) if beside else (low, high)
    return replace(error, relative_interval_90=wide, interval_origin="prior")


def _valid(kept: list[Observation]) -> ValidRange:
    sizes = [float(o.file.model.parameters or 0) for o in kept]
    depths = [o.work.depth_tokens + o.work.prompt_tokens + o.work.output_tokens for o in kept]
    prompts = [o.work.prompt_tokens for o in kept if o.phase == "prefill"] or [0]
    return ValidRange(
        weight_types=tuple(sorted({kind for o in kept for kind in weight_types(o.file)})),
        parameters=(min(sizes), max(sizes)),
        depth_tokens=(0, max(depths)),
        prompt_tokens=(min(prompts), max(prompts)),
    )


def reference() -> Coefficients | None:
    """The shipped coefficients of the reference campaign, which serve as prior; None where none is shipped."""
    return read_coefficients(REFERENCE) if REFERENCE.exists() else None


def speed_of(coefficients: Coefficients) -> SpeedFit:
    """The speed part of a coefficient file, ready to predict."""
    return SpeedFit(
        {name: entry.seconds_per_unit for name, entry in coefficients.speed.items()},
        {name: entry.cells for name, entry in coefficients.speed.items()},
    )
