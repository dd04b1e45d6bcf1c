"""The models that a machine runs at a speed, as a table of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from estimator.answer import Quantity
from estimator.ranking.ranked import Ranked
from estimator.render import size, wrapped
from estimator.scope import assumptions
from estimator.specs import Hardware, Workload


def ranking_text(rows: Sequence[Ranked], hardware: Hardware, least_tokens_per_s: float) -> str:
    """One line a model, in the order given; below it what the speeds stand on."""
    free = "memory unknown" if hardware.memory_free_bytes is None else size(hardware.memory_free_bytes)
    free += " usable" if hardware.catalogued else " free now"
    head = f"{'model':<28} {'type':<9} {'weights':>9} {'tok/s':>7} {'90 % interval':>13} {'left':>8}"
    lines = [
        *wrapped("on", f"{hardware.name}, {free} ({hardware.source})"),
        *wrapped("asked", f"at least {least_tokens_per_s:g} tok/s of one request after 512 prompt tokens"),
        "",
        head,
        *map(_line, rows),
    ]
    if not rows:
        lines = [*lines[:3], "no model of the catalogue does"]
    return "\n".join((*lines, "", *_notes(rows, hardware)))


def _line(row: Ranked) -> str:
    speed = row.decode_tokens_per_s
    return (
        f"{row.model:<28} {row.quant:<9} {size(row.weights_bytes):>9} {speed.value or 0.0:>7,.1f} "
        f"{_interval(speed):>13} {size(row.margin_bytes):>8}"
    )


def _interval(speed: Quantity) -> str:
    return "-" if speed.low is None or speed.high is None else f"{speed.low:,.1f} .. {speed.high:,.1f}"


def _notes(rows: Sequence[Ranked], hardware: Hardware) -> Iterator[str]:
    bases = {row.decode_tokens_per_s.basis for row in rows}
    if "theory" in bases:
        yield from wrapped("!", "theory: the fastest that the memory's rate allows; real engines are slower")
    if "reference" in bases:
        yield from wrapped("!", "reference: published speeds of other machines; the low end of the interval counts")
    if "calibrated" in bases:
        yield from wrapped("!", "calibrated: the low end of the interval reaches the speed, where there is one")
    for text in assumptions(Workload(1, 1), hardware):
        yield from wrapped("!", text)
