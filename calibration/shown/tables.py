"""Tables as plain cells: Markdown for the terminal and docs/accuracy.md, HTML for the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A title, heads, rows of text, and sentences below."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def markdown(table: Table) -> str:
    """The table as Markdown under its title."""
    lines = [f"### {table.title}", "", _line(table.heads), _line(["---"] * len(table.heads)), *map(_line, table.rows)]
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
