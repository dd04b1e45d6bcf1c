"""llama.cpp's own server protocol: native `/completion` with token ids, per-slot prefix cache, `timings`.

Serves the embedded engine, a user's llama-server binary, a server that already runs, and the
simulated engine, which all speak it. There is no client library: HTTP and JSON are read as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from harness.backends import Ask, Call, Facts, Opened
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
from harness.errors import HarnessError
from harness.plan import Plan, Shape
from harness.record import Usage
from harness.weights.vocabulary import words
from harness.wire.raw import Wire
from harness.wire.streams import llamacpp_stream
from harness.wire.tap import RequestFailed

_POOL_WORDS = 4000
# Parameters may differ by what a file adds (rope factors) or a catalogue leaves out.
_SAME_SIZE = 0.02
# The model id of a simulated server.
SIMULATED = "simulated"
# The simulated engine where no law is given: 1,000 tokens/s of prefill, 100 of decode.
DEFAULT_LAW = '{"prefill_fixed_s": 0.005, "prefill_s_per_token": 0.001, "decode_s_per_token": 0.01}'
_CELLS_PAD = 256


class LlamaServer:
    """A llama.cpp server at the other end of `wire`. `known` holds what the opener knows beyond what it says."""

    stream = staticmethod(llamacpp_stream)

    def __init__(self, wire: Wire, known: Facts) -> None:
        self._wire = wire
        self._known = known

    async def describe(self) -> Facts:
        """The opener's facts, completed by the server's `/props`. Raises RequestFailed."""
        props, listed = await self._wire.get_json("/props"), await self._wire.get_json("/v1/models")
        known = self._known
        with _answered("/v1/models"):
            _require_same_model(known.model, listed)
        with _answered("/props"):
            settings = props.get("default_generation_settings", {})
            return replace(
                known,
                engine_version=known.engine_version or str(props.get("build_info", "unknown")),
                slots=int(props.get("total_slots", 1)),
                context_tokens=int(settings.get("n_ctx", 0)),
                client=f"httpx {version('httpx')}",
                exact=True,
            )

    async def vocabulary(self) -> tuple[int, ...]:
        """Distinct token ids of a text of short words, sorted. Raises RequestFailed."""
        answer = await self._wire.post_json("/tokenize", {"content": " ".join(islice(words(), _POOL_WORDS))})
        with _answered("/tokenize"):
            ids = tuple(sorted({int(token) for token in answer["tokens"]}))
        if len(ids) < 10:
            raise RequestFailed(
                f"/tokenize knows only {len(ids)} tokens of {_POOL_WORDS} words: not a usable tokenizer"
            )
        return ids

    async def generate(self, ask: Ask) -> AsyncGenerator[Usage | None, None]:
        """Greedy decoding of exactly `output_tokens` tokens, streamed. Raises RequestFailed."""
        body = {
            "prompt": list(ask.prompt),
            "n_predict": ask.output_tokens,
            "id_slot": ask.slot,
            "cache_prompt": ask.keep > 0,
            "temperature": 0.0,
            "ignore_eos": True,
            "return_tokens": True,
            "stream": True,
        }
        rest = b""
        async with self._wire.post_stream("/completion", body) as pieces:
            async for piece in pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: ") and _has_text(line[6:]):
                        yield None

    def learn(self, ask: Ask, usage: Usage) -> None:
        """Nothing: prompts are token ids, so their length is known."""


def _has_text(data: bytes) -> bool:
    try:
        event = json.loads(data)
        return bool(event.get("tokens") or event.get("content"))
    except (ValueError, AttributeError):
        # Said by the reader of the wire, with what was wrong.
        return False


@contextmanager
def _answered(path: str) -> Iterator[None]:
    """What is no answer of a llama.cpp server, where the block reads it, as RequestFailed."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RequestFailed(
            f"{path} answered what llama.cpp does not ({error}): is that a llama.cpp server?"
        ) from error


def _require_same_model(facts: dict[str, Any], told: dict[str, Any]) -> None:
    """Raises RequestFailed where the server's model is not the one that was named; a simulated server has none."""
    meta = (told.get("data") or [{}])[0].get("meta") or {}
    size, expected = meta.get("n_params"), (facts.get("model") or {}).get("parameters")
    if not size or not expected or (told.get("data") or [{}])[0].get("id") == SIMULATED:
        return
    if abs(size / expected - 1) > _SAME_SIZE:
        raise RequestFailed(
            f"the server runs a model of {size:,} parameters, the one named has {expected:,}: name the right --model"
        )


def engine_options(plan: Plan, path: str, port: int = 0) -> EngineOptions:
    """Slots for every stream and every depth, and room in each for the longest request."""
    slots = max(shape.streams for shape in plan.shapes) + len(depths(plan.shapes))
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


@asynccontextmanager
async def open_llamacpp(call: Call) -> AsyncIterator[Opened]:
    """The embedded engine, a user's binary, or a server that runs, with the (prepared) target loaded."""
    known, url = Facts("llama.cpp", model=call.target.facts), call.door.base_urls.get("llamacpp")
    if url:
        async with _served(call, url, replace(known, options={"base_url": url})) as opened:
            yield opened
        return
    if call.target.path is None:
        raise HarnessError(f"{call.target.name} has no model file: prepare it first")
    options, binary = engine_options(call.plan, str(call.target.path), call.door.port), call.door.llama_server
    if call.door.port:
        require_free_port(call.door.port)
    starter = server_binary(binary, options, call.log) if binary else embedded_engine(options, call.log)
    async with (
        starter as engine,
        _served(call, engine.url, _told(known, engine, options, own=bool(binary))) as opened,
    ):
        yield opened


@asynccontextmanager
async def open_simulated(call: Call) -> AsyncIterator[Opened]:
    """A simulated engine of the door's law, in a process of its own, or one that runs."""
    if url := call.door.base_urls.get(SIMULATED):
        async with _served(
            call, url, Facts(SIMULATED, "1", options={"base_url": url}, model=call.target.facts)
        ) as opened:
            yield opened
        return
    options, law = engine_options(call.plan, call.target.name), call.door.law or DEFAULT_LAW
    command = [sys.executable, "-m", "harness.simulated", "--slots", str(options.slots)]
    command += ["--context", str(options.context_tokens // options.slots), "--law", law]
    known = Facts(SIMULATED, "1", options={"law": law}, model=call.target.facts)
    async with (
        child_server(command, call.log) as engine,
        _served(call, engine.url, replace(known, pid=engine.pid)) as opened,
    ):
        yield opened


@asynccontextmanager
async def _served(call: Call, url: str, known: Facts) -> AsyncIterator[Opened]:
    # llama.cpp closes a connection after each stream without saying so: the next request must not meet that.
    wire = Wire(url, call.clock, headers={"Connection": "close"})
    try:
        yield Opened(LlamaServer(wire, known), known.pid, call.log if call.log.exists() else None)
    finally:
        await wire.close()


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
