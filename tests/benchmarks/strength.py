"""How strongly a fit should be drawn toward the prior, and what other machines' records are worth.

`python -m tests.benchmarks.strength drawn [MACHINES] [FIRST]` (default 40, 0): machines whose prices are the shipped
prior's, all times a factor (0.5 of the logarithm) and each times one of its own, as wide as the row says. Terms are
wrong and requests scatter as in `tests.benchmarks.planning`, all in virtual time. Cells are drawn by lot from its grid;
errors are of five other models, of what prices explain. A column for each strength, then for the strength that the
cells choose.

`python -m tests.benchmarks.strength stored [DRAWS]` (default 20): real cells of two machines, in `results/machines` and
`results/reference`. Each is fitted with the other as its prior: every model in turn is left out, cells of the others
are drawn by lot, and the model left out is predicted: median of |log| (90th percentile).

Both end with how much larger than the least of its row the error is, the mean over all rows, and over those of the
fewest cells, for which the default is made.

`python -m tests.benchmarks.strength machines [MACHINES]` (default 40): the drawn machines again, by fits that know five
or thirty others, of twenty cells each, and by fits that do not. Populations: *shifted*, all unlike the shipped machine
in the same way; *mixed*, a third of the prices differ between machines, the rest hardly; *one among*, the shipped
machine is one like the others; *unlike*, it is the middle of them, and nothing is shared.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np

from calibration.belief import PHASES
from calibration.candidates import Cell, questions
from calibration.fitters import SpeedFit, fit_speed
from calibration.machines import Told, pooled, told, units
from calibration.observations import Observation
from calibration.reading import read_dataset
from calibration.strength import CUT, SDS, Fits, Known
from calibration.validate import shape_of
from tests.benchmarks.against import print_table
from tests.benchmarks.planning import (
    ASKED_MODELS,
    CAMPAIGN,
    GRID_MODELS,
    REPEATS,
    SHAPES,
    Drawn,
    errors,
    files,
    prior_prices,
)

WIDER = (*SDS, 3.0)
WIDTHS = (0.1, 0.2, 0.3, 0.5, 0.7)
CELLS = (3, 8, 20, 60)
FEW = 2
MACHINES = CAMPAIGN.parent / "machines"
OTHERS = (5, 30)
OTHERS_CELLS = 20
# Standard deviations of a price: of the population about the shipped machine, of a machine about its population.
POPULATIONS = {
    "shifted": (0.4, 0.1, 0.1),
    "mixed": (0.2, 0.5, 0.05),
    "one among": (0.3, 0.3, 0.3),
    "unlike": (0, 0.4, 0.4),
}


def drawn(seed: int, width: float) -> Drawn:
    """Machine number `seed`, each of whose prices differs from the prior's ratios by `width`."""
    rng = np.random.default_rng(seed)
    whole = math.exp(0.5 * rng.normal())
    return Drawn({n: p * whole * math.exp(width * rng.normal()) for n, p in prior_prices().items()}, rng, {})


def grid() -> list[Cell]:
    """All cells that may be measured."""
    return [Cell(file, work, REPEATS) for file in files(GRID_MODELS) for work in SHAPES]


def some(machine: Drawn, count: int) -> list[Observation]:
    """Both phases of so many cells of the grid, by lot."""
    cells = grid()
    return [o for at in machine.rng.permutation(len(cells))[:count] for o in machine.measured(cells[int(at)])]


def off(machine: Drawn, fit: SpeedFit, asked: Sequence[Cell]) -> float:
    """Median error of what prices explain, the mean of both phases."""
    found = errors(machine, fit, asked)
    return fmean(found[f"{phase} prices"] for phase in PHASES)


def over(rows: Sequence[Sequence[float]], few: int = len(CELLS)) -> list[str]:
    """Of each column the mean of error / least of the row, less 1, over rows of the `few` least numbers of cells."""
    chosen = np.array([row for at, row in enumerate(rows) if at % len(CELLS) < few])
    return [f"{value:+.0%}" for value in (chosen / chosen.min(axis=1, keepdims=True)).mean(axis=0) - 1]


def drawn_table(machines: int, first: int = 0) -> None:
    """Prints medians over the machines, a row for each width and number of cells."""
    prior, asked, rows, plain = prior_prices(), questions(files(ASKED_MODELS)), [], []
    for width in WIDTHS:
        for count in CELLS:
            found: dict[str, list[float]] = {}
            for seed in range(first, first + machines):
                machine = drawn(seed, width)
                seen = some(machine, count)
                for sd in WIDER:
                    found.setdefault(f"{sd:g}", []).append(off(machine, fit_speed(seen, prior, sd), asked))
                found.setdefault("chosen", []).append(off(machine, Fits(seen, Known(prior)).fit(seen), asked))
            rows.append([f"{width:g}", str(count), *(f"{median(values):.1%}" for values in found.values())])
            plain.append([median(values) for values in found.values()])
    rows += [["over the least", "all", *over(plain)], ["over the least", "few", *over(plain, FEW)]]
    print_table(("prices differ by", "cells", *(f"{sd:g}" for sd in WIDER), "chosen"), rows)


@dataclass(frozen=True, slots=True)
class Real:
    """A machine that was measured: its observations."""

    name: str
    observations: list[Observation]

    @property
    def prices(self) -> dict[str, float]:
        """Its own fit, without any prior."""
        return fit_speed(self.observations).seconds_per_unit


