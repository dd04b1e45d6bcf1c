"""Two sides, A and B, as a comparison: for each cell that both have, faster, slower or no difference. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from harness.drift import Drift, drift
from harness.epochs import epochs
from harness.errors import NotComparable
from harness.metrics import e2e_from_schedule_s, tpot_s, ttft_from_schedule_s, ttft_s
from harness.ratios import LEAST_PAIRS, LEAST_VALUES, Ratio, paired, unpaired
from harness.record import Cell, Record, Subject
from harness.sameness import barring, noted
from harness.series import At, Metric, Series, Visits, series
from harness.summary import rows

CONFIDENCE = 0.95
_NAMED = 2
# How much wider an interval must be at a confidence.
Widening = Callable[[float], float]

SINGLE: dict[str, Metric] = {"TTFT": ttft_s, "TPOT": tpot_s}
LOADED: dict[str, Metric] = {"TTFT": ttft_from_schedule_s, "TPOT": tpot_s, "E2E": e2e_from_schedule_s}


@dataclass(frozen=True, slots=True)
class Side:
    """One side: records, and of them the lanes of one back end or of all (None)."""

    name: str
    records: tuple[Record, ...]
    backend: str | None = None

    def holds(self, cell: Cell) -> bool:
        """Whether a cell belongs to this side."""
        return self.backend is None or cell.backend == self.backend


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one cell. Medians are seconds, `ratio` is B over A: above 1 is slower.

    `word` is faster or slower where the 95 % interval leaves 1 out, `too few` where there is no interval.
    `firm` is whether that holds for all comparisons together (Bonferroni). `more_repeats` a side would make the
    interval narrow enough to tell the difference asked about from none; None where it is decided.
    """

    metric: str
    median_a_s: float
    median_b_s: float
    repeats_a: int
    repeats_b: int
    pairs: int | None
    ratio: Ratio | None
    word: str
    firm: bool
    more_repeats: int | None


