"""From records to a coefficient file: gate, fit, hold out, say on what it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from calibration.dataset import Build, Dataset, MemoryObservation, Observation, PhaseName, dataset
from calibration.errors import NothingToFit
from calibration.fitters import PRIOR_SD, MemoryFit, SpeedFit, fit_memory, fit_speed
from calibration.gate import admitted
from calibration.validate import Residual, held_out, memory_residuals, speed_residuals, weight_types
from estimator.coefficients import (
    Coefficients,
    FittedEngine,
    FittedMachine,
    FittedRecords,
    HeldOut,
    MemoryCoefficients,
    ValidRange,
    read_coefficients,
    speed_coefficient,
)
from harness.journal import find_journals, read_record

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


def fit(paths: list[Path], prior: Coefficients | None) -> Fitted:
    """The fit of the newest build in the journals at `paths`.

    Raises NothingToFit with the reasons, BadResults for unreadable journals.
    """
    everything = dataset(read_record(journal) for journal in find_journals(paths))
    build = _newest(everything)
    data = everything.of(build)
    kept, impossible = admitted(data.observations, data.probes)
    left_out = [*data.left_out, *impossible]
    others = Counter(str(o.build) for o in everything.observations if o.build != build)
    left_out += [f"{count} observations of another build: {name}" for name, count in others.items()]
    if not kept:
        raise NothingToFit(f"no usable cell: {'; '.join(left_out[:3]) or 'the records hold no counted request'}")
    prices = _prices(prior, build)
    residuals, memory = speed_residuals(kept, prices), memory_residuals(data.memory)
    speed = fit_speed(kept, prices)
    fitted_memory = fit_memory(data.memory) if data.memory else None
    coefficients = Coefficients(
        fitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(build, data),
        engine=FittedEngine(build.engine, build.version, build.system_info),
        records=_records(data, kept),
        speed={
            name: speed_coefficient(name, price, speed.cells[name], "measured" if speed.cells[name] else "prior")
            for name, price in sorted(speed.seconds_per_unit.items())
        },
        memory=_memory(fitted_memory, data.memory),
        held_out=_held_out(residuals, memory),
        valid=_valid(kept),
        prior=_prior_facts(prior, prices),
    )
    return Fitted(build, coefficients, tuple(kept), residuals, memory, tuple(left_out))


def _newest(data: Dataset) -> Build:
    if not data.observations:
        why = "; ".join(data.left_out[:3]) or "the records hold no counted request"
        raise NothingToFit(f"no usable cell: {why}; measure more with `python -m harness run`")
    return data.observations[-1].build


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
        "engine": f"{prior.engine.name} {prior.engine.version}",
        "digest": prior.records.digest,
        "relative_sd": PRIOR_SD,
    }


def _machine(build: Build, data: Dataset) -> FittedMachine:
    probes = data.probes
    return FittedMachine(
        cpu=build.cpu,
        physical_cores=build.physical_cores,
        memory_total_bytes=build.memory_total_bytes,
        bandwidth_bytes_per_s=probes.read_bytes_per_s if probes else None,
        compute_flop_per_s=probes.matmul_flop_per_s if probes else None,
    )


def _records(data: Dataset, kept: list[Observation]) -> FittedRecords:
    return FittedRecords(
        journals=data.journals,
        requests=sum(o.requests for o in kept if o.phase == "prefill"),
        cells=sum(1 for o in kept if o.phase == "prefill"),
        models=len({o.file.model.name for o in kept}),
        digest=data.digest,
    )


def _memory(fitted: MemoryFit | None, observations: tuple[MemoryObservation, ...]) -> MemoryCoefficients | None:
    if fitted is None:
        return None
    return MemoryCoefficients(
        anonymous_constant_bytes=fitted.anonymous_constant_bytes,
        anonymous_bytes_per_vocabulary_entry=fitted.anonymous_bytes_per_vocabulary_entry,
        file_constant_bytes=fitted.file_constant_bytes,
        repacked_types=_repacked_types(observations),
    )


def _repacked_types(observations: tuple[MemoryObservation, ...]) -> tuple[str, ...]:
    """Types whose matrices were repacked in every model that has them."""
    candidates: set[str] = set()
    plain: set[str] = set()
    for o in observations:
        matrices = {group.quant_type: 0 for group in o.file.groups if group.role == "matrix"}
        for group in o.file.groups:
            if group.role == "matrix":
                matrices[group.quant_type] += group.size_bytes
        repacked = o.buffers.get("repacked_bytes", 0)
        chosen = _types_adding_up(matrices, repacked)
        candidates |= chosen
        plain |= set(matrices) - chosen
    return tuple(sorted(candidates - plain))


def _types_adding_up(sizes: Mapping[str, int], total: int) -> set[str]:
    """The subset of types whose bytes add up best to `total` (there are never more than a handful)."""
    names = sorted(sizes)
    subsets = [{name for bit, name in enumerate(names) if mask >> bit & 1} for mask in range(2 ** len(names))]
    return min(subsets, key=lambda chosen: (abs(sum(sizes[name] for name in chosen) - total), len(chosen)))


def _held_out(
    residuals: Mapping[PhaseName, list[Residual]], memory: Mapping[str, list[Residual]]
) -> dict[str, HeldOut]:
    parts: dict[str, list[Residual]] = {name: list(part) for name, part in residuals.items()}
    parts |= {"memory_anonymous": memory["anonymous"], "memory_file": memory["file"]}
    return {name: found for name, part in parts.items() if (found := held_out(part)) is not None}


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
