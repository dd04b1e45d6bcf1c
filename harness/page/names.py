"""What tells things apart on the page: lanes, cells and their colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.page.markup import chart_label
from harness.record import Cell, Record, Subject

Figure = dict[str, Any]
Lane = tuple[str, str, str]

COLOURS = (
    "#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2", "#b07aa1", "#edc948", "#9c755f", "#ff9da7", "#797979",
)  # fmt: skip
_LANE_LABEL = 40
INK = "#333333"
FAILURE = "#c00000"
FILE_BACKED = "#9ecae1"
ANONYMOUS = "#3182bd"
GPU_COLOURS = ("#31a354", "#756bb1", "#e6550d", "#636363")


def lane_of(thing: Cell | Subject) -> Lane:
    """The back end with its model that a cell or an engine belongs to."""
    return (thing.backend, thing.model if isinstance(thing, Cell) else thing.model_name, thing.quant)


def lane_name(lane: Lane) -> str:
    """The lane in words: "llamacpp: mistral:7b Q4_K_M"."""
    return f"{lane[0]}: {' '.join(lane[1:])}".strip()


@dataclass(frozen=True, slots=True)
class Names:
    """The lanes and cells of a run in order of first appearance."""

    lanes: tuple[Lane, ...]
    cells: tuple[Cell, ...]

    def colour(self, cell: Cell) -> str:
        """The cell's colour on every chart; after ten they come again."""
        return COLOURS[self.cells.index(cell) % len(COLOURS)]

    def lane_colour(self, lane: Lane) -> str:
        """The lane's colour where curves belong to lanes."""
        return COLOURS[self.lanes.index(lane) % len(COLOURS)]

    def lane(self, lane: Lane) -> str:
        """The lane's name inside a chart."""
        return chart_label(lane_name(lane), _LANE_LABEL)

    def cell(self, cell: Cell) -> str:
        """The cell's name inside a chart: the lane stands before its shape where there are several."""
        shape = chart_label(cell.shape)
        return f"{self.lane(lane_of(cell))}<br>{shape}" if len(self.lanes) > 1 else shape


def names_of(record: Record) -> Names:
    """The names of a run."""
    cells = tuple(dict.fromkeys(request.cell for request in record.requests))
    lanes = (*(lane_of(subject) for subject in record.subjects), *(lane_of(cell) for cell in cells))
    return Names(tuple(dict.fromkeys(lanes)), cells)
