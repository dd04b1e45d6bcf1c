"""Files that calibration writes: whole or not at all, and one line where that cannot be."""

from __future__ import annotations

from pathlib import Path

from calibration.errors import CalibrationError
from estimator.json_files import write_whole


def written(path: Path, text: str) -> None:
    """Puts `text` in place by a rename. Raises CalibrationError."""
    try:
        write_whole(path, text)
    except OSError as error:
        raise CalibrationError(f"cannot write {path}: {error.strerror}; choose another with --output") from error
