"""A whole run, from what was asked to a finished journal: new, or resumed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from estimator.container import memory_free_bytes
from harness import __version__
from harness.asking import with_environment
from harness.backends.llamacpp import engine_options
from harness.choose import default_model, require_room
from harness.errors import BadResults, HarnessError, NotEnoughRoom
from harness.fingerprint import this_machine
from harness.first_run import first_plan
from harness.host import probes, this_host
from harness.journal import JOURNAL, Journal, Scribe, find_journals, new_folder, read_record
from harness.money import prices, spent_before_usd
from harness.opening import BACKENDS, Lane, files_to_build, lanes, names_for, plan_of, runs_embedded
from harness.overhead import overhead
from harness.plan import API_SHAPES, Plan, plan_from
from harness.progress import ProgressBar
from harness.record import Probes, Record, RunHeader
from harness.run import Means, Runner
from harness.secrets import secrets_of
from harness.sensors.meters import Meters
from harness.sensors.nvidia import Gpus
from harness.sensors.rapl import Rapl
from harness.target import Door
from harness.weights.store import Store


def default_plan(backends: Sequence[str] = ("llamacpp",)) -> Plan:
    """What a run without options does with these back ends.

    Engines of ours are asked what tells the terms of the calibration apart; servers elsewhere what
    they are usually asked.
    """
    known = [BACKENDS[name] for name in backends if name in BACKENDS]
    plan = Plan(tuple(backends), visit_share=0.16)
    if known and all(kind.paid for kind in known):
        return replace(plan, shapes=API_SHAPES, visit_share=1.0)
    return plan


@dataclass(frozen=True, slots=True)
class Wish:
    """How a run is to go on: an earlier run's folder, more of the same, a price accepted unseen.

    `planned`: nobody named cells, so a stored plan is measured; with `more` for as long as was asked.
    """

    resume: Path | None = None
    more: bool = False
    accepted: bool = False
    planned: bool = False


async def run(plan: Plan, door: Door, results: Path, console: Console, wish: Wish = Wish()) -> Path:
    """Runs `plan`, or what an earlier run lacks; returns the run's folder. Raises HarnessError.

    A resumed run keeps its own plan; with `more` the budget and repeats of `plan` replace its own.
    """
    with ProgressBar(console) as bar:
        past, measured = None, None
        if wish.resume is not None:
            past, plan, door = _resumed(wish.resume, plan, wish.more)
        else:
            if wish.planned:
                measured = await probed(plan)
                plan = _planned(plan, measured, wish.more, bar)
            plan, door = await _with_model(plan, door, bar), with_environment(door, plan.backends, os.environ)
        groups = lanes(plan, door)
        priced, purse, lines = prices(groups, plan, door, wish.accepted)
        for line in lines:
            bar.note(line)
        if past is not None:
            purse.book(spent_before_usd(past, priced))
        await _require_room(groups, plan, door, bar)
        if past is None or wish.resume is None:
            header = _header(plan, door, groups, results, measured or await probed(plan))
            header.settings["prices"] = {" ".join(key).strip(): asdict(price) for key, price in priced.items()}
            folder = new_folder(results, header.run_id)
            past = Record(header := replace(header, run_id=folder.name))
            with Journal(folder) as journal:
                journal.append(header)
        else:
            folder = wish.resume
        bar.note(f"results go to {folder}")
        with Journal(folder) as journal:
            try:
                with Scribe(journal) as scribe:
                    means = Means(
                        scribe, bar, time.perf_counter_ns, purse, priced, secrets_of(os.environ),
                        room=partial(_require_room_of_part, plan=plan, door=door),
                    )  # fmt: skip
                    await Runner(plan, groups, door, past, means).run()
            except (asyncio.CancelledError, HarnessError):
                bar.note(f"stopped; nothing measured is lost. Go on with: python -m harness run --resume {folder}")
                raise
    return folder


async def _require_room(groups: Sequence[tuple[Lane, ...]], plan: Plan, door: Door, bar: ProgressBar) -> None:
    """Raises NotEnoughRoom before anything is started; of parts each by itself is looked at when it is opened."""
    listed, store = [lane for group in groups for lane in group], Store()
    new = files_to_build(listed, door, store)
    wanted, building = sum(new.values()), len(new)
    if lacking := store.lacking_bytes(wanted) if building > 1 else 0:
        raise NotEnoughRoom(
            f"{building} model files to build take {wanted / 1e9:.1f} GB in {store.folder}, {lacking / 1e9:.1f} GB "
            "more than is free: free some, set YARDSTICK_CACHE, or choose fewer or smaller models"
        )
    if building > 1:
        bar.note(f"{building} model files to build, {wanted / 1e9:.1f} GB in {store.folder}, once")
    for lane in (lane for lane in listed if lane.part is None and runs_embedded(lane, door)):
        await require_room(lane.target, plan, store, memory_free_bytes())


async def _require_room_of_part(lane: Lane, plan: Plan, door: Door) -> None:
    """Raises NotEnoughRoom for a part of a plan that disk or memory cannot hold."""
    if lane.part is not None and runs_embedded(lane, door):
        await require_room(lane.target, plan_of(lane, plan), Store(), memory_free_bytes())


def _resumed(folder: Path, plan: Plan, more: bool) -> tuple[Record, Plan, Door]:
    if find_journals([folder]) == [folder]:
        raise BadResults(f"{folder} is not a run's folder: --resume takes the folder that holds {JOURNAL}")
    past = read_record(folder)
    before, door = _as_before(past)
    # More of the same may be asked for; everything else stays as it was.
    if more:
        before = replace(before, budget_s=plan.budget_s, repeats=plan.repeats)
    if plan.max_cost_usd is not None:
        before = replace(before, max_cost_usd=plan.max_cost_usd)
    return past, before, door


def _planned(plan: Plan, measured: Probes, more: bool, bar: ProgressBar) -> Plan:
    """The plan with the parts of the stored one for this machine; as it is where none fits, which is said."""
    found, why = first_plan(measured, memory_free_bytes(), Store())
    bar.note(why)
    if found is None:
        return plan
    return replace(plan, parts=found.parts, visit_share=1.0, budget_s=plan.budget_s if more else found.budget_s)


async def _with_model(plan: Plan, door: Door, bar: ProgressBar) -> Plan:
    """The plan with a model for the embedded engine: the one that fits this machine, where none was named."""
    if plan.parts or "llamacpp" not in plan.backends or names_for("llamacpp", plan):
        return plan
    if "llamacpp" in door.base_urls:
        raise HarnessError("name the model that the server runs with --model, so that its shape is known")
    bar.note("asking the engine what fits this machine")
    model, why = await default_model(plan, Store(), memory_free_bytes())
    if why:
        bar.note(why)
    return replace(plan, models=(*plan.models, f"llamacpp={model.name}" if len(plan.backends) > 1 else model.name))


async def probed(plan: Plan) -> Probes:
    """What short measurements say of this machine, with the threads of the plan."""
    own = await overhead(this_host())
    return probes(engine_options(plan, "").threads, own.seconds, own.note)


def _header(plan: Plan, door: Door, groups: Sequence[tuple[Lane, ...]], results: Path, measured: Probes) -> RunHeader:
    started = datetime.now(UTC)
    stamp = started.strftime("%Y%m%d-%H%M%S")
    return RunHeader(
        run_id=results_folder(results, stamp, plan, groups).name,
        started_at=started.isoformat(timespec="seconds"),
        harness_version=__version__,
        host=this_host(),
        probes=measured,
        settings={"plan": asdict(plan), "door": asdict(door)},
        machine=this_machine(Meters(Gpus(), Rapl()).sources),
    )


def _as_before(past: Record) -> tuple[Plan, Door]:
    settings = past.header.settings
    try:
        door = dict(settings["door"])
        # Format 1 had one URL.
        if url := door.pop("base_url", None):
            door["base_urls"] = {"llamacpp": url}
        return plan_from(settings["plan"], past.path), Door(**door)
    except (KeyError, TypeError) as error:
        raise BadResults(f"{past.path} does not say how it was run ({error}): it cannot be resumed") from error


def results_folder(root: Path, started: str, plan: Plan, groups: Sequence[tuple[Lane, ...]]) -> Path:
    """A new run's folder name: time, back ends, first model."""
    target = groups[0][0].target
    name = f"{target.name}-{target.quant}".strip("-").replace(":", "-").replace("/", "-").lower()
    count = len({lane.target.name + lane.target.quant for group in groups for lane in group})
    more = f"-and-{count - 1}-more" if count > 1 else ""
    return root / f"{started}-{'-'.join(plan.backends)}-{name}{more}"
