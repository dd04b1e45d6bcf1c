"""Journals on disk: the only writer, and the reader. One JSON line per event, appended and synced."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from harness.errors import BadResults
from harness.record import FORMAT, Line, Record, Request, RunEnd, RunHeader, Samples, Subject

JOURNAL = "journal.jsonl"
_HEAD = re.compile(rb'"kind"\s*:\s*"(?:run|subject)"')
# What a server says of a model is nested three or four levels deep.
_DEEPEST = 32


@cache
def _lines() -> TypeAdapter[Line]:
    return TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def new_folder(results: Path, run_id: str) -> Path:
    """A folder of its own for a new run: with a number where a run that began in the same second has the name.

    Raises BadResults.
    """
    with _writing_in(results):
        results.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = results / (run_id if number == 1 else f"{run_id}-{number}")
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise AssertionError  # counting has no end


@contextlib.contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    """What keeps a folder from being written, as BadResults."""
    try:
        yield
    except OSError as error:
        raise BadResults(
            f"cannot write results in {folder}: {error.strerror}; give another folder with --results"
        ) from error


class Journal:
    """An open journal. Each line is on the disk when `append` returns; a torn last line is cut off on opening."""

    def __init__(self, folder: Path, sync: Callable[[int], None] = os.fsync) -> None:
        self.path = folder / JOURNAL
        self._sync = sync
        with _writing_in(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: what a failed write leaves behind must not come out later.
            self._file = self.path.open("ab", buffering=0)
        self._cut_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, *lines: Line) -> None:
        """Writes and syncs lines. Raises BadResults (disk full, no JSON); what stood before stays readable."""
        try:
            data = b"".join(to_json(line) + b"\n" for line in lines)
        except PydanticSerializationError as error:
            raise BadResults(f"cannot add to {self.path}: {error}") from error
        start = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            self._sync(self._file.fileno())
        except OSError as error:
            # A half-written line must not stay; where even that fails the reader skips it as torn.
            with contextlib.suppress(OSError):
                os.truncate(self.path, start)
            reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            raise BadResults(
                f"cannot add to {self.path}: {reason}; free space, then go on with --resume {self.path.parent}"
            ) from error

    def _cut_torn_line(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, whole)


class Scribe:
    """Writes to a journal from a thread of its own, so that a slow disk does not stop the clock of running requests.

    Lines are written as they come; those that wait while the disk syncs go with one sync. What was
    handed over is on the disk when the block ends.
    """

    def __init__(self, journal: Journal) -> None:
        self.folder = journal.path.parent
        self._journal = journal
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.put(None)
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def append(self, line: Line) -> None:
        """Hands a line over. Raises what went wrong with an earlier one, BadResults where it is not our fault."""
        if self._failure is not None:
            raise self._failure
        self._lines.put(line)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            batch, last = [line], False
            while not self._lines.empty() and not last:
                more = self._lines.get()
                last = more is None
                batch += [] if more is None else [more]
            try:
                if self._failure is None:
                    self._journal.append(*batch)
            except Exception as failure:  # noqa: BLE001 - raised as it is by who hands lines over
                self._failure = failure
            if last:
                return


def read_record(path: Path) -> Record:
    """The record in a journal file or in a run's folder. Raises BadResults.

    A torn last line (a crash while writing) is counted and skipped; any other unreadable line is an error.
    """
    file = path / JOURNAL if path.is_dir() else path
    try:
        raw = file.read_bytes().split(b"\n")
    except OSError as error:
        raise BadResults(
            f"cannot read results at {file}: {error.strerror}; `harness show` takes a run's folder"
        ) from error
    tail = raw.pop()
    lines = [_line(data, file, number) for number, data in enumerate(raw, 1) if data.strip()]
    if not lines or not isinstance(lines[0], RunHeader):
        raise BadResults(f"{file} holds no run: its first line is not a run header; measure one with `harness run`")
    return Record(
        header=lines[0],
        subjects=tuple(line for line in lines if isinstance(line, Subject)),
        requests=tuple(line for line in lines if isinstance(line, Request)),
        samples=tuple(line for line in lines if isinstance(line, Samples)),
        ends=tuple(line for line in lines if isinstance(line, RunEnd)),
        torn_lines=1 if tail else 0,
        path=str(file),
    )


def read_heads(path: Path) -> Record:
    """Header and subjects of a journal alone, which is much faster. Raises BadResults."""
    try:
        raw = enumerate(path.read_bytes().split(b"\n")[:-1], 1)
    except OSError as error:
        raise BadResults(f"cannot read results at {path}: {error.strerror}") from error
    lines = [_line(data, path, number) for number, data in raw if _HEAD.search(data)]
    if not lines or not isinstance(lines[0], RunHeader):
        raise BadResults(f"{path} holds no run: its first line is not a run header; measure one with `harness run`")
    return Record(lines[0], tuple(line for line in lines if isinstance(line, Subject)), path=str(path))


def _line(data: bytes, file: Path, number: int) -> Line:
    try:
        raw = json.loads(data)
        _refuse_newer(raw, file)
        line = _lines().validate_python(raw)
        if isinstance(line, RunHeader | Subject):
            _require_flat(raw, _DEEPEST)
        if isinstance(line, RunHeader):
            _require_settings(line.settings)
        return line
    except (ValueError, ValidationError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise BadResults(
            f"{file} line {number} is not a journal line ({first}); remove that line or measure again"
        ) from error


def _require_flat(value: Any, levels: int) -> None:
    """Raises ValueError for what is nested so deeply that nobody could print it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner and not levels:
        raise ValueError(f"nested over {_DEEPEST} levels deep")
    for part in inner:
        _require_flat(part, levels - 1)


