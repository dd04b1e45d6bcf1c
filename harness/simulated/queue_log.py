"""The queue's own log: one JSON line per finished request for a completion, for comparing a client's instants with.

Lines are kept in memory and written once a second and at the end, so that no request waits for a disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.errors import HarnessError

EVERY_S = 1.0


class LogUnwritable(HarnessError):
    """The log cannot be written."""


@dataclass(slots=True)
class Entry:
    """What became of one request. Instants are of `time.perf_counter`; None is what it did not come to.

    `end` is complete, refused, died (a planted fault) or left (the client did). `late_s` is by how
    much the latest of its events was sent after it was due.
    """

    protocol: str
    received_s: float
    started_s: float | None = None
    first_token_s: float | None = None
    ended_s: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    status: int = 200
    end: str = "complete"
    late_s: float = 0.0


@dataclass(slots=True)
class QueueLog:
    """Lines that wait to be written to `path`; None keeps no log."""

    path: Path | None = None
    lines: list[str] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Keep an entry."""
        if self.path is not None:
            self.lines.append(json.dumps(asdict(entry)))

    def write(self) -> None:
        """Append what is kept to the file."""
        if self.path is None or not self.lines:
            return
        lines, self.lines = self.lines, []
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    @asynccontextmanager
    async def written(self) -> AsyncIterator[None]:
        """Begin the file; write every second and at the end."""
        if self.path is None:
            yield
            return
        try:
            self.path.write_text("")
        except OSError as error:
            raise LogUnwritable(f"{self.path}: cannot write the log: {error.strerror}; name another file") from error
        writing = asyncio.create_task(self._write_on())
        try:
            yield
        finally:
            writing.cancel()
            self.write()

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            self.write()
