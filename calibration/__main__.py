"""The command line of calibration: thin commands, the only place that prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calibration.errors import CalibrationError
from estimator.errors import EstimatorError
from harness.errors import HarnessError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

OUT = Console()
ERR = Console(stderr=True)
DEFAULT_RESULTS = Path("results/local")
DEFAULT_OUTPUT = Path("results/coefficients.json")
PUBLISHED = Path("results/reference/published")
REFERENCE_OUTPUT = Path("estimator/data/reference_published.json")

Paths = Annotated[list[Path] | None, typer.Argument(help="Runs or folders of runs (default: results/local).")]


@app.callback()
def calibration(debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False) -> None:
    """FIT: corrections from measurements onto the theory."""


@app.command()
def fit(
    results: Paths = None,
    output: Annotated[Path, typer.Option(help="The coefficient file to write.")] = DEFAULT_OUTPUT,
    include_noisy: Annotated[bool, typer.Option(help="Use NOISY cells too, naming them.")] = False,
    prior: Annotated[bool, typer.Option(help="Fill what was not measured from the shipped reference.")] = True,
) -> None:
    """Fit the physical terms to stored runs and write one coefficient file."""
    from calibration.fitting import fit as fit_paths
    from calibration.fitting import reference
    from calibration.report import show_fit
    from estimator.coefficients import write_coefficients

    fitted = fit_paths(results or [DEFAULT_RESULTS], reference() if prior else None, include_noisy)
    show_fit(OUT, fitted)
    try:
        write_coefficients(output, fitted.coefficients)
    except OSError as error:
        raise CalibrationError(f"cannot write {output}: {error.strerror}; choose another with --output") from error
    OUT.print(f"coefficients: {output}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def compare(
    results: Paths = None,
    coefficients: Annotated[Path, typer.Option(help="The coefficient file.")] = DEFAULT_OUTPUT,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Print predicted beside measured for stored runs."""
    from calibration.dataset import dataset
    from calibration.report import comparison, show_comparison
    from estimator.coefficients import read_coefficients
    from harness.journal import read_records

    records, unreadable = read_records(results or [DEFAULT_RESULTS])
    data = dataset(records)
    entries = comparison(data, read_coefficients(coefficients))
    if as_json:
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
    else:
        show_comparison(OUT, entries, (*unreadable, *data.left_out))


@app.command("reference")
def published(
    folder: Annotated[Path, typer.Option(help="Published measurements.")] = PUBLISHED,
    output: Annotated[Path, typer.Option(help="The reference file to write.")] = REFERENCE_OUTPUT,
) -> None:
    """Fit the reference for hardware of the catalogue from published measurements."""
    from calibration.published.building import built
    from calibration.published.evidence import machine_table
    from calibration.published.report import gate_text, written
    from calibration.published.tables import markdown
    from estimator.reference.file import reference_text

    found = built(folder)
    for text in (gate_text(found.gate), markdown(machine_table(found))):
        OUT.print(text, markup=False, highlight=False, soft_wrap=True)
    written(output, reference_text(found.reference))
    OUT.print(f"reference: {output}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def report(
    folder: Annotated[Path, typer.Option(help="Published measurements.")] = PUBLISHED,
    html: Annotated[Path | None, typer.Option(help="Write it as one page that needs no network.")] = None,
) -> None:
    """How far to believe the reference: errors on what was left out, simpler models, ablation, the worst (a minute)."""
    from calibration.published.building import built
    from calibration.published.report import evidence, page_of, written
    from calibration.published.tables import markdown

    found = built(folder)
    tables = evidence(found)
    for table in tables:
        OUT.print(markdown(table), "", sep="\n", markup=False, highlight=False, soft_wrap=True)
    if html is not None:
        written(html, page_of(found, tables))
        OUT.print(f"page: {html}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command line; errors become one line and their exit status."""
    try:
        app()
    except (CalibrationError, HarnessError, EstimatorError) as error:
        if "--debug" in sys.argv:
            raise
        ERR.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
