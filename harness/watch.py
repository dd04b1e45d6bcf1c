"""Who is told how a run goes: a progress bar, a test that listens, nobody."""

from __future__ import annotations

from collections.abc import Callable

from harness.record import Cell, Phase, Request


class Watcher:
    """Hears everything and does nothing; subclasses show it."""

    def building(self, name: str, total_bytes: int) -> Callable[[int], None]:
        """A model file of `total_bytes` is being built; the returned function is told the bytes of each piece."""
        del name, total_bytes
        return lambda _: None

    def loading(self, name: str) -> None:
        """An engine starts with the model `name`."""

    def visiting(self, cell: Cell, repeat: int, phase: Phase) -> None:
        """The requests of one visit to `cell` are about to leave."""

    def spent(self, share: float, left_s: float | None) -> None:
        """`share` (0 to 1) of the run is done; `left_s` are left, None where nobody knows."""

    def failed(self, request: Request) -> None:
        """A request failed."""

    def note(self, text: str) -> None:
        """Something that the user should read."""
