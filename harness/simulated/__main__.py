"""`python -m harness.simulated`: a simulated engine as a process of its own.

It prints one line, {"url": ...}, once it listens, and ends with its standard input (so it cannot
outlive its parent, however that ends) or on SIGTERM. An error is one line on standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from harness.errors import HarnessError
from harness.simulated.law import Faults, Law
from harness.simulated.library import DEFAULT_MODELS
from harness.simulated.options import CONTEXT_TOKENS, Setup
from harness.simulated.serving import serving


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m harness.simulated", description=__doc__)
    parser.add_argument("--law", default="{}", help="JSON of harness.simulated.law.Law (%(default)s: its own defaults)")
    parser.add_argument("--faults", default="{}", help="JSON of harness.simulated.law.Faults (%(default)s: none)")
    parser.add_argument("--port", type=int, default=0, help="%(default)s: any free one")
    parser.add_argument("--slots", type=int, default=1, help="requests at once (%(default)s)")
    parser.add_argument("--context", type=int, default=CONTEXT_TOKENS, help="tokens that each slot holds (%(default)s)")
    parser.add_argument(
        "--models", default=",".join(DEFAULT_MODELS), help="installed models, with commas between (%(default)s)"
    )
    parser.add_argument("--load-on-request", action="store_true", help="load a model when it is asked for, as Ollama")
    parser.add_argument("--requests-per-minute", type=int, help="refuse what goes beyond, with status 429")
    parser.add_argument("--log", type=Path, help="write a JSON line per finished request for a completion there")
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    """Serve until standard input ends or SIGTERM comes, also while loading."""
    law, faults = Law.from_json(options.law), Faults.from_json(options.faults)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    threading.Thread(target=_at_end_of_input, args=(loop, stop), daemon=True).start()
    served = asyncio.create_task(_served(law, faults, options))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({served, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if served.done():
        stopped.cancel()
        served.result()
    served.cancel()
    await asyncio.wait({served})


async def _served(law: Law, faults: Faults, options: argparse.Namespace) -> None:
    setup: Setup = {
        "slots": options.slots,
        "context_tokens": options.context,
        "port": options.port,
        "models": tuple(name for name in options.models.split(",") if name),
        "load_on_request": options.load_on_request,
        "requests_per_minute": options.requests_per_minute,
        "log": options.log,
    }
    async with serving(law, faults, **setup) as url:
        # What lives as long as the engine is not looked through again: that would take milliseconds.
        gc.collect()
        gc.freeze()
        print(json.dumps({"url": url}), flush=True)  # noqa: T201
        await asyncio.Event().wait()


def _at_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # A thread, since an event loop cannot watch every kind of standard input; os.read, since a
    # thread inside sys.stdin would hold its lock when the interpreter ends.
    while os.read(0, 4096):
        pass
    # The loop is closed already where the engine ended by itself, having refused to load.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


def main() -> int:
    """Serve; the exit status."""
    try:
        asyncio.run(serve(arguments()))
    except HarnessError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
