"""Back ends against servers of planted speed and planted faults on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from harness.journal import read_record
from harness.plan import Plan, Shape
from harness.record import Record, Request
from harness.simulated.law import NO_FAULTS, Faults, Law
from harness.simulated.options import Setup
from harness.simulated.serving import serving
from harness.target import Door
from harness.watch import Watcher
from tests.harness.making import run_plan

# Fast: what is asked here is what is recorded, not how long it took.
QUICK = Law(decode_s_per_token=0.0005)
# Slow enough for times to be told from a client's own.
STEADY = Law(prefill_fixed_s=0.02, prefill_s_per_token=0.001, decode_s_per_token=0.01, load_s=0.3)
SHAPES = (Shape(12, 6),)

# Each way to each protocol: the back end, the model's name as it takes it.
WAYS = {
    "simulated": ("simulated", "mistral:7b"),
    "ollama": ("ollama", "mistral"),
    "openai": ("openai", "mistral"),
    "http": ("http", "mistral"),
    "langchain": ("langchain", "mistral"),
    "langchain-ollama": ("langchain", "ollama:mistral"),
}
OPENAI_LIKE = ("openai", "http", "langchain")


def plan_of(ways: Sequence[str], shapes: tuple[Shape, ...] = SHAPES, repeats: int = 2) -> Plan:
    """A plan that measures each of the ways so many times."""
    backends = tuple(dict.fromkeys(WAYS[way][0] for way in ways))
    models = tuple("=".join(WAYS[way]) for way in ways)
    # The process that listens is this one: there is nothing to sample.
    return Plan(backends, models, shapes=shapes, repeats=repeats, sample_per_s=0)


def door_to(url: str, ways: Sequence[str] = tuple(WAYS)) -> Door:
    """The door to one server for all of the ways."""
    urls = {}
    for way in ways:
        backend, model = WAYS[way]
        plain = backend in ("simulated", "ollama") or model.startswith("ollama:")
        urls[backend] = url if plain else f"{url}/v1"
    return Door(base_urls=urls)


def measured(
    folder: Path,
    way: str,
    law: Law = QUICK,
    faults: Faults = NO_FAULTS,
    plan: Plan | None = None,
    **setup: Unpack[Setup],
) -> Record:
    """The record of a run through one way."""
    setup.setdefault("slots", 2)

    async def run() -> Record:
        async with serving(law, faults, **setup) as url:
            return await run_plan(folder, plan or plan_of([way]), door_to(url, [way]))

    return asyncio.run(run())


def measured_whatever(folder: Path, way: str, faults: Faults, repeats: int = 2) -> Record:
    """The record of a run that may give up."""
    measured(folder, way, QUICK, faults, replace(plan_of([way]), repeats=repeats))
    return read_record(folder)


def counted_all(record: Record) -> list[Request]:
    """The counted requests, failed ones too."""
    return [request for request in record.requests if request.phase == "counted"]


class Listener(Watcher):
    """Keeps what a user would read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
