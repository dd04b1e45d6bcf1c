"""The command line of calibration: thin commands, the only place that prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from calibration.errors import CalibrationError
from calibration.writing import written
from estimator.errors import EstimatorError
from harness.errors import HarnessError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

OUT = Console()
ERR = Console(stderr=True)
DEFAULT_RESULTS = Path("results/local")
DEFAULT_PLAN = Path("results/plan.toml")
DEFAULT_OUTPUT = Path("results/coefficients.json")
PUBLISHED_API = Path("results/reference/api")
PUBLISHED = Path("results/reference/published")
REFERENCE_OUTPUT = Path("estimator/data/reference_published.json")

Paths = Annotated[list[Path] | None, typer.Argument(help="Runs or folders of runs (default: results/local).")]


@app.callback()
def calibration(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """FIT: corrections from measurements onto the theory. --debug may stand anywhere."""


@app.command()
def fit(
    results: Paths = None,
    output: Annotated[
        Path, typer.Option(help="The coefficient file to write; api.json is beside it.")
    ] = DEFAULT_OUTPUT,
    include_noisy: Annotated[
        bool, typer.Option(help="Use NOISY cells too, and a late client's whose times the engine confirms.")
    ] = False,
    prior: Annotated[
        bool, typer.Option(help="Fill what was not measured from the shipped reference and other machines.")
    ] = True,
    every: Annotated[
        bool,
        typer.Option("--every", help="Also a file for each engine build on each machine, in a folder by --output."),
    ] = False,
) -> None:
    """Fit the physical terms to stored runs and write one coefficient file; models behind an API go to api.json."""
    from calibration.fit_command import fit_results

    fit_results(OUT, results or [DEFAULT_RESULTS], output, include_noisy=include_noisy, prior=prior, every=every)


@app.command()
def plan(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Runs that are known already (default: results/local, if it is there).")
    ] = None,
    budget: Annotated[str, typer.Option(help="Time for everything, building and loading too: 90s, 5m, 1h.")] = "5m",
    model: Annotated[
        str | None, typer.Option(help="What may be asked, comma-separated (default: all that fit).")
    ] = None,
    measure: Annotated[str | None, typer.Option(help="What may be measured (default: what may be asked).")] = None,
    quant: Annotated[str | None, typer.Option(help="Weight types, comma-separated.")] = None,
    repeats: Annotated[int, typer.Option(min=2, help="Requests a cell is planned with.")] = 4,
    memory: Annotated[
        str | None, typer.Option(help="Memory that may be used, like 8GiB (default: what is free).")
    ] = None,
    output: Annotated[Path, typer.Option(help="The plan file to write.")] = DEFAULT_PLAN,
    prior: Annotated[bool, typer.Option(help="Guess costs and prices from the shipped reference.")] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="As on a machine where no model file is built.")] = False,
    include: Annotated[
        str | None, typer.Option(help="Measured in any case, comma-separated: 'mistral:7b q4_k_m'.")
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="For another machine, with nothing built: times as fast as the prior's.")
    ] = None,
    models: Annotated[int, typer.Option(min=1, help="Different models at least, as far as the budget goes.")] = 1,
    disk: Annotated[
        str | None, typer.Option(help="What new model files may take, like 8GiB (default: what is free).")
    ] = None,
) -> None:
    """Choose the cells that shrink the uncertainty most per second, for `harness run --plan`."""
    from calibration.next_plan import Question, next_plan
    from calibration.plan_file import plan_text, show_plan

    question = Question(budget, model, measure, quant, repeats, memory, prior, fresh, include, speed, disk, models)
    known = results or ([DEFAULT_RESULTS] if DEFAULT_RESULTS.is_dir() and speed is None else [])
    planned, notes = next_plan(known, question)
    show_plan(OUT, planned)
    written(output, plan_text(planned, question.command(known)))
    for line in (*notes, f"plan: {output}; measure it with: python -m harness run --plan {output}"):
        OUT.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def own(
    results: Paths = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("results/own.json"),
    include_noisy: Annotated[bool, typer.Option(help="Use NOISY cells too.")] = False,
    gpu: Annotated[str | None, typer.Option(help="The GPU's name, where no driver told it.")] = None,
) -> None:
    """Write runs on a GPU in llama-bench's format, for `estimator predict --hardware GPU --measured FILE`."""
    from calibration.fit_command import show_left_out
    from calibration.own import own_results

    found = own_results(results or [DEFAULT_RESULTS], include_noisy, gpu)
    written(output, json.dumps(found.entries, indent=1) + "\n")
    show_left_out(OUT, found.left_out)
    told = f"{len(found.entries)} cells of {found.device} with {found.back_end}: {output}"
    OUT.print(told, markup=False, highlight=False, soft_wrap=True)


