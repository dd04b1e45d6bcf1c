"""Every engine build on every machine in some records, each by itself: what machines differ by, a file for each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

from calibration.errors import NothingToFit
from calibration.fitting import Builds, Fitted, speed_of
from calibration.observations import Build, PhaseName

PHASES: tuple[PhaseName, ...] = ("decode", "prefill")
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Effect:
    """What a build's cells of a phase take beside the first build's prices: one factor, the median of measured /
    predicted, and how far a cell is from it (median); None where no cell can be compared."""

    factor: float
    beyond: float


def every(builds: Builds) -> tuple[list[Fitted], list[str]]:
    """The fit of each build, the one with the latest run first, and a sentence on each that cannot be fitted."""
    fitted, failed = [], []
    for build in reversed(builds.parts):
        try:
            fitted.append(builds.fit(build))
        except NothingToFit as error:
            failed.append(f"{build}: {error}")
    return fitted, failed


def effects(fitted: Sequence[Fitted]) -> list[dict[PhaseName, Effect | None]]:
    """Of each fit against the first, by phase."""
    return [{phase: _effect(fitted[0], one, phase) for phase in PHASES} for one in fitted]


def _effect(first: Fitted, one: Fitted, phase: PhaseName) -> Effect | None:
    speed = speed_of(first.coefficients)
    pairs = [(o.seconds, speed.seconds(o.terms)) for o in one.observations if o.phase == phase]
    ratios = [seconds / predicted for seconds, predicted in pairs if predicted]
    if not ratios:
        return None
    factor = median(ratios)
    return Effect(factor, median(abs(ratio / factor - 1) for ratio in ratios))


def file_of(folder: Path, build: Build) -> Path:
    """A name for each build: processor and engine in words, eight digits of the SHA-256 of all that it is."""
    words = re.sub(r"[^a-z0-9.]+", "-", f"{build.cpu} {build.engine} {build.version}".lower()).strip("-.")
    return folder / f"{words[:_LONGEST_NAME]}-{hashlib.sha256(repr(build).encode()).hexdigest()[:8]}.json"


def show_every(console: Console, fitted: Sequence[Fitted], files: Sequence[Path]) -> None:
    """A row for each build: its factors against the first, the strength of its prior; then its name and its file."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("build", "memory", "cells", "decode x", "beyond", "prefill x", "beyond", "prior ±"):
        table.add_column(name, justify="right")
    for number, (one, effect) in enumerate(zip(fitted, effects(fitted), strict=True), 1):
        c = one.coefficients
        sd = c.prior.get("relative_sd")
        texts = (text for phase in PHASES for text in _texts(effect[phase]))
        memory = f"{one.build.memory_total_bytes / 2**30:.1f} GiB"
        table.add_row(str(number), memory, str(c.records.cells), *texts, "-" if sd is None else f"{sd:.0%}")
    console.print(table)
    for number, (one, path) in enumerate(zip(fitted, files, strict=True), 1):
        console.print(f"{number}: {one.build}: {path.name}", markup=False, highlight=False, soft_wrap=True)


def _texts(effect: Effect | None) -> tuple[str, str]:
    return ("-", "-") if effect is None else (f"{effect.factor:.2f}", f"{effect.beyond:.1%}")
