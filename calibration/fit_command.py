"""The command `calibration fit`: what is fitted to some results, shown and written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from calibration.api.fitting import ApiFit, fit_api
from calibration.api.report import show_api
from calibration.errors import NothingToFit
from calibration.every import every as every_build
from calibration.every import file_of, show_every
from calibration.fitting import Builds, reference
from calibration.plan_file import say
from calibration.reading import read_behind_apis, read_dataset
from calibration.report import show_fit
from calibration.unsettled import last_words
from calibration.writing import written
from estimator.api.file import api_text
from estimator.coefficients import coefficients_text


def fit_results(
    out: Console, paths: list[Path], output: Path, *, include_noisy: bool, prior: bool, every: bool
) -> None:
    """Fits engines and models behind an API to the runs at `paths`; the latter go to api.json beside `output`.

    Raises NothingToFit where neither can be fitted, CalibrationError where a file cannot be written.
    """
    known = reference() if prior else None
    behind = read_behind_apis(paths)
    apis = fit_api(behind.records)
    wrote = apis is not None and wrote_api(out, apis, output.with_name("api.json"))
    if apis is not None and behind.alone:
        if not wrote:
            raise NothingToFit(
                f"no model behind an API can be fitted: {'; '.join(apis.left_out[:3]) or 'no request was counted'}"
            )
        show_left_out(out, behind.unreadable)
        return
    try:
        builds = Builds(*read_dataset(paths, include_noisy), known)
        fitted = builds.newest()
    except NothingToFit as error:
        if not wrote:
            raise
        show_left_out(out, [*behind.unreadable, f"every engine: {error}"])
        return
    show_fit(out, fitted)
    written(output, coefficients_text(fitted.coefficients))
    say(out, f"coefficients: {output}")
    for line in last_words(fitted, known, paths):
        say(out, line)
    if every:
        # Beside a file that has no suffix the folder needs a name of its own.
        _wrote_every(
            out, builds, output.with_suffix("") if output.suffix else output.with_name(f"{output.name}-builds")
        )


def wrote_api(out: Console, fitted: ApiFit, output: Path) -> bool:
    """Shows and writes the fit of APIs; whether there was one. Raises CalibrationError."""
    show_api(out, fitted)
    if fitted.coefficients is None:
        return False
    written(output, api_text(fitted.coefficients))
    say(out, f"API coefficients: {output}")
    return True


def show_left_out(out: Console, reasons: Iterable[str]) -> None:
    """A line each."""
    for reason in reasons:
        say(out, f"left out: {reason}")


def _wrote_every(out: Console, builds: Builds, folder: Path) -> None:
    """A file for each build, and what machines differ by."""
    fitted, failed = every_build(builds)
    files = [file_of(folder, one.build) for one in fitted]
    for one, path in zip(fitted, files, strict=True):
        written(path, coefficients_text(one.coefficients))
    show_every(out, fitted, files)
    show_left_out(out, failed)
    say(out, f"coefficients of {len(files)} builds: {folder}")
