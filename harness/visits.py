"""Visits to cells: the requests that one engine is sent, with their warm-up and cached contexts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from harness.backends import Ask, Done, Piece, Sent
from harness.errors import HarnessError
from harness.journal import Journal
from harness.metrics import cached_as_meant
from harness.opening import Opened
from harness.prompts import Prompts
from harness.record import Cell, Chunk, Phase, Request, ServerTimings, Usage
from harness.sensors.process import ProcessSampler
from harness.watch import Watcher
from harness.wire import Clock, RequestFailed


@dataclass(frozen=True, slots=True)
class Instruments:
    """What a visit needs besides the engine: where to write, what to sample with, whom to tell, the clock."""

    journal: Journal
    sampler: ProcessSampler
    watcher: Watcher
    clock: Clock


@dataclass
class Visitor:
    """Sends requests to one engine. `depths` have a slot each, above those of the concurrent streams."""

    engine: Opened
    subject_id: str
    prompts: Prompts
    slots: int
    depths: tuple[int, ...]
    instruments: Instruments
    nonce: int
    held: dict[int, int] = field(default_factory=dict)

    def primed(self, cell: Cell) -> bool:
        """Whether the context of `cell` is cached where its requests will go."""
        return all(self.held.get(slot, 0) == cell.depth_tokens for slot in self._slots(cell))

    async def visit(self, cell: Cell, repeat: int, phase: Phase) -> list[Request]:
        """One request on each stream of the cell, at once; contexts are cached first. Each is journaled as it ends."""
        out = self.instruments
        finished: list[Request] = []
        for slot in self._slots(cell):
            if self.held.get(slot, 0) != cell.depth_tokens and cell.depth_tokens:
                out.watcher.visiting(cell, repeat, "prime")
                finished.append(await self._prime(cell, repeat, slot))
        out.watcher.visiting(cell, repeat, phase)
        slots = self._slots(cell)
        finished += await asyncio.gather(*(self._request(cell, repeat, phase, self._ask(cell, slot)) for slot in slots))
        for slot, request in zip(slots, finished[-len(slots) :], strict=True):
            if not cached_as_meant(request):
                self.held.pop(slot, None)
        samples = out.sampler.take(self.subject_id)
        if samples.samples:
            out.journal.append(samples)
        return finished

    def _slots(self, cell: Cell) -> list[int]:
        if cell.concurrency == 1 and cell.depth_tokens:
            own = self.slots - len(self.depths) + self.depths.index(cell.depth_tokens)
            return [max(0, own)]
        if cell.concurrency > self.slots:
            raise HarnessError(
                f"the server has {self.slots} slots, {cell.concurrency} streams were asked: lower --concurrency "
                "or start the server with more (--parallel)"
            )
        return list(range(cell.concurrency))

    def _ask(self, cell: Cell, slot: int) -> Ask:
        self.nonce += 1
        context = self.prompts.context(cell.depth_tokens)
        self.held[slot] = cell.depth_tokens
        return Ask(context + self.prompts.fresh(cell.prompt_tokens, self.nonce), cell.output_tokens, len(context), slot)

    async def _prime(self, cell: Cell, repeat: int, slot: int) -> Request:
        """Prefills the context of the slot; the token after it is replaced by every later request."""
        self.nonce += 1
        prompt = self.prompts.context(cell.depth_tokens) + self.prompts.fresh(1, self.nonce)
        return await self._request(cell, repeat, "prime", Ask(prompt, 2, cell.depth_tokens, slot))

    async def _request(self, cell: Cell, repeat: int, phase: Phase, ask: Ask) -> Request:
        clock = self.instruments.clock
        scheduled = clock()
        blank = Request(self.subject_id, cell, repeat, phase, scheduled, scheduled, 0, (), Usage(), ServerTimings())
        sent, chunks, done, error = scheduled, [], Done(Usage(), ServerTimings()), None
        try:
            async for event in self.engine.backend.generate(ask):
                match event:
                    case Sent():
                        sent = event.sent_ns
                    case Piece():
                        chunks.append(Chunk(event.wire_ns, clock(), event.tokens))
                    case Done():
                        done = event
            error = _wrong_count(done.usage, ask)
        except RequestFailed as failure:
            error = str(failure)
        finished = replace(
            blank,
            sent_ns=sent,
            ended_ns=clock(),
            chunks=tuple(chunks),
            usage=done.usage,
            timings=done.timings,
            error=error,
        )
        self.instruments.journal.append(finished)
        return finished


def _wrong_count(usage: Usage, ask: Ask) -> str | None:
    """A request that did not do the work it was sent for does not count."""
    if usage.output_tokens is not None and usage.output_tokens != ask.output_tokens:
        return f"the server generated {usage.output_tokens} tokens where {ask.output_tokens} were asked"
    if usage.prompt_tokens is not None and usage.prompt_tokens != len(ask.prompt):
        return f"the server counts {usage.prompt_tokens} prompt tokens where {len(ask.prompt)} were sent"
    return None