@app.command("api-reference")
def api_reference(
    published: Annotated[Path, typer.Argument(help="The folder of published requests.")] = PUBLISHED_API,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("estimator/data/reference_api.json"),
) -> None:
    """Fit the shipped reference of hosted APIs to published requests, byte for byte the same each time."""
    from calibration.api.fitting import ApiFit
    from calibration.api.published import published as fit_published
    from calibration.fit_command import wrote_api

    wrote_api(OUT, ApiFit(fit_published(published), ()), output)


@app.command()
def compare(
    results: Paths = None,
    coefficients: Annotated[Path, typer.Option(help="The coefficient file.")] = DEFAULT_OUTPUT,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although the engine build or machine differs.")] = False,
) -> None:
    """Print predicted beside measured for stored runs; those of the fit itself are no evidence, which it says."""
    from calibration.check import matching
    from calibration.reading import read_dataset
    from calibration.report import comparison, show_comparison
    from estimator.coefficients import read_coefficients

    everything, unused = read_dataset(results or [DEFAULT_RESULTS])
    fitted = read_coefficients(coefficients)
    data, others = matching(everything, fitted, anyway)
    entries = comparison(data, fitted)
    if as_json:
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
        return
    show_comparison(OUT, entries, (*unused, *data.left_out, *others))
    runs = {run for o in data.observations for run, _ in o.by_run}
    if known := runs & set(fitted.evidence.runs):
        OUT.print(f"{len(known)} of {len(runs)} runs are in the fit: their errors are no evidence", highlight=False)


@app.command()
def check(
    results: Paths = None,
    max_error: Annotated[
        str, typer.Option(help="What a prediction may be off by: any of decode, ttft, memory.")
    ] = "decode=10%,ttft=15%,memory=3%",
    coefficients: Annotated[Path, typer.Option(help="The coefficient file.")] = DEFAULT_OUTPUT,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although the engine build or machine differs.")] = False,
    include_noisy: Annotated[
        bool, typer.Option(help="Judge the cells too that `fit --include-noisy` uses, naming them.")
    ] = False,
) -> None:
    """Hold new runs against the fit, for CI: exit status 1 where a limit is exceeded or the engine became slower."""
    from calibration.check import as_json as checked_json
    from calibration.check import check as checked_of
    from calibration.check_table import show_check
    from calibration.limits import limits
    from estimator.coefficients import read_coefficients

    held = limits(max_error)
    fitted = read_coefficients(coefficients)
    checked = checked_of(results or [DEFAULT_RESULTS], fitted, held, anyway=anyway, include_noisy=include_noisy)
    if as_json:
        sys.stdout.write(json.dumps(checked_json(checked), indent=2) + "\n")
    else:
        show_check(OUT, checked)
    if not checked.passes:
        sys.exit(1)


@app.command("reference")
def published(
    folder: Annotated[Path, typer.Option(help="Published measurements.")] = PUBLISHED,
    output: Annotated[Path, typer.Option(help="The reference file to write.")] = REFERENCE_OUTPUT,
) -> None:
    """Fit the reference for hardware of the catalogue from published measurements."""
    from calibration.published.building import built
    from calibration.published.evidence import machine_table
    from calibration.published.report import gate_text
    from calibration.shown.tables import markdown
    from estimator.reference.file import reference_text

    found = built(folder)
    for text in (gate_text(found.gate), markdown(machine_table(found))):
        OUT.print(text, markup=False, highlight=False, soft_wrap=True)
    written(output, reference_text(found.reference))
    OUT.print(f"reference: {output}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def report(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Runs or folders of runs; or a folder of published measurements, which is the default."),
    ] = None,
    include_noisy: Annotated[bool, typer.Option(help="Use NOISY cells too, naming them.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write it as one page that needs no network.")] = None,
) -> None:
    """How far to believe a fit: errors on what was left out, learning curve, ablation, intervals, the worst.

    Of stored runs the fit that `calibration fit` would make; without any, the shipped reference for other hardware,
    which takes a minute of one core, longer beside other work.
    """
    from calibration.evidence import evidence_of
    from calibration.shown.page import write_page
    from calibration.shown.tables import markdown
    from harness.report import require_place

    if html is not None:
        require_place(html)
    with ERR.status("") as status:
        found = evidence_of(results or [PUBLISHED], include_noisy, status.update)
    for text in (*found.facts, *map(markdown, found.tables)):
        OUT.print(text, "", sep="\n", markup=False, highlight=False, soft_wrap=True)
    if html is not None:
        write_page(found, html)
        OUT.print(f"page: {html}", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command line; errors become one line and their exit status."""
    try:
        # Of every command: typer would take it in one place only.
        app([word for word in sys.argv[1:] if word != "--debug"])
    except (CalibrationError, HarnessError, EstimatorError) as error:
        if "--debug" in sys.argv:
            raise
        ERR.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
