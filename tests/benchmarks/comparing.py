"""How often `harness compare` is wrong, and what it finds, on simulated runs of stated noise.

`python -m tests.benchmarks.comparing [PAIRS]`: pairs of runs for each row (default 400).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median

from harness.compare import Comparison, Difference, Side, compare
from harness.record import Record
from tests.benchmarks.against import print_table
from tests.harness.alike import Noise, interleaved, queue, run

QUIET = Noise()
DRIFTING = Noise(drift=0.02, request=0.02)
SHARED = Noise(drift=0.05, request=0.05)
SLOW = 1.05
# Apart from the seeds with which the method was chosen.
FIRST_SEED = 900_000
NAMES = (
    "runs", "noise", "n", "drift share", "same: no difference", "same: firm", "5 % slower: found", "called faster",
    "holds 5 %", "half width", "more",
)  # fmt: skip
Runs = Callable[[int, float], tuple[Side, Side]]


def two(make: Callable[..., Record]) -> Runs:
    """Two runs apart from each other."""
    return lambda seed, slower: (
        Side("A", (make(seed=2 * seed, slower=1.0),)),
        Side("B", (make(seed=2 * seed + 1, slower=slower),)),
    )


def one(noise: Noise, repeats: int) -> Runs:
    """Two back ends in one run."""

    def sides(seed: int, slower: float) -> tuple[Side, Side]:
        record = interleaved(noise, seed, slower, repeats)
        return Side("x", (record,), "x"), Side("y", (record,), "y")

    return sides


def compared(runs: Runs, pairs: int, slower: float) -> tuple[list[Difference], float]:
    """The differences of all pairs of runs, and the median share of drift that was seen."""
    found: list[Comparison] = [compare(*runs(FIRST_SEED + at, slower), anyway=True) for at in range(pairs)]
    rho = median(max(entry.drift_share.values()) for entry in found)
    return [d for entry in found for cell in entry.cells for d in cell.differences], rho


def row(name: str, noise: str, runs: Runs, pairs: int) -> list[str]:
    """A line of the table: the same twice, and one slower by 5 %."""
    same, rho = compared(runs, pairs, 1.0)
    slow, _ = compared(runs, pairs, SLOW)
    held = [d.ratio.low <= SLOW <= d.ratio.high for d in slow if d.ratio]
    more = [d.more_repeats for d in same if d.more_repeats is not None]
    return [
        name,
        noise,
        f"{median(d.pairs or min(d.repeats_a, d.repeats_b) for d in same):.0f}",
        f"{rho:.2f}",
        _share(d.word in ("no difference", "too few") for d in same),
        _share(d.firm for d in same),
        _share(d.word == "slower" for d in slow),
        _share(d.word == "faster" for d in slow),
        _share(held),
        f"{100 * median(d.ratio.half_width for d in same if d.ratio):.1f} %",
        f"{median(more):.0f}" if more else "-",
    ]


def _share(values: Iterable[bool]) -> str:
    listed = list(values)
    return f"{100 * sum(listed) / len(listed):.1f} %"


def main() -> None:
    """Prints the table."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    told = {"quiet": QUIET, "drifting": DRIFTING, "shared": SHARED}
    found = [row("budget 5 min", name, two(partial(run, noise)), pairs) for name, noise in told.items()]
    found += [row("6 repeats", name, two(partial(run, noise, repeats=6)), pairs) for name, noise in told.items()]
    found += [row("interleaved, 10", name, one(noise, 10), pairs) for name, noise in told.items()]
    found += [row("open load, 300", f"{busy:.0%} busy", two(partial(queue, busy)), pairs) for busy in (0.3, 0.6, 0.8)]
    print_table(NAMES, found)


if __name__ == "__main__":
    main()
