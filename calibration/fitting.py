"""From records to a coefficient file: gate, fit, hold out, say on what it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from calibration.dataset import Build, Dataset, Observation, PhaseName, dataset
from calibration.errors import NothingToFit
from calibration.fitters import PRIOR_SD, SpeedFit, fit_memory, fit_speed
from calibration.gate import admitted
from calibration.validate import Residual, held_out, memory_residuals, speed_residuals, weight_types
from estimator.coefficients import (
    Coefficients,
    FittedEngine,
    FittedMachine,
    FittedRecords,
    HeldOut,
    ValidRange,
    read_coefficients,
    speed_coefficient,
)
from harness.journal import read_records
from harness.record import Record

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


def fit(paths: list[Path], prior: Coefficients | None, include_noisy: bool = False) -> Fitted:
    """The fit of the newest build in the journals at `paths`.

    Raises NothingToFit with the reasons, BadResults for unreadable journals.
    """
    return fit_records(*read_records(paths), prior, include_noisy)


def fit_records(
    records: Sequence[Record], unreadable: Sequence[str], prior: Coefficients | None, include_noisy: bool = False
) -> Fitted:
    """The fit of the newest build in `records`. Raises NothingToFit with the reasons."""
    everything = dataset(records, include_noisy)
    build = everything.newest
    if build is None:
        why = "; ".join(everything.left_out[:3]) or "the records hold no counted request"
        raise NothingToFit(f"no usable cell: {why}; measure more, or fit with --include-noisy")
    data = everything.of(build)
    kept, impossible = admitted(data.observations, data.probes)
    left_out = [*unreadable, *data.left_out, *impossible]
    others = Counter(str(o.build) for o in everything.observations if o.build != build)
    left_out += [f"{count} observations of another build: {name}" for name, count in others.items()]
    if not kept:
        raise NothingToFit(f"no possible cell: {'; '.join(left_out[:3])}")
    prices = _prices(prior, build)
    beyond = prior.memory if prior is not None and prices is not None else None
    residuals, memory = speed_residuals(kept, prices), memory_residuals(data.memory, beyond)
    speed = fit_speed(kept, prices)
    coefficients = Coefficients(
        fitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(build, data),
        engine=FittedEngine(build.engine, build.version, build.system_info),
        records=_records(data, kept),
        speed={
            name: speed_coefficient(
                name, price, speed.cells[name], "measured" if speed.cells[name] or prices is None else "prior"
            )
            for name, price in sorted(speed.seconds_per_unit.items())
        },
        memory=fit_memory(data.memory, beyond) if data.memory else None,
        held_out=_held_out(residuals, memory, prior if prices is not None else None),
        valid=_valid(kept),
        prior=_prior_facts(prior, prices),
    )
    return Fitted(build, coefficients, tuple(kept), residuals, memory, tuple(left_out), data.noisy)


def _prices(prior: Coefficients | None, build: Build) -> dict[str, float] | None:
    """The prior's prices, where it is of the same engine; another engine's ratios would mislead."""
    if prior is None or prior.engine.name.split()[0] != build.engine.split()[0]:
        return None
    return {name: entry.seconds_per_unit for name, entry in prior.speed.items()}


def _prior_facts(prior: Coefficients | None, prices: Mapping[str, float] | None) -> dict[str, object]:
    if prior is None or prices is None:
        return {}
    return {
        "machine": prior.machine.cpu,
        "models": prior.records.models,
        "engine": f"{prior.engine.name} {prior.engine.version}",
        "digest": prior.records.digest,
        "relative_sd": PRIOR_SD,
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
        journals=len({o.journal for o in kept}),
        requests=sum(o.requests for o in kept if o.phase == "prefill"),
        cells=sum(1 for o in kept if o.phase == "prefill"),
        models=len({o.file.model.name for o in kept}),
        digest=data.digest,
    )


def _held_out(
    residuals: Mapping[PhaseName, list[Residual]],
    memory: Mapping[str, list[Residual]],
    prior: Coefficients | None,
) -> dict[str, HeldOut]:
    parts: dict[str, list[Residual]] = {name: list(part) for name, part in residuals.items()}
    parts |= {"memory_anonymous": memory["anonymous"], "memory_file": memory["file"]}
    found = {name: error for name, part in parts.items() if (error := held_out(part)) is not None}
    known = prior.held_out if prior else {}
    borrowed = {name: replace(error, interval_origin="prior") for name, error in known.items() if name not in found}
    return borrowed | {name: _with_interval(error, known.get(name)) for name, error in found.items()}


def _with_interval(error: HeldOut, known: HeldOut | None) -> HeldOut:
    """Too few models here for an interval: the prior's, widened to hold the worst error that was seen here."""
    if error.relative_interval_90 is not None or known is None or known.relative_interval_90 is None:
        return error
    low, high = known.relative_interval_90
    wide = (min(low, -error.worst / (1 + error.worst)), max(high, error.worst))
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
