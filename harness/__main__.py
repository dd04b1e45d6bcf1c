"""The command line of the harness: the only place that prints. Commands are thin; work is in the modules beside."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from estimator.errors import EstimatorError
from harness.errors import EngineFailure, HarnessError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
models_app = typer.Typer(no_args_is_help=True, help="Weight-free model files in the cache.")
app.add_typer(models_app, name="models")

OUT = Console()
ERR = Console(stderr=True)
INTERRUPTED = 130


@app.callback()
def harness(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """MEASURE: real prompts against real engines. --debug may stand anywhere."""


@app.command()
def run(
    model: Annotated[
        str | None,
        typer.Option(
            help="Names from `models list`, .gguf files, or a server's own names; BACKEND=NAME for one back end."
        ),
    ] = None,
    quant: Annotated[str | None, typer.Option(help="Weight types, comma-separated (default q4_k_m).")] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="llamacpp (default), ollama, openai, langchain, http, simulated; several, comma-separated."),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Time for requests: 90s, 3m (default 5m).")] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option(help="Prompt lengths (64,256; no length given: the usual cells).")
    ] = None,
    output_tokens: Annotated[str | None, typer.Option(help="Output lengths, comma-separated (32).")] = None,
    depth: Annotated[
        str | None, typer.Option(help="Tokens in the KV cache before the prompt, comma-separated (0).")
    ] = None,
    concurrency: Annotated[str | None, typer.Option(help="Streams kept busy, comma-separated (1).")] = None,
    rate: Annotated[str | None, typer.Option(help="Requests a second, comma-separated: an open load.")] = None,
    arrival: Annotated[str, typer.Option(help="Of an open load: poisson or constant.")] = "poisson",
    slo: Annotated[str | None, typer.Option(help="Limits for goodput: ttft=1s,tpot=80ms.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Exactly this many requests a cell, no budget (paid: 5).")] = None,
    plan: Annotated[Path | None, typer.Option(help="A plan file (TOML); other options override it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of order and prompts (1).")] = None,
    threads: Annotated[int | None, typer.Option(help="Engine threads (default: physical cores).")] = None,
    results: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results/local"),
    resume: Annotated[Path | None, typer.Option(help="A run's folder: measure only what it lacks.")] = None,
    llama_server: Annotated[
        str | None, typer.Option(help="Your llama-server binary instead of the embedded engine.")
    ] = None,
    base_url: Annotated[
        list[str] | None, typer.Option(help="A server that runs: URL, or BACKEND=URL; may be given several times.")
    ] = None,
    weights: Annotated[str, typer.Option(help="ollama: own, or synthetic (our weight-free file for the run).")] = "own",
    pull: Annotated[bool, typer.Option(help="ollama: download a model that is missing.")] = False,
    max_cost: Annotated[float | None, typer.Option(help="USD that the run may cost at most (2).")] = None,
    price_in: Annotated[float | None, typer.Option(help="USD per million prompt tokens (OpenAI: listed).")] = None,
    price_out: Annotated[float | None, typer.Option(help="USD per million output tokens (OpenAI: listed).")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run against a remote server of unknown price.")] = False,
    port: Annotated[int, typer.Option(help="Port for the engine; 0: a free one.")] = 0,
    law: Annotated[str | None, typer.Option(help="JSON law of the simulated engine (its own defaults).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Measure: real prompts against a real engine, stored raw. Without options: cells planned for such a machine."""
    from harness import running
    from harness.asking import backends_of, changed, door_of, shapes_of
    from harness.journal import read_record
    from harness.plan import checked, read_plan
    from harness.plan import slo as limits
    from harness.purse import OverBudget
    from harness.target import Door

    backends = backends_of(backend)
    wanted = read_plan(plan) if plan else running.default_plan(backends or ("llamacpp",))
    shaped = [prompt_tokens, output_tokens, depth, concurrency]
    if wanted.parts and (model or quant or any(shaped) or rate):
        raise HarnessError("the plan names models and shapes by part: edit its file, or leave --plan out")
    if any(shaped) or rate:
        wanted = replace(wanted, visit_share=1.0, shapes=shapes_of(wanted.shapes, shaped, rate, arrival))
    chosen = changed(
        backends=backends, quants=quant, models=model, budget_s=budget, repeats=repeats, seed=seed, threads=threads,
        max_cost_usd=max_cost, price_in=price_in, price_out=price_out, **(limits(slo) if slo else {}),
    )  # fmt: skip
    wanted = replace(wanted, **chosen)
    door = door_of(wanted.backends, base_url or [], llama_server, port, law, weights, pull)
    if resume and (
        plan or door != Door() or any(shaped) or rate or set(chosen) - {"repeats", "budget_s", "max_cost_usd"}
    ):
        raise HarnessError(
            "--resume goes on as the run began: only --budget, --repeats or --max-cost may be given with it"
        )
    # Also by a word that is empty: nothing is not "whatever is planned".
    named = door.base_urls or any(word is not None for word in (plan, model, quant, backend, *shaped, rate, resume))
    wish = running.Wish(resume, more=bool(budget or repeats), accepted=yes, planned=not named)
    folder = asyncio.run(_interruptible(running.run(checked(wanted), door, results, ERR, wish)))
    _print_run(folder, as_json)
    if not as_json:
        OUT.print(f"results: {folder}", markup=False, highlight=False, soft_wrap=True)
    if (end := read_record(folder).ends[-1]).reason == "failed":
        raise EngineFailure(f"{end.detail}: see the errors with `python -m harness show {folder} --errors`")
    if end.reason == "money":
        raise OverBudget(end.detail)


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A run's folder or journal, or a folder of runs.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on standard output; of a folder of runs an array.")
    ] = False,
    errors: Annotated[bool, typer.Option(help="Failed requests with their errors.")] = False,
    slo: Annotated[str | None, typer.Option(help="Limits for goodput other than the run's: ttft=1s,tpot=80ms.")] = None,
) -> None:
    """Print stored runs again."""
    from harness.journal import is_one_run, read_records
    from harness.loads import Slo
    from harness.plan import slo as limits
    from harness.render import show_errors, show_run
    from harness.summary import as_json as summary_json

    other = Slo(**{name.removeprefix("slo_"): value for name, value in limits(slo).items()}) if slo else None
    records, unreadable = read_records([path])
    _say_unreadable(unreadable)
    if as_json:
        told = [summary_json(record, other) for record in records]
        _print_json(told[0] if is_one_run(path) else told)
        return
    for record in records:
        show_run(OUT, record, other)
        if errors:
            show_errors(OUT, record)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A run's folder or journal, or a folder of runs: what is compared with.")],
    b: Annotated[Path | None, typer.Argument(help="The same to compare; left out: the back ends of A.")] = None,
    backends: Annotated[str | None, typer.Option(help="Back ends of the run A, the first one compared with.")] = None,
    difference: Annotated[float, typer.Option(help="Per cent that more repeats should decide.")] = 5.0,
    anyway: Annotated[bool, typer.Option("--anyway", help="Although engine build, model or machine differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Say for each cell whether B is faster or slower than A, with its interval."""
    from harness.differences import as_json as comparison_json
    from harness.differences import show_comparison
    from harness.sides import comparisons

    found = comparisons(a, b, backends, difference / 100, anyway)
    if as_json:
        _print_json([comparison_json(entry) for entry in found])
        return
    for entry in found:
        show_comparison(OUT, entry)


@app.command()
def report(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Runs' folders, journals, folders of runs.")
    ],
    html: Annotated[Path, typer.Option(help="The file to write; of what is there only an earlier page is replaced.")],
) -> None:
    """Draw stored runs as one HTML file that needs no network."""
    from harness.report import write_report

    done = write_report(paths, html)
    _say_unreadable(done.unreadable)
    runs = "1 run" if done.runs == 1 else f"{done.runs} runs"
    OUT.print(
        f"page: {done.path} ({runs}, {done.size_bytes / 1e6:.1f} MB)", markup=False, highlight=False, soft_wrap=True
    )


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False) -> None:
    """Say what this machine has and what a run would use."""
    from harness.doctor import examine

    found = asyncio.run(examine())
    if as_json:
        _print_json(found)
        return
    for name, value in ((name, value) for name, value in found.items() if isinstance(value, str)):
        OUT.print(f"{name.replace('_', ' '):22} {value}", markup=False, highlight=False, soft_wrap=True)


