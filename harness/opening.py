"""Opening back ends: from what was asked to an engine that answers, with everything it says of itself."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from estimator.catalog import find_mixture, find_model
from estimator.errors import EstimatorError
from estimator.facts import model_file_facts
from estimator.readers.gguf import read_model_file
from estimator.specs import Model
from estimator.tensors import model_file
from harness.backends import Backend, Facts
from harness.backends.launch import (
    EngineOptions,
    RunningEngine,
    buffers,
    child_server,
    embedded_engine,
    require_free_port,
    server_binary,
    system_info,
)
from harness.backends.llamacpp import LlamaServer
from harness.errors import BadModelFile, HarnessError
from harness.plan import Plan, Shape
from harness.weights.build import Progress
from harness.weights.store import Store
from harness.wire import Clock, Wire

_CELLS_PAD = 256
# The simulated engine where no law is given: 1,000 tokens/s of prefill, 100 of decode.
DEFAULT_LAW = '{"prefill_fixed_s": 0.005, "prefill_s_per_token": 0.001, "decode_s_per_token": 0.01}'


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to measure: a catalogue model with a mixture, or a user's file."""

    name: str
    quant: str
    facts: dict[str, Any]
    model: Model | None
    path: Path | None

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(int(group["size_bytes"]) for group in self.facts["groups"])

    @property
    def multiplied_bytes(self) -> int:
        """Bytes of the matrices and the head: what an engine may hold a second time, repacked."""
        return sum(int(group["size_bytes"]) for group in self.facts["groups"] if group["role"] in ("matrix", "head"))


@dataclass(frozen=True, slots=True)
class Door:
    """Which server to speak to: ours (all None), a binary of the user's, one that runs, or a simulated one."""

    llama_server: str | None = None
    base_url: str | None = None
    port: int = 0
    law: str | None = None


def resolve(name: str, quant: str) -> Target:
    """The target that a catalogue name with a weight type, or a path ending in .gguf, means.

    Raises BadModelFile for a file that cannot be read, EstimatorError for an unknown name.
    """
    if name.endswith(".gguf"):
        path = Path(name).expanduser().resolve()
        try:
            found = read_model_file(path)
        except EstimatorError as error:
            raise BadModelFile(str(error)) from error
        return Target(path.stem, found.quant, model_file_facts(found), None, path)
    model, mixture = find_model(name), find_mixture(quant)
    return Target(model.name, mixture, model_file_facts(model_file(model, mixture)), model, None)


def engine_options(plan: Plan, path: str, port: int = 0) -> EngineOptions:
    """Slots for every stream and every depth, and room in each for the longest request."""
    slots = max(shape.concurrency for shape in plan.shapes) + len(depths(plan.shapes))
    per_slot = -(-max(shape.longest_tokens for shape in plan.shapes) // _CELLS_PAD) * _CELLS_PAD
    return EngineOptions(
        model=path,
        context_tokens=slots * per_slot,
        slots=slots,
        threads=plan.threads or psutil.cpu_count(logical=False) or 1,
        ubatch_tokens=plan.ubatch_tokens,
        flash_attention=plan.flash_attention,
        port=port,
    )


def depths(shapes: tuple[Shape, ...]) -> list[int]:
    """The distinct depths above 0, ascending; each has a slot of its own, so that its context stays cached."""
    return sorted({shape.depth_tokens for shape in shapes} - {0})


def prepare(target: Target, plan: Plan, door: Door, building: Progress) -> Target:
    """The target with its model file, built where an engine of ours needs one. Raises NotEnoughRoom, HarnessError."""
    if target.path is not None or target.model is None or door.base_url or plan.backend == "simulated":
        return target
    return replace(target, path=Store().build(target.model, target.quant, progress=building))


@dataclass(frozen=True, slots=True)
class Opened:
    """A back end that answers. `pid` is the process to sample; `log` holds the engine's own words, where it is ours."""

    backend: Backend
    pid: int | None
    log: Path | None


@asynccontextmanager
async def opened(target: Target, plan: Plan, door: Door, log: Path, clock: Clock) -> AsyncIterator[Opened]:
    """A running back end with the (prepared) target loaded, closed on leaving. Raises HarnessError."""
    async with _engine(target, plan, door, log) as (url, known):
        wire = Wire(url, clock)
        try:
            yield Opened(LlamaServer(wire, known), known.pid, log if log.exists() else None)
        finally:
            await wire.close()


@asynccontextmanager
async def _engine(target: Target, plan: Plan, door: Door, log: Path) -> AsyncIterator[tuple[str, Facts]]:
    known = Facts("llama.cpp", "", "", {}, target.facts, {}, None, 1, 0)
    if door.base_url:
        yield door.base_url, replace(known, options={"base_url": door.base_url})
    elif plan.backend == "simulated":
        options = engine_options(plan, target.name)
        command = [sys.executable, "-m", "harness.simulated", "--slots", str(options.slots)]
        command += ["--context", str(options.context_tokens // options.slots), "--law", door.law or DEFAULT_LAW]
        async with child_server(command, log) as engine:
            said = {"law": door.law or DEFAULT_LAW}
            yield engine.url, replace(known, engine="simulated", engine_version="1", options=said)
    else:
        if target.path is None:
            raise HarnessError(f"{target.name} has no model file: prepare it first")
        options = engine_options(plan, str(target.path), door.port)
        if door.port:
            require_free_port(door.port)
        starter = server_binary(door.llama_server, options, log) if door.llama_server else embedded_engine(options, log)
        async with starter as engine:
            yield engine.url, _told(known, engine, options, own=bool(door.llama_server))


def _told(known: Facts, engine: RunningEngine, options: EngineOptions, own: bool) -> Facts:
    return replace(
        known,
        engine="llama.cpp (llama-server)" if own else "llama.cpp (xllamacpp)",
        engine_version=engine.said.get("version", ""),
        system_info=engine.said.get("system_info") or system_info(engine.log),
        # The file's name, not where this user keeps it.
        options=asdict(options) | {"model": Path(options.model).name},
        model=known.model | {"file_bytes": Path(options.model).stat().st_size},
        memory=buffers(engine.log),
        pid=engine.pid,
    )
