"""Where an instant of the record stands on the time axis: seconds of a run without the silences between sittings."""

from __future__ import annotations

from dataclasses import dataclass

from harness.epochs import epochs
from harness.metrics import NS
from harness.record import Record

# A longer time in which nothing was loaded or asked is left out: a run that was resumed, or one that waited.
SILENCE_S = 60.0
_GAP_S = 2.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time in which something happened; it begins at `offset_s` of the axis. `epoch`: of which clock."""

    epoch: int
    begin_ns: int
    end_ns: int
    offset_s: float


class Axis:
    """The time axis of a run, which may have been resumed after a reboot, by another clock."""

    def __init__(self, record: Record) -> None:
        self._epochs = epochs(record)
        self.pieces = tuple(_pieces(self._activity(record)))

    def _activity(self, record: Record) -> list[tuple[int, int, int]]:
        """Loads and requests as (epoch, begin, end), in order."""
        loads = [(self._epochs[s.subject_id], s.started_ns, s.ready_ns) for s in record.subjects]
        asked = [
            (self._epochs.get(r.subject_id, 0), min(r.scheduled_ns, r.sent_ns), r.ended_ns) for r in record.requests
        ]
        return sorted(loads + asked)

    def seconds(self, subject_id: str, at_ns: int) -> float | None:
        """Seconds on the axis; None within a silence that is left out."""
        epoch = self._epochs.get(subject_id, 0)
        for piece in self.pieces:
            if piece.epoch == epoch and piece.begin_ns <= at_ns <= piece.end_ns:
                return round(piece.offset_s + (at_ns - piece.begin_ns) * NS, 4)
        return None

    @property
    def cuts_s(self) -> list[float]:
        """Where the axis leaves time out."""
        return [piece.offset_s - _GAP_S / 2 for piece in self.pieces[1:]]


def _pieces(activity: list[tuple[int, int, int]]) -> list[Piece]:
    found: list[tuple[int, int, int]] = []
    for epoch, begin_ns, end_ns in activity:
        if found and found[-1][0] == epoch and (begin_ns - found[-1][2]) * NS <= SILENCE_S:
            found[-1] = (epoch, found[-1][1], max(found[-1][2], end_ns))
        else:
            found.append((epoch, begin_ns, end_ns))
    pieces: list[Piece] = []
    offset_s = 0.0
    for epoch, begin_ns, end_ns in found:
        pieces.append(Piece(epoch, begin_ns, end_ns, offset_s))
        offset_s += (end_ns - begin_ns) * NS + _GAP_S
    return pieces
