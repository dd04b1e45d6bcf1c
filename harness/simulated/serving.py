"""A simulated engine as long as a block lasts: in the running event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Unpack

from harness.errors import EngineFailure, HarnessError
from harness.simulated import http
from harness.simulated.clock import Clock, RealClock
from harness.simulated.engine import Engine
from harness.simulated.law import NO_FAULTS, Faults, Law
from harness.simulated.library import library
from harness.simulated.limits import RequestLimit
from harness.simulated.options import Options, Setup
from harness.simulated.queue_log import QueueLog
from harness.simulated.server import Server
from harness.simulated.slots import Slot, Slots


@asynccontextmanager
async def serving(
    law: Law, faults: Faults = NO_FAULTS, *, clock: Clock | None = None, **setup: Unpack[Setup]
) -> AsyncIterator[str]:
    """Load, listen on loopback, yield the URL."""
    options = Options(**setup)
    if faults.refuse_load:
        raise EngineFailure("simulated engine: error loading model: this law refuses to load")
    clock = clock or RealClock()
    if not options.load_on_request:
        await clock.until(clock.now_s() + law.load_s)
    engine = _engine(law, faults, clock, options)
    server = Server(engine)
    try:
        listening = await asyncio.start_server(
            server.converse, "127.0.0.1", options.port, limit=http.PIECE_BYTES, backlog=1024
        )
    except OSError as error:
        raise EngineFailure(f"simulated engine: cannot listen on port {options.port}: {error.strerror}") from error
    async with listening, engine.log.written():
        try:
            yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        finally:
            listening.close()
            await server.stop()


def _engine(law: Law, faults: Faults, clock: Clock, options: Options) -> Engine:
    return Engine(
        law,
        faults,
        Slots([Slot(number) for number in range(options.slots)], options.context_tokens),
        clock,
        library(clock, law.load_s, options.context_tokens, options.models, options.load_on_request),
        RequestLimit(options.requests_per_minute),
        QueueLog(options.log),
    )


@contextmanager
def running(law: Law, faults: Faults = NO_FAULTS, **setup: Unpack[Setup]) -> Iterator[str]:
    """The same beside synchronous code: a thread with its own event loop."""
    listening: Future[str] = Future()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(law, faults, **setup) as url:
            listening.set_result(url)
            await stop.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(serve())
            except HarnessError as failure:
                listening.set_exception(failure)

    thread = threading.Thread(target=work, name="simulated engine", daemon=True)
    thread.start()
    try:
        yield listening.result()
    finally:
        if not listening.exception():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