def real(name: str, path: Path) -> Real:
    """The machine at `path`, NOISY cells too, and those that the gate would drop: the probes of the EPYC 9005 were
    disturbed (20 GB/s, where its decode reads 32 to 42)."""
    data, _ = read_dataset([path], include_noisy=True)
    return Real(name, list(data.observations))


def left_out(machine: Real, prior: dict[str, float], count: int, rng: np.random.Generator) -> dict[str, list[float]]:
    """|log(predicted / measured)| of every cell of each model left out, by strength."""
    found: dict[str, list[float]] = {}
    for model in sorted({shape_of(o.file) for o in machine.observations}):
        rest = [o for o in machine.observations if shape_of(o.file) != model]
        cells = sorted({(o.file.model.name, o.file.quant, str(o.work)) for o in rest})
        taken = {cells[int(at)] for at in rng.permutation(len(cells))[:count]}
        seen = [o for o in rest if (o.file.model.name, o.file.quant, str(o.work)) in taken]
        fits = {f"{sd:g}": fit_speed(seen, prior, sd) for sd in WIDER} | {"chosen": Fits(seen, Known(prior)).fit(seen)}
        for name, fit in fits.items():
            asked = [(fit.seconds(o.terms), o.seconds) for o in machine.observations if shape_of(o.file) == model]
            found.setdefault(name, []).extend(abs(math.log(said / seconds)) for said, seconds in asked if said)
    return found


def stored_table(draws: int) -> None:
    """Prints median and 90th percentile for each machine and number of cells."""
    pair = (real("EPYC 7003", CAMPAIGN), real("EPYC 9005", MACHINES))
    rows, plain = [], []
    for machine, other in (pair, pair[::-1]):
        prior = other.prices
        for count in CELLS:
            rng, found = np.random.default_rng(count), dict[str, list[float]]()
            for _ in range(draws):
                for name, values in left_out(machine, prior, count, rng).items():
                    found.setdefault(name, []).extend(values)
            both = (f"{median(v):.1%} ({np.quantile(v, 0.9):.1%})" for v in found.values())
            rows.append([machine.name, other.name, str(count), *both])
            plain.append([fmean(min(CUT, value) for value in values) for values in found.values()])
    rows += [["over the least", "", "all", *over(plain)], ["over the least", "", "few", *over(plain, FEW)]]
    print_table(("machine", "prior", "cells", *(f"{sd:g}" for sd in WIDER), "chosen"), rows)


def population(seed: int, kind: str, count: int) -> list[Drawn]:
    """So many machines of one population and one more, the first."""
    shift, wide, narrow = POPULATIONS[kind]
    rng, prior = np.random.default_rng(10_000 + seed), prior_prices()
    middle = {name: price * math.exp(shift * rng.normal()) for name, price in prior.items()}
    widths = {name: wide if rng.random() < 1 / 3 else narrow for name in prior}
    machines = []
    for _ in range(count + 1):
        whole = math.exp(0.5 * rng.normal())
        prices = {n: p * whole * math.exp(widths[n] * rng.normal()) for n, p in middle.items()}
        machines.append(Drawn(prices, rng, {}))
    return machines


def machines_table(machines: int) -> None:
    """Prints the error without and with others' records, and how often the others made it worse by a tenth."""
    prior, asked, rows = prior_prices(), questions(files(ASKED_MODELS)), []
    for kind in POPULATIONS:
        found: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for seed in range(machines):
            mine, *others = population(seed, kind, max(OTHERS))
            seen = [some(other, OTHERS_CELLS) for other in others]
            unit = units(prior, [o for one in seen for o in one])
            says = [one for other in seen if (one := told(other, prior, unit)) is not None]
            for count in CELLS:
                _compared(found, (mine, some(mine, count)), (unit, says), asked)
        for (count, others_used), pairs in sorted(found.items()):
            alone, together = (median(values) for values in zip(*pairs, strict=True))
            worse = fmean(b > 1.1 * a for a, b in pairs)
            better = fmean(b < a / 1.1 for a, b in pairs)
            words = [f"{value:.1%}" for value in (alone, together)] + [f"{share:.0%}" for share in (better, worse)]
            rows.append([kind, str(count), str(others_used), *words])
    print_table(
        ("population", "cells", "others", "alone", "with others", "better by a tenth", "worse by a tenth"), rows
    )


def _compared(
    found: dict[tuple[int, int], list[tuple[float, float]]],
    here: tuple[Drawn, list[Observation]],
    others: tuple[dict[str, float], list[Told]],
    asked: Sequence[Cell],
) -> None:
    (mine, seen), (unit, says) = here, others
    alone = off(mine, Fits(seen, Known(prior_prices())).fit(seen), asked)
    for number in OTHERS:
        together = Fits(seen, pooled(prior_prices(), unit, says[:number])).fit(seen)
        found.setdefault((len(seen) // 2, number), []).append((alone, off(mine, together, asked)))


def main() -> None:
    """Prints one of the tables."""
    kind, *numbers = sys.argv[1:] or ["drawn"]
    given = [int(number) for number in numbers]
    if kind == "stored":
        stored_table(*(given or [20]))
    elif kind == "machines":
        machines_table(*(given or [40]))
    else:
        drawn_table(*(given or [40]))


if __name__ == "__main__":
    main()
