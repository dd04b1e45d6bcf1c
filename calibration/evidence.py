"""Which evidence `calibration report` gives: for the fit to stored runs, or for the reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from calibration.errors import CalibrationError
from calibration.shown.page import Evidence

# A folder of published measurements is one that holds this file.
_PUBLISHED = "throughput.csv"


def evidence_of(
    paths: list[Path], include_noisy: bool = False, tell: Callable[[str], None] = lambda _: None
) -> Evidence:
    """Of the folder of published measurements at `paths`, or else of the runs there.

    Raises CalibrationError where they are of both kinds, NothingToFit where no model can be left out, BadResults.
    """
    published = [path for path in paths if (path / _PUBLISHED).is_file()]
    if not published:
        from calibration.local.report import local_evidence

        return local_evidence(paths, include_noisy, tell)
    if len(paths) > 1:
        raise CalibrationError(f"{published[0]} holds published measurements: name it alone, without runs")
    if include_noisy:
        raise CalibrationError(f"--include-noisy is of runs; {published[0]} holds published measurements")
    from calibration.published.building import built
    from calibration.published.report import evidence

    tell("machines, models, weight types and sources left out: a minute")
    return evidence(built(published[0]))
