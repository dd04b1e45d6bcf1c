"""Random laws: whether planted prices are found again, and whether intervals hold what they promise.

`python -m tests.benchmarks.laws served [LAWS] [FIRST]` (default 20 from 0): the real harness measures six models on
simulated engines, in real time, without noise but the machine's; the prices fitted beside those planted. Five laws at a
time, since an engine that waits takes hardly any CPU.

`python -m tests.benchmarks.laws stored [LAWS]` (default 120): records as the harness stores them, with stated noise, of
sixteen models in three runs; a fit to ten of them, drawn by lot, predicts the other six, and again on a fourth day.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from calibration.dataset import dataset
from calibration.fitters import fit_speed
from calibration.fitting import fit, speed_of
from calibration.observations import Observation
from calibration.reading import read_dataset
from calibration.validate import held_out, speed_residuals
from estimator.coefficients import Coefficients
from tests.benchmarks.against import middle, print_table, say
from tests.benchmarks.gate import DAYS
from tests.calibration.noisy import Day, noisy_run, parted
from tests.loop import measured
from tests.planted import MODELS, PRICES, law_of, random_prices

# Dense models of the catalogue that a small machine would run, whose prompts cost more than the wait for a CPU.
MANY = (
    *MODELS, "smollm2:360m", "gemma3:1b", "smollm2:1.7b", "gemma:2b", "falcon3:3b", "gemma3:4b", "mistral:7b",
    "llama2:7b", "falcon3:7b", "llama3.1:8b",
)  # fmt: skip
AT_ONCE = 5
FITTED = 10
FIT_RUNS = 3
FIRST_SEED = 500_000


@dataclass(frozen=True, slots=True)
class Found:
    """One law measured: prices found over planted, less 1, and errors of models left out whole, the worst of each."""

    off: dict[str, float]
    left_out: dict[str, float]


def served(seed: int, folder: Path, repeats: int = 3, *, include_noisy: bool = True) -> Found:
    """Law number `seed` measured by the harness on engines that obey it."""
    prices = random_prices(seed)
    records = measured(folder, {name: law_of(name, prices) for name in MODELS}, repeats)
    seen = dataset(records, include_noisy).observations
    fitted = fit_speed(seen).seconds_per_unit
    residuals = speed_residuals(seen, None)
    errors = {phase: held_out(residuals[phase]) for phase in residuals}
    return Found(
        {name: fitted[name] / price - 1 for name, price in prices.items()},
        {phase: error.worst for phase, error in errors.items() if error is not None},
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """One law of stated noise: prices off their planted value and by how many standard errors; of each phase and day
    the cells of unseen models within their interval, of how many."""

    off: dict[str, float]
    sigmas: dict[str, float]
    within: dict[tuple[str, str], tuple[int, int]]
    widths: dict[str, float]


def stored(seed: int, day: Day, folder: Path) -> Stored:
    """Law number `seed` from records with the noise of `day`."""
    machine = Day(day.run, day.within, random_prices(seed))
    models = random.Random(seed).sample(MANY, len(MANY))
    first = FIRST_SEED + 10 * seed
    wholes = [noisy_run(folder / f"whole{at}", first + at, machine, models=tuple(models)) for at in range(FIT_RUNS)]
    known, unseen = set(models[:FITTED]), set(models[FITTED:])
    for at, whole in enumerate(wholes):
        parted(folder / "fit" / str(at), whole, known)
        parted(folder / "same" / str(at), whole, unseen)
    noisy_run(folder / "another" / "day", first + FIT_RUNS, machine, models=tuple(sorted(unseen)))
    fitted = fit([folder / "fit"], None).coefficients
    within = {}
    for when in ("same", "another"):
        observations = read_dataset([folder / when])[0].observations
        for phase in ("prefill", "decode"):
            told = list(_held([o for o in observations if o.phase == phase], fitted))
            within[phase, when] = sum(told), len(told)
    entries = {name: fitted.speed[name] for name in PRICES}
    return Stored(
        {name: entry.seconds_per_unit / machine.prices[name] - 1 for name, entry in entries.items()},
        {
            name: (entry.seconds_per_unit - machine.prices[name]) / entry.standard_error
            for name, entry in entries.items()
            if entry.standard_error
        },
        within,
        {name: error.relative_interval_90[1] for name, error in fitted.held_out.items() if error.relative_interval_90},
    )


def _held(observations: list[Observation], fitted: Coefficients) -> Iterator[bool]:
    speed = speed_of(fitted)
    for o in observations:
        predicted, interval = speed.seconds(o.terms), fitted.held_out[o.phase].relative_interval_90
        assert predicted is not None
        assert interval is not None
        yield interval[0] <= o.seconds / predicted - 1 <= interval[1]


def coverage(found: list[Stored]) -> dict[tuple[str, str], float]:
    """Share of the cells of unseen models within their 90 % interval, over all laws."""
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in found:
        for key, (inside, total) in one.within.items():
            sums[key][0] += inside
            sums[key][1] += total
    return {key: inside / total for key, (inside, total) in sums.items()}


def _served(seed: int) -> Found:
    with tempfile.TemporaryDirectory() as scratch:
        return served(seed, Path(scratch))


def _percent(value: float) -> str:
    return f"{100 * value:+.2f}"


def served_table(laws: int, first: int) -> None:
    """A row for each law."""
    rows, all_off = [], list[float]()
    seeds = range(first, first + laws)
    with ProcessPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(_served, seeds))
    for seed, one in zip(seeds, found, strict=True):
        all_off += one.off.values()
        worst = [f"{100 * one.left_out[phase]:.2f}" for phase in ("prefill", "decode")]
        rows.append([str(seed), *(_percent(one.off[name]) for name in PRICES), *worst])
    print_table(("law", *(f"{name} %" for name in PRICES), "left out, prefill %", "left out, decode %"), rows)
    good = sum(abs(value) <= 0.02 for value in all_off)
    say(f"{good} of {len(all_off)} prices within 2 % of the planted; worst {100 * max(map(abs, all_off)):.2f} %")


def stored_tables(laws: int) -> None:
    """Coverage and prices, a row for each kind of machine."""
    rows, prices = [], []
    for name, day in DAYS.items():
        found = []
        for seed in range(laws):
            with tempfile.TemporaryDirectory() as scratch:
                found.append(stored(seed, day, Path(scratch)))
        held = coverage(found)
        wide = [f"{100 * middle([one.widths[phase] for one in found]):.1f}" for phase in ("prefill", "decode")]
        shares = [f"{100 * held[phase, when]:.1f}" for when in ("same", "another") for phase in ("prefill", "decode")]
        rows.append([name, str(laws), *wide, *shares])
        prices.append([name, *(_off(found, term) for term in PRICES), *_within_errors(found)])
    print_table(
        ("machine", "laws", "interval prefill +%", "decode +%", "in it: prefill %", "decode %",
         "another day: prefill %", "decode %"), rows,
    )  # fmt: skip
    say("")
    print_table(("machine", *(f"{name} %" for name in PRICES), "within 1 error", "within 2"), prices)


def _off(found: list[Stored], name: str) -> str:
    sizes = sorted(abs(one.off[name]) for one in found)
    return f"{100 * middle(sizes):.1f} ({100 * sizes[int(0.95 * len(sizes))]:.1f})"


def _within_errors(found: list[Stored]) -> tuple[str, str]:
    sizes = [abs(value) for one in found for value in _sigmas(one)]
    one, two = (sum(size <= errors for size in sizes) / len(sizes) for errors in (1, 2))
    return f"{one:.0%}", f"{two:.0%}"


def _sigmas(one: Stored) -> list[float]:
    values: Mapping[str, float] = one.sigmas
    return list(values.values())


def main() -> None:
    """Prints the tables of one kind."""
    kind, *numbers = [*sys.argv[1:]] or ["stored"]
    given = [int(number) for number in numbers]
    if kind == "served":
        served_table(*(given + [20, 0][len(given) :]))
    else:
        stored_tables(*(given or [120]))


if __name__ == "__main__":
    main()
