"""The run's progress on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from harness.record import Cell, Phase, Request
from harness.watch import Watcher

_FAILURES_IN_WORDS = 10


class ProgressBar(Watcher):
    """Shows what runs, how far it is and the time left. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._failures = 0
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"), TimeElapsedColumn(),
            console=console, refresh_per_second=2, transient=True,
        )  # fmt: skip
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def building(self, name: str, total_bytes: int) -> Callable[[int], None]:
        """Shows the bytes only once the first are written: a cached file shows nothing."""
        written = 0

        def wrote(size: int) -> None:
            nonlocal written
            if not written:
                self.note(f"building the weight-free model file of {name}: {total_bytes / 1e9:.1f} GB, once")
            written += size
            self._describe(f"building {name}", written / total_bytes, "")

        return wrote

    def loading(self, name: str) -> None:
        self._describe(f"loading {name}", 0.0, "")
        if not self._console.is_terminal:
            self.note(f"loading {name}")

    def visiting(self, cell: Cell, repeat: int, phase: Phase) -> None:
        what = {
            "load": "loading the model with",
            "prime": "caching the context of",
            "warmup": "warming up with",
            "counted": f"repeat {repeat + 1} of",
        }[phase]
        text = f"{cell.backend}, {cell.name}: {what} {cell.shape}"
        if self._console.is_terminal:
            self._describe(text, None, None)
        else:
            self.note(text)

    def spent(self, share: float, left_s: float | None) -> None:
        self._describe(None, share, "" if left_s is None else f"at most {left_s:.0f} s left for this model")

    def failed(self, request: Request) -> None:
        """The first failures of a run in words, then a count now and then: a dead server fails thousands."""
        self._failures += 1
        if self._failures <= _FAILURES_IN_WORDS:
            self.note(f"a request of {request.cell.backend}, {request.cell.label} failed: {request.error}")
        elif self._failures % 100 == 0:
            self.note(f"{self._failures} requests have failed; see them with `harness show --errors`")

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True, emoji=False)

    def _describe(self, text: str | None, share: float | None, left: str | None) -> None:
        if self._task is None:
            self._task = self._bars.add_task("", total=1.0, left="")
        if text is not None:
            self._bars.update(self._task, description=text)
        if share is not None:
            self._bars.update(self._task, completed=share)
        if left is not None:
            self._bars.update(self._task, left=left)
