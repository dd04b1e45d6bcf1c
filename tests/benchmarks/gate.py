"""How often the gate is wrong: planted regressions caught, clean runs let through, wrong models told from slow engines.

`python -m tests.benchmarks.gate [PAIRS]` (default 100): each time a fit to three runs of a planted machine (six models,
four cells each, eight requests a cell) and new runs of it, held to the default limits.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from calibration.check import Checked, check
from calibration.fitting import fit
from calibration.limits import DEFAULT, limits
from estimator.coefficients import Coefficients
from estimator.specs import Workload
from tests.benchmarks.against import print_table
from tests.calibration.noisy import Day, Slower, noisy_run, unchanged
from tests.harness.alike import Noise
from tests.planted import MODELS

DAYS = {
    "quiet": Day(0.01, Noise(drift=0.01, request=0.02)),
    "drifting": Day(0.02, Noise(drift=0.02, request=0.03)),
    "shared": Day(0.05, Noise(drift=0.05, request=0.05)),
}
FIT_RUNS = 3
# Apart from the seeds with which the method was chosen.
FIRST_SEED = 900_000


def only(phase: str, factor: float, models: tuple[str, ...] = MODELS, deep: bool = False) -> Slower:
    """Slower in one phase, of some models, or in deep cells alone."""

    def slower(which: str, model: str, work: Workload) -> float:
        return factor if which == phase and model in models and (work.depth_tokens > 0 or not deep) else 1.0

    return slower


CASES: dict[str, tuple[Slower, str]] = {
    "clean": (unchanged, ""),
    "decode +10 %, all": (only("decode", 1.1), "engine slower"),
    "prefill +10 %, all": (only("prefill", 1.1), "engine slower"),
    "decode +10 %, one model": (only("decode", 1.1, MODELS[2:3]), "engine slower"),
    "decode +10 %, deep cells": (only("decode", 1.1, deep=True), "engine slower"),
    "decode +5 %, all": (only("decode", 1.05), "engine slower"),
    "anonymous memory +5 %": (only("memory", 1.05), "engine slower"),
}


def counted(found: list[Checked], cause: str) -> list[str]:
    """Runs that fail, that are called by the right cause, and by another one."""
    total = len(found)
    fails = sum(not c.passes for c in found)
    right = sum(any(f.cause == cause for f in c.findings) for c in found)
    wrong = sum(any(f.cause not in (cause, "engine faster") for f in c.findings) for c in found)
    return [f"{100 * n / total:.0f} %" for n in (fails, right, wrong)]


def fitted(folder: Path, day: Day, seed: int, models: tuple[str, ...] = MODELS) -> Coefficients:
    """Coefficients of the machine on some days."""
    return fit(
        [noisy_run(folder / f"fit{at}", seed + at, day, models=models) for at in range(FIT_RUNS)], None
    ).coefficients


def row(
    name: str, day_name: str, pairs: int, case: tuple[Slower, str], base: Callable[[int], Coefficients]
) -> list[str]:
    """A line of the table."""
    slower, cause = case
    found = []
    for at in range(pairs):
        with tempfile.TemporaryDirectory() as scratch:
            place = noisy_run(Path(scratch) / "new", FIRST_SEED + 10 * at + 9, DAYS[day_name], slower)
            found.append(check([place], base(at), limits(DEFAULT)))
    least = sorted(c.least_seen.get("decode", 0.0) for c in found)[len(found) // 2]
    return [name, day_name, str(pairs), *counted(found, cause), f"{100 * least:.1f} %"]


def main() -> None:
    """Prints the table."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    rows = []
    for day_name, day in DAYS.items():
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            known = [fitted(place / str(at), day, FIRST_SEED + 10 * at) for at in range(pairs)]
            rows += [row(name, day_name, pairs, case, known.__getitem__) for name, case in CASES.items()]
            five = [fitted(place / f"five{at}", day, FIRST_SEED + 10 * at, MODELS[:5]) for at in range(pairs)]
            odd = (only("decode", 1.3, MODELS[5:]), "model")
            rows.append(row("a model unlike the fit (decode +30 %)", day_name, pairs, odd, five.__getitem__))
    print_table(("planted", "machine", "runs", "exit 1", "called so", "called otherwise", "least seen"), rows)


if __name__ == "__main__":
    main()
