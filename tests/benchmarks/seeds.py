"""Whether speed and memory depend on the values: two seeds of one weight-free shape, interleaved.

`python -m tests.benchmarks.seeds [MODEL] [ROUNDS]`: each round starts an engine for each seed and
measures prefill and decode; the medians of the seeds are compared with the spread of the rounds.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median, stdev

from estimator.catalog import find_model
from harness.metrics import known, tpot_s, ttft_s
from harness.plan import Plan, Shape
from harness.record import Record
from harness.summary import loaded
from harness.weights.store import Store
from tests.harness.making import counted, ran

PLAN = Plan(models=("seeds",), shapes=(Shape(128, 32),), repeats=3)


def once(path: Path, folder: Path) -> Record:
    """One engine, three counted requests."""
    return ran(folder, replace(PLAN, models=(str(path),)))


def main() -> None:
    """Prints medians and spread of each seed."""
    name = sys.argv[1] if len(sys.argv) > 1 else "tinyllama"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    model = find_model(name)
    found: dict[int, dict[str, list[float]]] = {seed: {"ttft": [], "tpot": [], "rss": []} for seed in (1, 2)}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(rounds):
            for seed in (1, 2):
                path = Store().build(model, "Q4_K_M", seed)
                record = once(path, Path(scratch) / f"{turn}-{seed}")
                (requests,) = counted(record).values()
                found[seed]["ttft"].append(median(known(ttft_s(r) for r in requests)))
                found[seed]["tpot"].append(median(known(tpot_s(r) for r in requests)))
                found[seed]["rss"].append(float(loaded(record)[0].peak_resident_bytes or 0))
    for what, unit, scale in (("ttft", "ms", 1e3), ("tpot", "ms", 1e3), ("rss", "MiB", 1 / 2**20)):
        one, two = found[1][what], found[2][what]
        print(  # noqa: T201
            f"{what}: seed 1 {median(one) * scale:.2f} {unit}, seed 2 {median(two) * scale:.2f} {unit} "
            f"({median(two) / median(one) - 1:+.1%}); spread between rounds {stdev(one + two) / median(one + two):.1%}"
        )


if __name__ == "__main__":
    main()
