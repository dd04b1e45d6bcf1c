"""Starting and ending engine processes: the embedded one, a user's llama-server, and their logs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from harness.errors import EngineFailure

_START_TIMEOUT_S = 600.0
_DRY_RUN_TIMEOUT_S = 60.0
_MIB = 2**20
_BUFFER = re.compile(r"(\S+)\s+(model|KV|compute|output) buffer size =\s*([\d.]+) MiB")
_KV_SIZE = re.compile(r"llama_kv_cache\w*: size =\s*([\d.]+) MiB")
_SYSTEM_INFO = re.compile(r"system_info: (.*)")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a llama.cpp engine is told, explicitly. `context_tokens` is the whole cache, shared by `slots` evenly."""

    model: str
    context_tokens: int
    slots: int = 1
    threads: int = 1
    batch_tokens: int = 2048
    ubatch_tokens: int = 512
    flash_attention: str = "auto"
    gpu_layers: int = -1
    port: int = 0


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An engine process that listens: where, which process to sample, and what it said when it started."""

    url: str
    pid: int
    said: dict[str, Any]
    log: Path


@asynccontextmanager
async def embedded_engine(options: EngineOptions, log: Path) -> AsyncIterator[RunningEngine]:
    """The embedded engine, loaded and listening; ended on leaving. Raises EngineFailure with its last words."""
    command = [sys.executable, "-m", "harness.backends.embedded", json.dumps(asdict(options))]
    async with _process(command, log) as process:
        said = await _first_line(process, log)
        yield RunningEngine(said["url"], process.pid, said, log)


@asynccontextmanager
async def server_binary(binary: str, options: EngineOptions, log: Path) -> AsyncIterator[RunningEngine]:
    """A user's llama-server with the same options, loaded; ended on leaving. Raises EngineFailure."""
    port = options.port or _free_port()
    command = [sys.executable, "-m", "harness.backends.guard", binary, *_arguments(options, port)]
    async with _process(command, log) as process:
        said = await _first_line(process, log)
        await _healthy(process, port, log)
        yield RunningEngine(f"http://127.0.0.1:{port}", said["pid"], said, log)


@asynccontextmanager
async def child_server(command: list[str], log: Path) -> AsyncIterator[RunningEngine]:
    """A Python server that prints `{"url": ...}` when it listens (the simulated engine)."""
    async with _process(command, log) as process:
        said = await _first_line(process, log)
        yield RunningEngine(said["url"], process.pid, said, log)


async def dry_run(options: EngineOptions, log: Path) -> dict[str, int]:
    """Bytes of KV cache, compute and output buffers that the engine would allocate. Raises EngineFailure.

    The engine plans the run (`no_alloc`) from the file's header alone, so a sparse file will do.
    """
    command = [sys.executable, "-m", "harness.backends.embedded", json.dumps(asdict(options) | {"dry_run": True})]
    async with _process(command, log) as process:
        for _ in range(round(_DRY_RUN_TIMEOUT_S / 0.05)):
            if process.returncode is not None or "compute_bytes" in buffers(log):
                break
            await asyncio.sleep(0.05)
        if process.returncode is None:
            process.kill()
    memory = buffers(log)
    if "compute_bytes" not in memory:
        raise EngineFailure(f"the engine's dry run of {options.model} said nothing of memory: {last_words(log)}")
    return memory


def buffers(log: Path) -> dict[str, int]:
    """Bytes of each kind of buffer in an engine's log, all devices added up; empty where the log has none."""
    text = log.read_text("utf-8", "replace")
    found: dict[str, int] = {}
    for device, kind, size in _BUFFER.findall(text):
        key = {"model": "weights", "KV": "kv_cache"}.get(kind, kind)
        key = "repacked" if kind == "model" and device.endswith("_REPACK") else key
        found[f"{key}_bytes"] = found.get(f"{key}_bytes", 0) + round(float(size) * _MIB)
    planned = [round(float(size) * _MIB) for size in _KV_SIZE.findall(text)]
    if planned:
        found["kv_cache_bytes"] = sum(planned)
    return found


def system_info(log: Path) -> str:
    """The engine's system-info line (threads, CPU features), or ""."""
    found = _SYSTEM_INFO.search(log.read_text("utf-8", "replace"))
    return found.group(1).strip() if found else ""


def require_free_port(port: int) -> None:
    """Raises EngineFailure where somebody listens on `port` of the loopback interface already."""
    if not 0 < port < 2**16:
        raise EngineFailure(f"{port} is no port: choose one from 1 to 65535")
    with socket.socket() as probe:
        if sys.platform != "win32":
            # A port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EngineFailure(
                f"port {port} is taken ({error.strerror}): leave --port out, or choose another"
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _arguments(options: EngineOptions, port: int) -> list[str]:
    values = {
        "--model": options.model,
        "--ctx-size": options.context_tokens,
        "--parallel": options.slots,
        "--threads": options.threads,
        "--threads-batch": options.threads,
        "--batch-size": options.batch_tokens,
        "--ubatch-size": options.ubatch_tokens,
        "--flash-attn": options.flash_attention,
        "--n-gpu-layers": 999 if options.gpu_layers < 0 else options.gpu_layers,
        "--host": "127.0.0.1",
        "--port": port,
        "--cache-ram": 0,
    }
    return [str(part) for pair in values.items() for part in pair]


@asynccontextmanager
async def _process(command: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                # Ctrl-C is for us to handle; an abort of the engine needs no debugger attached.
                start_new_session=True,
                env=os.environ | {"GGML_NO_BACKTRACE": "1", "PYTHONUNBUFFERED": "1"},
            )
        except OSError as error:
            raise EngineFailure(f"cannot start {command[0]}: {error.strerror}") from error
        try:
            yield process
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(process.wait(), 5)
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _first_line(process: asyncio.subprocess.Process, log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_TIMEOUT_S)
    except TimeoutError:
        raise EngineFailure(f"the engine did not start within {_START_TIMEOUT_S:.0f} s; its log is {log}") from None
    if not line:
        raise EngineFailure(f"the engine did not start: {last_words(log)}")
    said: dict[str, Any] = json.loads(line)
    return said


async def _healthy(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Waits until `/health` answers 200: a llama-server answers 503 while it loads."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5.0) as client:
        for _ in range(round(_START_TIMEOUT_S / 0.2)):
            if process.returncode is not None:
                raise EngineFailure(f"the engine did not start: {last_words(log)}")
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/health")).status_code == 200:
                    return
            await asyncio.sleep(0.2)
    raise EngineFailure(f"the engine was not ready within {_START_TIMEOUT_S:.0f} s; its log is {log}")


def last_words(log: Path, lines: int = 3) -> str:
    """The engine's last errors, or its last lines where it named none, and where its log is."""
    said = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in said if " E " in line or "error" in line.lower() or "assert" in line.lower()]
    words = " | ".join(line[:200] for line in (errors or said)[-lines:]) or "it said nothing"
    return f"{words} (log: {log})"
