"""Published measurements as the fit uses them: a row of results/reference/published with its model and machine."""

from __future__ import annotations

import csv
import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from calibration.errors import UnreadableResults
from estimator import catalog
from estimator.errors import UnknownName
from estimator.hardware import find_part
from estimator.reference.files import file_by_name
from estimator.reference.machine import BackEnd, Machine, machine_of_part
from estimator.specs import Model, ModelFile, Workload

FOLDER = Path("results/reference/published")
_FILES = ("throughput.csv", "models.toml")
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Row:
    """One published rate. `machine` and `file` are None where its figures or its shape are not known."""

    number: int
    source: str
    engine: str
    build_year: float
    machine_name: str
    machine: Machine | None
    memory_bytes: int | None
    model_name: str
    quant: str
    file: ModelFile | None
    back_end: str
    phase: str
    work: Workload
    threads: int | None
    tokens_per_s: float

    @property
    def seconds(self) -> float:
        """Of the whole prompt (prefill), or of one token (decode)."""
        return (self.work.prompt_tokens if self.phase == "prefill" else 1) / self.tokens_per_s

    @property
    def label(self) -> str:
        shape = f"pp{self.work.prompt_tokens}" if self.phase == "prefill" else f"tg{self.work.output_tokens}"
        return f"line {self.number}: {self.machine_name}, {self.back_end}, {self.model_name} {self.quant}, {shape}"

    @property
    def build(self) -> dict[str, float]:
        return {"build_year": self.build_year, "single_run": float("(main)" in self.engine)}


def published_rows(folder: Path = FOLDER) -> list[Row]:
    """Every row of the folder, possible or not. Raises UnreadableResults."""
    try:
        extra = _models(folder / "models.toml")
        rows = [_row(number, entry, extra) for number, entry in enumerate(_table(folder / "throughput.csv"), start=2)]
    except (OSError, KeyError, ValueError) as error:
        raise UnreadableResults(f"cannot read published measurements in {folder}: {error}") from error
    return rows


def digest_of(rows: Sequence[Row], folder: Path = FOLDER) -> str:
    """A digest of the data files, and of what the catalogue says of the machines of `rows`."""
    whole = hashlib.sha256()
    for name in _FILES:
        whole.update((folder / name).read_bytes())
    for machine in sorted({str(row.machine) for row in rows}):
        whole.update(machine.encode())
    return f"sha256:{whole.hexdigest()}"


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _models(path: Path) -> dict[str, Model]:
    found = tomllib.loads(path.read_text("utf-8"))["model"]
    return {row["names"][0]: Model(**{**row, "names": tuple(row["names"])}) for row in found}


def _row(number: int, entry: dict[str, str], extra: dict[str, Model]) -> Row:
    shape, phase = entry["shape"], entry["phase"]
    work = Workload(
        prompt_tokens=int(entry["prompt_tokens"] or 1),
        output_tokens=int(entry["output_tokens"] or 1),
        flash_attention=entry["flash_attention"] == "1",
    )
    machine = _machine(entry["machine"], cast(BackEnd, entry["backend"]))
    return Row(
        number=number,
        source=entry["source"],
        engine=entry["engine"],
        build_year=float(entry["build_year"]),
        machine_name=machine.name if machine else entry["machine"],
        machine=machine,
        memory_bytes=int(entry["memory_gib"]) * _GIB if entry["memory_gib"] else None,
        model_name=entry["model"],
        quant=entry["quant"],
        file=_file(extra.get(shape) or catalog.find_model(shape), entry["quant"], entry["file_gib"]) if shape else None,
        back_end=entry["backend"],
        phase=phase,
        work=work,
        threads=int(entry["threads"]) if entry["threads"] else None,
        tokens_per_s=float(entry["tokens_per_s"]),
    )


@cache
def _machine(name: str, back_end: BackEnd) -> Machine | None:
    """What the catalogue says of it; None where it does not hold it."""
    try:
        return machine_of_part(find_part(name), back_end)
    except UnknownName:
        return None


@cache
def _file(model: Model, quant: str, file_gib: str) -> ModelFile | None:
    return file_by_name(model, quant, float(file_gib) * _GIB if file_gib else None)