@dataclass(frozen=True, slots=True)
class Compared:
    """A cell that both sides have, and what makes its figures doubtful."""

    cell_a: Cell
    cell_b: Cell
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it. `share` is the difference to be decided (0.05), `drift_share` how much of the variance is drift."""

    name_a: str
    name_b: str
    share: float
    cells: tuple[Compared, ...]
    only_a: tuple[Cell, ...]
    only_b: tuple[Cell, ...]
    barring: tuple[str, ...]
    noted: tuple[str, ...]
    drift_share: dict[str, float]

    @property
    def judged(self) -> int:
        """Comparisons with an interval: each says faster or slower by chance in 5 % of cases."""
        return sum(1 for cell in self.cells for d in cell.differences if d.ratio is not None)


def compare(a: Side, b: Side, share: float = 0.05, anyway: bool = False) -> Comparison:
    """B against A. Raises NotComparable where they are of different things (unless `anyway`) or share no cell."""
    requests = _requests(a), _requests(b)
    free = _free(*requests)
    keys_a, keys_b = ({_key(cell, free): cell for cell in side} for side in requests)
    both = [key for key in keys_a if key in keys_b]
    subjects = [(_subjects(a, _lane(key), free), _subjects(b, _lane(key), free)) for key in both]
    records = a.records, b.records
    barred = _once(line for pair in subjects for line in barring(records, pair))
    if barred and not anyway:
        raise NotComparable(f"A and B differ in {'; '.join(barred)}: with --anyway they are compared all the same")
    if not both:
        raise NotComparable(f"no cell in common: A has {_listed(keys_a.values())}; B has {_listed(keys_b.values())}")
    one_run = set(map(run_of, a.records)) == set(map(run_of, b.records))
    found = [
        [series(name, of, (requests[0][keys_a[key]], requests[1][keys_b[key]]), one_run) for name, of in _metrics(key)]
        for key in both
    ]
    drifts = {name: _drift([s for cell in found for s in cell if s.metric == name]) for name in LOADED}
    judged = _differences(found, {one: wider for _, each in drifts.values() for one, wider in each.items()}, share)
    doubts_a, doubts_b = _doubts(a, "A"), _doubts(b, "B")
    return Comparison(
        a.name,
        b.name,
        share,
        cells=tuple(
            Compared(keys_a[key], keys_b[key], tuple(differences), (*doubts_a[keys_a[key]], *doubts_b[keys_b[key]]))
            for key, differences in zip(both, judged, strict=True)
        ),
        only_a=tuple(cell for key, cell in keys_a.items() if key not in keys_b),
        only_b=tuple(cell for key, cell in keys_b.items() if key not in keys_a),
        barring=barred,
        noted=_once(line for pair in subjects for line in noted(records, pair)),
        drift_share={name: found_drift.share for name, (found_drift, _) in drifts.items()},
    )


def run_of(record: Record) -> str:
    """Which run a record is of, wherever its journal stands: its header (name, start, machine and what was probed)."""
    return repr(record.header)


def _requests(side: Side) -> dict[Cell, Visits]:
    """The counted requests that ended well, by cell and visit; each with its sitting."""
    found: dict[Cell, Visits] = {}
    for record in side.records:
        clocks = epochs(record)
        for request in record.requests:
            if request.phase == "counted" and request.error is None and side.holds(request.cell):
                visit = (record.path or record.header.run_id, request.subject_id, request.repeat)
                sitting = record.header.started_at, clocks.get(request.subject_id, 0)
                found.setdefault(request.cell, {}).setdefault(visit, []).append((sitting, request))
    return found


def _lane(cell: Cell) -> tuple[str, str, str]:
    return cell.backend, cell.model, cell.quant


def _subjects(side: Side, lane: tuple[str, str, str], free: list[str]) -> list[Subject]:
    """The engines of a side that the cells of a lane were sent to."""
    listed = [s for record in side.records for s in record.subjects if side.backend in (None, s.backend)]
    return [s for s in listed if _masked((s.backend, s.model_name, s.quant), free) == lane]


def _once(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))


_LANE = ("backend", "model", "quant")


def _free(a: Iterable[Cell], b: Iterable[Cell]) -> list[str]:
    """What need not be the same for two cells to be compared: back end, model, weight type, where each side has one."""
    sides = [list(a), list(b)]
    return [name for name in _LANE if all(len({getattr(cell, name) for cell in side}) <= 1 for side in sides)]


def _masked(lane: tuple[str, str, str], free: list[str]) -> tuple[str, str, str]:
    backend, model, quant = ("" if name in free else value for name, value in zip(_LANE, lane, strict=True))
    return backend, model, quant


def _key(cell: Cell, free: list[str]) -> Cell:
    backend, model, quant = _masked(_lane(cell), free)
    return replace(cell, backend=backend, model=model, quant=quant)


def _listed(cells: Iterable[Cell]) -> str:
    names = [f"{cell.backend}: {cell.label}" for cell in cells]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return "; ".join(names[:_NAMED] + more) or "none that ended well"


def _metrics(cell: Cell) -> Iterable[tuple[str, Metric]]:
    return (LOADED if cell.is_load else SINGLE).items()


def _doubts(side: Side, name: str) -> defaultdict[Cell, dict[str, None]]:
    """The verdicts other than VALID on the cells of a side."""
    found: defaultdict[Cell, dict[str, None]] = defaultdict(dict)
    for row in (row for record in side.records for row in rows(record)):
        if row.verdict.word != "VALID" and side.holds(row.cell):
            found[row.cell][f"{name} is {row.verdict.word}: {row.verdict.reasons[0]}"] = None
    return found


def _drift(listed: list[Series]) -> tuple[Drift, dict[int, Widening]]:
    """The drift in one metric of all cells, and how much wider it makes the interval of each series (by identity).

    A side's cells stand in one line, in order of time, runs one after the other.
    """
    sides: dict[tuple[bool, int], list[tuple[At, int, float]]] = {}
    for label, one in enumerate(listed):
        for number, own in enumerate(one.lines):
            sides.setdefault((bool(one.pairs), number), []).extend((at, label, value) for at, value in own)
    lines = [sorted(line) for line in sides.values()]
    found = drift([[(label, value) for _, label, value in line] for line in lines])
    places: dict[int, list[list[int]]] = {}
    for line in lines:
        for label, one in enumerate(listed):
            places.setdefault(id(one), []).append([place for place, entry in enumerate(line) if entry[1] == label])
    return found, {one: partial(_widening, found, of) for one, of in places.items()}


def _widening(found: Drift, places: list[list[int]], confidence: float) -> float:
    """How much wider drift makes an interval of values that stand at these places of some lines."""
    return max(1.0, *(found.widening(line, confidence) for line in places))


def _differences(found: list[list[Series]], wider: dict[int, Widening], share: float) -> list[list[Difference]]:
    """The verdicts on each cell; intervals are as much wider as `wider` says, by identity of the series.

    All comparisons with an interval count for what holds for all of them together.
    """
    cells = [[(s, _interval(s, wider[id(s)], CONFIDENCE)) for s in cell if s.a and s.b] for cell in found]
    judged = sum(1 for cell in cells for _, ratio in cell if ratio is not None)
    together = 1 - (1 - CONFIDENCE) / max(1, judged)
    return [
        [_difference(s, ratio, ratio and _interval(s, wider[id(s)], together), share) for s, ratio in cell]
        for cell in cells
    ]


def _interval(of: Series, wider: Widening, confidence: float) -> Ratio | None:
    if of.pairs:
        return paired(of.logs[0], confidence, wider(confidence))
    return unpaired(of.logs[0], of.logs[1], confidence, wider(confidence))


def _difference(of: Series, ratio: Ratio | None, strict: Ratio | None, share: float) -> Difference:
    """The verdict on one metric of a cell; `strict` is the interval that holds for all comparisons together."""
    repeats_a, repeats_b = (len({unit.visit for unit in side}) for side in (of.a, of.b))
    return Difference(
        metric=of.metric,
        median_a_s=math.exp(median(unit.log for unit in of.a)),
        median_b_s=math.exp(median(unit.log for unit in of.b)),
        repeats_a=repeats_a,
        repeats_b=repeats_b,
        pairs=len(of.pairs) or None,
        ratio=ratio,
        word=_word(ratio),
        firm=strict is not None and not strict.low <= 1 <= strict.high,
        more_repeats=_more(ratio, of, min(repeats_a, repeats_b), share),
    )


def _word(ratio: Ratio | None) -> str:
    if ratio is None:
        return "too few"
    return "slower" if ratio.low > 1 else "faster" if ratio.high < 1 else "no difference"


def _more(ratio: Ratio | None, of: Series, repeats: int, share: float) -> int | None:
    """More repeats a side until the interval, which shrinks as 1 / sqrt(repeats), cannot hold both 0 and `share`."""
    units, least = (len(of.pairs), LEAST_PAIRS) if of.pairs else (min(len(of.a), len(of.b)), LEAST_VALUES)
    if ratio is None:
        return max(1, math.ceil(repeats * least / units) - repeats)
    within = ratio.high < 1 + share and ratio.low > 1 / (1 + share)
    if _word(ratio) != "no difference" or within:
        return None
    return max(1, math.ceil(repeats * (ratio.half_width / (math.log1p(share) / 2)) ** 2) - repeats)
