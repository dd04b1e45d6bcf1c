"""The reference file, data/reference_published.json: what published measurements taught, as plain numbers.

Owns the format. Of each group of back ends and each phase it holds

    prices      how many times the ideal time each term takes (1 / efficiency), seconds for `layer` and `step`
    unmeasured  terms that nobody measured, whose price is that of the same work on other weights
    factors     what that is multiplied with for each back end
    points      where was measured
    residuals   how measurements there differed from that, for each back end; see `Residual`
    held_out    the errors and the interval on machines that the fit had not seen, for each back end
    valid       between which values each feature was measured, and which families

and of each phase

    moving      how far cells measured on a machine move its answer, and the errors that leaves; see `Moving`

`make reference-published` rebuilds it from results/reference/published, byte for byte. Format 2: `moving`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from estimator.errors import UnreadableFile
from estimator.json_files import read_json
from estimator.plain import from_plain, to_plain

FORMAT = 2
PATH = Path(__file__).parents[1] / "data/reference_published.json"


@dataclass(frozen=True, slots=True)
class Point:
    """A place where something was measured: `at` in FEATURES of amounts.py."""

    at: tuple[float, ...]
    back_end: str
    family: str
    maker: str


@dataclass(frozen=True, slots=True)
class Residual:
    """log(measured / physics) as a smooth function that fades to 0 far from all points:

    r(x) = Σ weight x exp(-d² / (2 length²)), d² = Σ (feature - at)², and 1 more each for another back end, another
    family, another maker; a weight for each point. The mean of a Gaussian process; kernel ridge regression, `noise`
    its ridge.
    """

    length: float
    noise: float
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class HeldOutMachines:
    """Errors on machines left out whole, |predicted - measured| / measured of tokens per second, contexts up to 1,024.

    `reach`: log(measured / predicted) is within +-reach x (1 + distance) in 90 of 100 cases, each machine x model
    counting the same; None where too few machines were left out to say. `coverage` is the share of rows that an
    interval held whose reach had not seen their machine; `cell_coverage` the same, each machine x model counting the
    same.
    """

    rows: int
    machines: int
    mean: float
    median: float
    worst: float
    reach: float | None = None
    coverage: float | None = None
    cell_coverage: float | None = None


@dataclass(frozen=True, slots=True)
class Strength:
    """How the variance of log(measured / reference) on a machine that was left out divides; the shares add up to 1.

    `common` to all cells of the machine, `alike` to cells alike (exp(-d² / (2 length²)) of the squared distance of
    their features), `noise` of each cell by itself. The reference counts as much as (1 - common) / common own cells
    that are not alike.
    """

    common: float
    alike: float
    length: float
    noise: float


@dataclass(frozen=True, slots=True)
class MovedErrors:
    """Errors of machines left out and moved by `cells` of their own (None: all but the model x type that is asked).

    Of tokens per second, |predicted - measured| / measured, of models x types that none of those cells had, each
    machine counting the same; `unmoved` is the mean without own cells on the same rows. `coverage` is the share that
    intervals held, None without any.
    """

    cells: int | None
    rows: int
    machines: int
    unmoved: float
    mean: float
    median: float
    coverage: float | None = None


@dataclass(frozen=True, slots=True)
class Moving:
    """How own cells move the answers of a phase, whatever the back end, and the errors that left by group of back ends.

    The interval reaches +-reach x (1 + distance) x spread x `widening`, `spread` as of moving.py; None where too few
    machines were left out to say.
    """

    strength: Strength
    widening: float | None
    held_out: dict[str, tuple[MovedErrors, ...]]


@dataclass(frozen=True, slots=True)
class PhaseFit:
    """All that answers one phase of one group of back ends."""

    prices: dict[str, float]
    unmeasured: tuple[str, ...]
    factors: dict[str, float]
    points: tuple[Point, ...]
    residuals: dict[str, Residual]
    held_out: dict[str, HeldOutMachines]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    families: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """A whole reference file. Of each back end: `machines`, by their catalogue names, that were measured with it, and
    `build_years`, the oldest and the newest builds. A question is taken to mean the newest.
    """

    origin: str
    digest: str
    rows: int
    machines: dict[str, tuple[str, ...]]
    build_years: dict[str, tuple[float, float]]
    groups: dict[str, dict[str, PhaseFit]]
    moving: dict[str, Moving]
    format: int = FORMAT


def read_reference(path: Path = PATH) -> Reference:
    """The reference in `path`. Raises UnreadableFile."""
    plain = read_json(path, "the reference", "`make reference-published` writes it")
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise UnreadableFile(f"{path} is no reference of format {FORMAT}: `make reference-published` writes it")
    return from_plain(Reference, plain, str(path))


@cache
def shipped_reference() -> Reference:
    """The reference that came with this program."""
    return read_reference()


def reference_text(reference: Reference) -> str:
    """The file as text, a list of numbers a line."""
    plain = to_plain(reference)
    text = json.dumps({"format": plain.pop("format"), **plain}, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"
