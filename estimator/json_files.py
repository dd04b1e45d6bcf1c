"""JSON files whole: read or refused in one line, written whole or not at all. What is in them stands elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from estimator.errors import UnreadableFile


def read_json(path: Path, what: str, again: str) -> Any:
    """The value in `path`. Raises UnreadableFile, which calls the file `what` and says how to make it `again`.

    NaN and Infinity, which Python reads and JSON does not know, are refused: they are no numbers to predict with.
    """
    try:
        return json.loads(path.read_text("utf-8"), parse_constant=_refused)
    except OSError as error:
        raise UnreadableFile(f"cannot read {what} {path}: {error.strerror or error}; {again}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{path} is not JSON ({error}): {again}") from error


def is_there(path: Path, what: str) -> bool:
    """Whether there is a file in `path`. Raises UnreadableFile, which calls it `what`, where nobody may look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UnreadableFile(f"cannot look for {what} {path}: {error.strerror or error}") from error
    return True


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def write_whole(path: Path, text: str) -> None:
    """Writes `text` under a temporary name beside `path`, then renames it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
