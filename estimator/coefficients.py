"""The coefficient file: what calibration learned from measurements, as plain numbers that people can read.

Owns the format (JSON, `format: 3`). The dataclasses below are the file, field by field:

    {"format": 3, "fitted_at": "2026-11-23T15:00:00Z",
     "machine": {"cpu": ..., "physical_cores": 2, "memory_total_bytes": ...,
                 "bandwidth_bytes_per_s": null, "compute_flop_per_s": null},
     "engine": {"name": "xllamacpp", "version": ..., "system_info": ..., "threads": 2},
     "records": {"journals": 1, "requests": 200, "cells": 40, "models": 5, "digest": "sha256:..."},
     "speed": {"weights.Q4_K": {"seconds_per_unit": 4.1e-11, "shown": "24.4 GB/s", "cells": 12, "origin": "measured",
                                "standard_error": 3e-13}},
     "memory": {"anonymous_constant_bytes": 1e7, "anonymous_bytes_per_vocabulary_entry": 180,
                "anonymous_bytes_per_tensor": 17000, "anonymous_bytes_per_row": 4200,
                "file_constant_bytes": 2e7, "repacked_types": ["Q4_0", "Q4_K"]},
     "held_out": {"prefill": ..., "memory_anonymous": ..., "memory_file": ...,
                  "decode": {"median": 0.05, "worst": 0.2, "relative_interval_90": [-0.1, 0.12], "groups": 5}},
     "valid": {"weight_types": ["Q4_K"], "parameters": [5e8, 7.3e9], "depth_tokens": [0, 1024],
               "prompt_tokens": [64, 512], "concurrency": 1},
     "prior": {"machine": ..., "relative_sd": 0.2, "chosen": ..., "chosen_over_models": 5, "other_machines": 0, ...},
     "evidence": {"runs": [...], "libraries": {"numpy": "2.4.0", ...}, "error_method": ..., "memory_errors": {...},
                  "run_to_run": {"decode": {"relative_sd": 0.02, ...}},
                  "cells": {"decode of mistral:7b Q4_K_M 48/12 at 0": {"seconds": 0.24, ...}},
                  "processes": {"mistral:7b Q4_K_M, context 640, 48 rows": {"anonymous_bytes": ..., ...}}}}

Format 2: prices of a tensor and of a micro-batch's row in place of a sampler candidate's, which is theory now.
Format 3: standard errors of prices, threads of the engine, the evidence (`estimator.evidence`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from estimator.errors import UnreadableFile
from estimator.evidence import Evidence
from estimator.json_files import is_there, read_json, write_whole
from estimator.plain import from_plain, to_plain
from estimator.specs import ModelFile, Workload
from estimator.theory.buffers import micro_batch_rows
from estimator.theory.terms import shown

Interval = tuple[float, float] | None
FORMAT = 3
DEFAULT_PATH = Path("results/coefficients.json")


@dataclass(frozen=True, slots=True)
class SpeedCoefficient:
    """The price of one unit of a term of theory/terms.py, and what it stands on.

    `origin` is "measured" where local records decided it, "prior" where the reference fit did. `standard_error` is in
    the same unit, by the method that `Evidence.error_method` names; None where it cannot be told.
    """

    seconds_per_unit: float
    shown: str
    cells: int = 0
    origin: Literal["measured", "prior"] = "measured"
    standard_error: float | None = None


def speed_coefficient(
    name: str,
    seconds_per_unit: float,
    cells: int = 0,
    origin: Literal["measured", "prior"] = "measured",
    standard_error: float | None = None,
) -> SpeedCoefficient:
    """The coefficient of the term `name` with its readable form. Raises KeyError for an unknown term."""
    return SpeedCoefficient(seconds_per_unit, shown(name, seconds_per_unit), cells, origin, standard_error)


@dataclass(frozen=True, slots=True)
class MemoryCoefficients:
    """What theory leaves out of a process's resident memory, and which types the engine repacks.

    A vocabulary entry costs strings and hash nodes; a tensor the bookkeeping of eight graph nodes
    (llama_context::graph_max_nodes); a row of the micro-batch what the heap keeps of buffers that grew.
    """

    anonymous_constant_bytes: float
    anonymous_bytes_per_vocabulary_entry: float
    anonymous_bytes_per_tensor: float
    anonymous_bytes_per_row: float
    file_constant_bytes: float
    repacked_types: tuple[str, ...]

    def fitted_bytes(self, file: ModelFile, work: Workload) -> float:
        """Anonymous bytes beyond theory: constant + per entry x vocabulary + per tensor x tensors + per row x rows."""
        constant, *amounts = fitted_amounts(file, work)
        prices = (
            self.anonymous_bytes_per_vocabulary_entry,
            self.anonymous_bytes_per_tensor,
            self.anonymous_bytes_per_row,
        )
        return constant * self.anonymous_constant_bytes + sum(p * a for p, a in zip(prices, amounts, strict=True))


def fitted_amounts(file: ModelFile, work: Workload) -> tuple[float, float, float, float]:
    """What the four fitted prices of anonymous memory are multiplied with: 1, vocabulary, tensors, micro-batch rows."""
    tensors = sum(group.tensors for group in file.groups)
    return 1.0, float(file.model.vocabulary), float(tensors), float(micro_batch_rows(work))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How far predictions were off on groups that the fit had not seen.

    `median` and `worst` are |predicted - measured| / measured, of seconds (decode: per output token; prefill:
    of a whole prompt) or bytes (memory: resident). `relative_interval_90` = (low, high): in 90 of 100 cases
    the truth lies between predicted x (1 + low) and predicted x (1 + high), so low is usually negative;
    None where too few groups were held out to say. `interval_origin` is "prior" where too few were held
    out here: it is the reference's interval then, widened to the worst error that was seen here.
    """

    median: float
    worst: float
    groups: int
    relative_interval_90: tuple[float, float] | None = None
    interval_origin: Literal["measured", "prior"] = "measured"


