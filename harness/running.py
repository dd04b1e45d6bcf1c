"""A whole run, from what was asked to a finished journal: new, or resumed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console

from harness import __version__
from harness.choose import default_model, require_room
from harness.errors import BadResults, HarnessError
from harness.host import probes, this_host
from harness.journal import JOURNAL, Journal, read_record
from harness.opening import Door, Target, engine_options, resolve
from harness.plan import Plan, plan_from
from harness.progress import ProgressBar
from harness.record import Record, RunHeader
from harness.run import Runner, results_folder
from harness.weights.store import Store

BACKENDS = ("llamacpp", "simulated")


def default_plan() -> Plan:
    """What a run without options does."""
    return Plan(visit_share=0.16)


async def run(
    plan: Plan, door: Door, results: Path, console: Console, resume: Path | None = None, more: bool = False
) -> Path:
    """Runs `plan`, or what an earlier run at `resume` lacks; returns the run's folder. Raises HarnessError.

    A resumed run keeps its own plan; with `more` the budget and repeats of `plan` replace its own.
    """
    with ProgressBar(console) as bar:
        if resume is not None:
            if not resume.is_dir():
                raise BadResults(f"{resume} is not a run's folder: --resume takes the folder that holds {JOURNAL}")
            past = read_record(resume)
            before, door = _as_before(past)
            # More of the same may be asked for; everything else stays as it was.
            plan = replace(before, budget_s=plan.budget_s, repeats=plan.repeats) if more else before
            folder = resume
        else:
            plan = await _with_models(plan, door, bar)
            past, folder = None, Path()
        targets = tuple(resolve(name, quant) for name in plan.models for quant in _quants(name, plan))
        if plan.backend == "llamacpp" and not door.base_url and not door.llama_server:
            for target in targets:
                await require_room(target, plan, Store(), psutil.virtual_memory().available)
        if past is None:
            header = _header(plan, door, targets, results)
            folder = results / header.run_id
            past = Record(header)
            with Journal(folder) as journal:
                journal.append(header)
        bar.note(f"results go to {folder}")
        with Journal(folder) as journal:
            try:
                await Runner(plan, targets, door, journal, past, bar, time.perf_counter_ns).run()
            except (asyncio.CancelledError, HarnessError):
                bar.note(f"stopped; nothing measured is lost. Go on with: python -m harness run --resume {folder}")
                raise
    return folder


async def _with_models(plan: Plan, door: Door, bar: ProgressBar) -> Plan:
    if plan.backend not in BACKENDS:
        raise HarnessError(f"unknown back end {plan.backend!r}: choose one of {', '.join(BACKENDS)}")
    if plan.models:
        return plan
    if door.base_url:
        raise HarnessError("name the model that the server runs with --model, so that its shape is known")
    if plan.backend == "simulated":
        return replace(plan, models=("mistral:7b",))
    bar.note("asking the engine what fits this machine")
    model, why = await default_model(plan, Store(), psutil.virtual_memory().available)
    if why:
        bar.note(why)
    return replace(plan, models=(model.name,))


def _quants(name: str, plan: Plan) -> tuple[str, ...]:
    return plan.quants[:1] if name.endswith(".gguf") else plan.quants


def _header(plan: Plan, door: Door, targets: tuple[Target, ...], results: Path) -> RunHeader:
    started = datetime.now(UTC)
    threads = engine_options(plan, "").threads
    stamp = started.strftime("%Y%m%d-%H%M%S")
    return RunHeader(
        run_id=results_folder(results, stamp, plan, targets).name,
        started_at=started.isoformat(timespec="seconds"),
        harness_version=__version__,
        host=this_host(),
        probes=probes(threads),
        settings={"plan": asdict(plan), "door": asdict(door)},
    )


def _as_before(past: Record) -> tuple[Plan, Door]:
    settings = past.header.settings
    try:
        return plan_from(settings["plan"], past.path), Door(**settings["door"])
    except (KeyError, TypeError) as error:
        raise BadResults(f"{past.path} does not say how it was run ({error}): it cannot be resumed") from error
