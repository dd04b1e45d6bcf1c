"""What the harness itself adds: TTFT of an instant server on loopback, kept for each machine and version."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness import __version__
from harness.backends import Ask, Facts
from harness.backends.launch import child_server
from harness.backends.llamacpp import LlamaServer
from harness.errors import HarnessError
from harness.record import Host
from harness.simulated.law import Law
from harness.weights.store import cache_folder
from harness.wire.raw import Wire
from harness.wire.streams import llamacpp_stream, told
from harness.wire.tap import tapped

_REQUESTS = 40
_WARM_UP = 5
_PROMPT = tuple(range(300, 316))


@dataclass(frozen=True, slots=True)
class Overhead:
    """Median TTFT in seconds, the instant server's own work included; None where it could not be measured: `note`."""

    seconds: float | None
    note: str = ""


async def instant_ttft_s(requests: int = _REQUESTS) -> float:
    """The median TTFT of requests to a simulated engine that takes no time. Raises HarnessError."""
    command = [sys.executable, "-m", "harness.simulated", "--law", Law().to_json()]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        async with child_server(command, Path(folder) / "log") as engine:
            wire = Wire(engine.url, time.perf_counter_ns, headers={"Connection": "close"})
            server = LlamaServer(wire, Facts("simulated"))
            try:
                for _ in range(_WARM_UP + requests):
                    with tapped() as tap:
                        async for _ in server.generate(Ask(_PROMPT, 2, 0, 0)):
                            pass
                    found.append((told(tap, llamacpp_stream).arrivals[0].wire_ns - tap.sent_ns) * 1e-9)
            finally:
                await wire.close()
    return median(found[_WARM_UP:])


async def overhead(
    host: Host,
    folder: Path | None = None,
    measure: Callable[[], Awaitable[float]] = instant_ttft_s,
    fresh: bool = False,
) -> Overhead:
    """The overhead on this machine with this version: measured once and kept, measured again where `fresh`."""
    path = (folder or cache_folder().parent) / "overhead.json"
    key = f"{host.cpu}, {host.logical_cores} threads, Python {platform.python_version()}, yardstick {__version__}"
    kept = _kept(path)
    if not fresh and isinstance(kept.get(key), float):
        return Overhead(kept[key])
    try:
        seconds = await measure()
    except HarnessError as error:
        return Overhead(None, f"the harness's own overhead was not measured: {error}")
    # A cache that cannot be written costs a second at the next run, no more.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept | {key: seconds}, indent=2) + "\n", "utf-8")
    return Overhead(seconds)


def _kept(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