@dataclass(frozen=True, slots=True)
class FittedMachine:
    """The machine that was measured; its probes are None where they were not run."""

    cpu: str
    physical_cores: int
    memory_total_bytes: int
    bandwidth_bytes_per_s: float | None = None
    compute_flop_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class FittedEngine:
    """The engine build that was measured; `system_info` lists its CPU features. No threads: not told."""

    name: str
    version: str
    system_info: str
    threads: int = 0


@dataclass(frozen=True, slots=True)
class FittedRecords:
    """What the fit stands on: counts, and a digest of the records used."""

    journals: int
    requests: int
    cells: int
    models: int
    digest: str


@dataclass(frozen=True, slots=True)
class ValidRange:
    """What was measured: a question outside these ranges is answered with a warning.

    `depth_tokens` reaches to the longest cache that was measured: depth + prompt + output of a request.
    """

    weight_types: tuple[str, ...]
    parameters: tuple[float, float]
    depth_tokens: tuple[int, int]
    prompt_tokens: tuple[int, int]
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Coefficients:
    """A whole coefficient file.

    `held_out` has the keys "decode", "prefill", "memory_anonymous" and "memory_file", as far as they were fitted.
    """

    fitted_at: str
    machine: FittedMachine
    engine: FittedEngine
    records: FittedRecords
    speed: dict[str, SpeedCoefficient]
    memory: MemoryCoefficients | None
    held_out: dict[str, HeldOut]
    valid: ValidRange
    prior: dict[str, Any] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    format: int = FORMAT


def interval_of(coefficients: Coefficients, phase: str) -> Interval:
    """The relative 90 % interval of a phase or part of memory, None where there is none."""
    found = coefficients.held_out.get(phase)
    return None if found is None else found.relative_interval_90


def time_s(speed: Mapping[str, SpeedCoefficient], amounts: Mapping[str, float]) -> float:
    """Σ coefficient x amount over the terms of `amounts`, in seconds; a term that was never fitted counts 0."""
    return sum(speed[name].seconds_per_unit * amount for name, amount in amounts.items() if name in speed)


def read_coefficients(path: Path) -> Coefficients:
    """The coefficients in `path`. Raises UnreadableFile."""
    plain = read_json(path, "coefficients", "fit again with `python -m calibration fit`")
    found = plain.get("format") if isinstance(plain, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise UnreadableFile(f"{path} has format {found}, newer than {FORMAT}: upgrade this program, or fit again")
    if isinstance(found, int) and found < FORMAT:
        raise UnreadableFile(
            f"{path} has format {found}, older than {FORMAT}: fit again with `python -m calibration fit`"
        )
    if found != FORMAT:
        raise UnreadableFile(
            f"{path} is no coefficient file (format {found!r}): fit one with `python -m calibration fit`"
        )
    coefficients = from_plain(Coefficients, plain, str(path))
    _require_possible(coefficients, path)
    return coefficients


def _require_possible(coefficients: Coefficients, path: Path) -> None:
    """Raises UnreadableFile where a price is below 0 or a measured time not above it, or either is no finite number."""
    prices = {f"speed.{name}": entry.seconds_per_unit for name, entry in coefficients.speed.items()}
    times = {f"evidence.cells.{label}": cell.seconds for label, cell in coefficients.evidence.cells.items()}
    odd = [name for name, price in prices.items() if not 0 <= price < math.inf]
    odd += [name for name, seconds in times.items() if not 0 < seconds < math.inf]
    if odd:
        raise UnreadableFile(f"{path}: {odd[0]} holds no possible time: fit again with `python -m calibration fit`")


def find_coefficients(given: Path | None, default: Path = DEFAULT_PATH) -> Coefficients | None:
    """The coefficients in `given`, else in results/coefficients.json of the working directory, else None.

    Raises UnreadableFile: a file that is named, or stands in its place, must be readable.
    """
    if given is None and not is_there(default, "the coefficients"):
        return None
    return read_coefficients(given or default)


def write_coefficients(path: Path, coefficients: Coefficients) -> None:
    """Writes the file whole or not at all: a temporary name beside it, then a rename. Raises OSError."""
    write_whole(path, coefficients_text(coefficients))


# An object without objects in it, which is one line where it fits.
_FLAT = re.compile(r"\{\n\s+([^{}]+?)\n\s*\}|\[\n\s+([^{}\[\]]+?)\n\s*\]")
_LONGEST_LINE = 160


def coefficients_text(coefficients: Coefficients) -> str:
    """The coefficient file as text, `format` first."""
    plain = to_plain(coefficients)
    whole = json.dumps({"format": plain.pop("format"), **plain}, indent=2, allow_nan=False, ensure_ascii=False)
    return _FLAT.sub(_on_one_line, whole) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    short = re.sub(r"\n\s*", " ", found.group(0)).replace("{ ", "{").replace(" }", "}")
    short = short.replace("[ ", "[").replace(" ]", "]")
    return short if len(short) <= _LONGEST_LINE else found.group(0)
