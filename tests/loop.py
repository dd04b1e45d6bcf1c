"""The real harness against simulated engines, one for each model: from laws to records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.journal import Journal, find_journals, read_record
from harness.plan import Plan, Shape
from harness.record import Record
from harness.simulated.law import Law
from harness.simulated.serving import serving
from harness.target import Door
from tests.harness.making import header, run_plan
from tests.planted import MIXTURE

SHAPES = (Shape(16, 12), Shape(48, 12), Shape(48, 12, depth_tokens=400), Shape(16, 12, depth_tokens=1200))


def measured(folder: Path, laws: Mapping[str, Law], repeats: int = 5) -> list[Record]:
    """One run of the real harness for each model, against an engine that obeys its law."""

    async def one(name: str, law: Law) -> None:
        plan = Plan(("simulated",), (name,), quants=(MIXTURE,), shapes=SHAPES, repeats=repeats)
        place = folder / name.replace(":", "-")
        with Journal(place) as journal:
            journal.append(replace(header(), run_id=name))
        async with serving(law, slots=3) as url:
            await run_plan(place, plan, Door(base_urls={"simulated": url}))

    for name, law in laws.items():
        asyncio.run(one(name, law))
    return [read_record(path) for path in find_journals([folder])]