@models_app.command("list")
def models_list(as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False) -> None:
    """List the catalogue, with the model files that are built."""
    from harness.doctor import catalogue_rows
    from harness.render import show_models

    rows = catalogue_rows()
    if as_json:
        _print_json(rows)
    else:
        show_models(OUT, rows)


@models_app.command("build")
def models_build(
    model: Annotated[str, typer.Argument(help="Name from `models list`.")],
    quant: Annotated[str, typer.Option(help="Weight type.")] = "q4_k_m",
    seed: Annotated[int, typer.Option(help="Seed of the random blocks.")] = 1,
) -> None:
    """Build a weight-free model file, if it is not there."""
    from estimator.catalog import find_mixture, find_model
    from harness.progress import ProgressBar
    from harness.weights.store import Store

    found, mixture, store = find_model(model), find_mixture(quant), Store()
    with ProgressBar(ERR) as bar:
        path = store.build(found, mixture, seed, bar.building(found.name, store.size_bytes(found, mixture)))
    OUT.print(f"{path} ({path.stat().st_size:,} bytes)", markup=False, highlight=False, soft_wrap=True)


@models_app.command("remove")
def models_remove(
    model: Annotated[str | None, typer.Argument(help="Name from `models list`; without it, all files.")] = None,
) -> None:
    """Remove built model files."""
    from estimator.catalog import find_model
    from harness.weights.store import Store

    store = Store()
    prefix = f"{find_model(model).name.replace(':', '-')}-" if model else ""
    store.clean()
    freed = sum(store.remove(path) for path in store.files() if path.name.startswith(prefix))
    OUT.print(f"freed {freed / 1e9:.2f} GB in {store.folder}", highlight=False, soft_wrap=True)


def _print_run(path: Path, as_json: bool) -> None:
    from harness.journal import read_record
    from harness.render import show_run
    from harness.summary import as_json as summary_json

    record = read_record(path)
    if as_json:
        _print_json(summary_json(record))
    else:
        show_run(OUT, record)


def _say_unreadable(lines: Iterable[str]) -> None:
    for line in lines:
        ERR.print(f"not read: {line}", markup=False, highlight=False, soft_wrap=True)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


async def _interruptible(work: Coroutine[Any, Any, Path]) -> Path:
    """Runs `work`; Ctrl-C and SIGTERM cancel it, so that engines end and the journal is closed."""
    task = asyncio.create_task(work)
    if sys.platform != "win32":
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    return await task


def main() -> None:
    """Runs the command line; errors become one line and their exit status."""
    try:
        # Of every command: typer would take it in one place only.
        app([word for word in sys.argv[1:] if word != "--debug"])
    except (HarnessError, EstimatorError) as error:
        if "--debug" in sys.argv:
            raise
        ERR.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_status)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
