"""A simulated engine as long as a block lasts: in the running event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from harness.errors import EngineFailure, HarnessError
from harness.simulated.clock import Clock, RealClock
from harness.simulated.demands import BadLaw
from harness.simulated.engine import Engine
from harness.simulated.law import NO_FAULTS, Faults, Law
from harness.simulated.server import Server
from harness.simulated.slots import Slot, Slots

CONTEXT_TOKENS = 4096


@asynccontextmanager
async def serving(
    law: Law,
    faults: Faults = NO_FAULTS,
    *,
    slots: int = 1,
    context_tokens: int = CONTEXT_TOKENS,
    port: int = 0,
    clock: Clock | None = None,
) -> AsyncIterator[str]:
    """Load, listen on loopback, yield the URL. `context_tokens` is what each slot holds; port 0 is any free one."""
    if slots < 1 or context_tokens < 2:
        raise BadLaw(f"simulated engine: {slots} slots of {context_tokens} tokens: at least 1 of at least 2 needed")
    if faults.refuse_load:
        raise EngineFailure("simulated engine: error loading model: this law refuses to load")
    clock = clock or RealClock()
    await clock.until(clock.now_s() + law.load_s)
    engine = Engine(law, faults, Slots([Slot(number) for number in range(slots)], context_tokens))
    server = Server(engine, clock)
    try:
        listening = await asyncio.start_server(server.converse, "127.0.0.1", port)
    except OSError as error:
        raise EngineFailure(f"simulated engine: cannot listen on port {port}: {error.strerror}") from error
    async with listening:
        try:
            yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        finally:
            listening.close()
            await server.stop()


@contextmanager
def running(
    law: Law, faults: Faults = NO_FAULTS, *, slots: int = 1, context_tokens: int = CONTEXT_TOKENS
) -> Iterator[str]:
    """The same beside synchronous code: a thread with its own event loop."""
    listening: Future[str] = Future()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(law, faults, slots=slots, context_tokens=context_tokens) as url:
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