def _require_settings(settings: dict[str, Any]) -> None:
    """Raises ValueError where what is read of a run's settings is not what a run writes there."""
    plan, door = settings.get("plan") or {}, settings.get("door") or {}
    if not isinstance(plan, dict) or not isinstance(door, dict) or not isinstance(door.get("base_urls") or {}, dict):
        raise ValueError("settings.plan, settings.door and its base_urls are objects")
    for name in ("slo_ttft_s", "slo_tpot_s"):
        if not isinstance(plan.get(name), int | float | None):
            raise ValueError(f"settings.plan.{name} is a number")


def _refuse_newer(raw: Any, file: Path) -> None:
    if not isinstance(raw, dict) or raw.get("kind") != "run":
        return
    number = raw.get("format", FORMAT)
    if not isinstance(number, int):
        raise ValueError(f"its format is {str(number)[:20]!r}, no whole number")
    if number > FORMAT:
        raise BadResults(
            f"{file} has format {raw['format']}, this version reads up to {FORMAT}: update this program to read it"
        )


def read_records(paths: list[Path]) -> tuple[list[Record], list[str]]:
    """The records under `paths`, and a sentence on each unreadable one that was met while looking through a folder.

    Raises BadResults for a path that has no journal, for an unreadable one that was named itself, and where none can
    be read.
    """
    unreadable: list[str] = []
    records = [record for journal in find_journals(paths) if (record := tried(journal, paths, unreadable))]
    if not records:
        raise BadResults(f"no run can be read: {unreadable[0]}")
    return records, unreadable


def tried(
    journal: Path, paths: list[Path], unreadable: list[str], read: Callable[[Path], Record] = read_record
) -> Record | None:
    """What `read` makes of a journal; one that was not named itself may be unreadable, which is added to the list."""
    try:
        return read(journal)
    except BadResults as error:
        if journal in paths or journal.parent in paths:
            raise
        unreadable.append(str(error))
        return None


def is_one_run(path: Path) -> bool:
    """Whether a path is a run's folder or its journal, not a folder of runs."""
    return find_journals([path]) in ([path], [path / JOURNAL])


def find_journals(paths: list[Path]) -> list[Path]:
    """Every journal under the given files and folders, sorted. Raises BadResults where one has none."""
    found: list[Path] = []
    for path in paths:
        try:
            here = [path] if path.is_file() else sorted(path.rglob("*.jsonl"))
        except OSError as error:
            raise BadResults(f"cannot look for results at {path}: {error.strerror}") from error
        if not here:
            raise BadResults(
                f"no results at {path}: expected a journal.jsonl or a folder with one; measure with `harness run`"
            )
        found += here
    return list(dict.fromkeys(found))
