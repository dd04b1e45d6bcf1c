"""Stored runs written as one HTML file: reads journals, makes the page, puts it in place whole."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BadResults
from harness.journal import read_records
from harness.page.document import page

_BEGIN = b"<!doctype html>"


@dataclass(frozen=True, slots=True)
class Written:
    """A page that was written: where, how big, of how many runs, and what could not be read."""

    path: Path
    size_bytes: int
    runs: int
    unreadable: tuple[str, ...]


def write_report(results: list[Path], target: Path) -> Written:
    """Writes the page of all runs under `results` to `target`. Raises BadResults, HarnessError.

    The file appears whole or not at all. Of what was there only a page like this one, or an empty file, is replaced.
    """
    from plotly.offline import get_plotlyjs

    require_place(target)
    records, unreadable = read_records(results)
    text = page(records, unreadable, get_plotlyjs())
    return Written(target, put_page(text, target), len(records), tuple(unreadable))


def require_place(target: Path) -> None:
    """Raises BadResults for what must not be replaced by a file, before any work is done."""
    try:
        other, folder = target.exists() and not target.is_file(), target.resolve().parent
    except (OSError, RuntimeError) as error:  # a name that is too long, links in a circle
        raise BadResults(f"cannot write the page to {target}: {error}; name another file with --html") from error
    if other:
        raise BadResults(f"cannot write the page to {target}: it is no file; name one with --html")
    if not folder.is_dir():
        raise BadResults(f"cannot write the page to {target}: there is no folder {target.parent}; make it first")
    if ".jsonl" in (target.suffix.lower(), target.resolve().suffix.lower()):
        raise BadResults(f"cannot write the page to {target}: that is the name of a journal; name another with --html")
    if not _is_replaceable(target):
        raise BadResults(
            f"cannot write the page to {target}: what is there is no page of runs; name another file with --html"
        )


def _is_replaceable(target: Path) -> bool:
    """Whether there is nothing, an empty file or a page that begins as ours do."""
    try:
        with target.open("rb") as file:
            begin = file.read(len(_BEGIN))
    except FileNotFoundError:
        return True
    except OSError as error:
        raise BadResults(
            f"cannot write the page to {target}: {error.strerror}; name another file with --html"
        ) from error
    return not begin or begin.lower() == _BEGIN


def put_page(text: str, target: Path) -> int:
    """Puts a page in its place whole or not at all, after `require_place`; its bytes. Raises BadResults."""
    # A journal may hold halves of surrogate pairs, which no encoding has.
    data = text.encode("utf-8", "replace")
    place = target.resolve()
    draft = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        draft.write_bytes(data)
        draft.replace(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise BadResults(
            f"cannot write the page to {target}: {error.strerror}; name another file with --html"
        ) from error
    return len(data)
