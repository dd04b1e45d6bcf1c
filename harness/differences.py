"""A comparison for people, and as JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harness.compare import Comparison, Difference
from harness.record import Cell

_COLUMNS = ("cell", "", "n", "A", "B", "B beside A, %", "verdict", "more")


def show_comparison(console: Console, found: Comparison) -> None:
    """The table, what else differs, cells of one side, and how to read it."""
    for name in (f"A: {found.name_a}", f"B: {found.name_b}"):
        console.print(name, markup=False, highlight=False, soft_wrap=True, emoji=False)
    for line in found.barring:
        _say(console, f"compared although they differ in {line}")
    for line in found.noted:
        _say(console, f"also differs: {line}")
    console.print(_table(found))
    for compared in found.cells:
        for note in compared.notes:
            _say(console, f"{compared.cell_a.shape}: {note}")
    for name, cells in (("A", found.only_a), ("B", found.only_b)):
        for cell in cells:
            _say(console, f"only in {name}: {cell.backend}, {cell.label}")
    _say(console, _legend(found))


def _legend(found: Comparison) -> str:
    chance = f"of {found.judged} comparisons {0.05 * found.judged:.1f} would say so by chance if nothing differed"
    paired = any(d.pairs for cell in found.cells for d in cell.differences)
    how = (
        "p: pairs of neighbours in time" if paired else "what else changed from one run to the other is in the figures"
    )
    drifting = max(found.drift_share.values(), default=0.0)
    wider = f"; intervals are widened, since {drifting:.0%} of the variance may be drift" if drifting else ""
    return (
        f"times: medians; beside A: ratio less 1 with its 95 % interval; faster, slower: it leaves 0 out ({chance}); "
        f"*: for all together; n: repeats; {how}{wider}; "
        f"more: repeats a side that would tell {found.share:.0%} from none; -: decided."
    )


def _table(found: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("cell", "", "verdict") else "right", no_wrap=name != "cell")
    several = len({(c.cell_a.backend, c.cell_a.name) for c in found.cells}) > 1
    for compared in found.cells:
        name = _short(compared.cell_a, several)
        for number, difference in enumerate(compared.differences):
            table.add_row("" if number else name, *_row(difference))
    return table


def _row(d: Difference) -> list[str]:
    count = f"{d.pairs}p" if d.pairs else f"{d.repeats_a}|{d.repeats_b}"
    scale, unit, digits = (1e3, "ms", 1) if d.metric == "TPOT" else (1.0, "s", 3)
    change = "-"
    if d.ratio is not None:
        change = f"{_percent(d.ratio.estimate)} ({_percent(d.ratio.low)}..{_percent(d.ratio.high)})"
    return [
        f"{d.metric} {unit}",
        count,
        f"{d.median_a_s * scale:.{digits}f}",
        f"{d.median_b_s * scale:.{digits}f}",
        change,
        d.word + ("*" if d.firm else ""),
        "-" if d.more_repeats is None else str(d.more_repeats),
    ]


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}"


def _short(cell: Cell, several: bool) -> str:
    """Prompt/output tokens, depth, load; the model where there are several."""
    name = f"{cell.backend} {cell.name} " if several else ""
    parts = [f"{cell.prompt_tokens}/{cell.output_tokens}"]
    parts += [f"d{cell.depth_tokens}"] if cell.depth_tokens else []
    parts += [f"x{cell.concurrency}"] if cell.concurrency > 1 else []
    parts += [f"{cell.rate_per_s:g}/s"] if cell.rate_per_s is not None else []
    return name + " ".join(parts)


def as_json(found: Comparison) -> dict[str, Any]:
    """The fields of Comparison, with units in their names."""
    return asdict(found) | {"comparisons": found.judged, "confidence": 0.95}


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=False, emoji=False)
