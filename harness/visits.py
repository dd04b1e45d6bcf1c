"""Visits to cells: the requests that one engine is sent, with their warm-up, cached contexts and load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from estimator.price_list import Price
from harness.backends import Ask, Facts, Opened
from harness.errors import HarnessError
from harness.journal import Scribe
from harness.load import Stretch, closed_load, open_load
from harness.loads import GIVEN_UP
from harness.metrics import cached_as_meant
from harness.outcome import chunks_of, cost_usd, require_end, worst_prompt_tokens, wrong_count
from harness.prompts import Prompts
from harness.purse import Purse, Reservation
from harness.record import Cell, Phase, Request, Samples, ServerTimings, Usage
from harness.secrets import scrubbed
from harness.sensors.process import ProcessSampler
from harness.watch import Watcher
from harness.wire.streams import Told, told
from harness.wire.tap import Clock, EndedByUs, RequestFailed, Tap, tapped

REFUSED = 429
# A refused request is tried so many times, with the wait that the server asks for.
_TRIES = 6
_LONGEST_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Instruments:
    """What a visit needs besides the engine: where to write, what to sample with, whom to tell, clocks, money."""

    journal: Scribe
    sampler: ProcessSampler
    watcher: Watcher
    clock: Clock
    cpu_s: Callable[[], float]
    purse: Purse
    price: Price | None = None
    secrets: tuple[str, ...] = ()


@dataclass
class Visitor:
    """Sends requests to one engine. `depths` have a slot each, above those of the concurrent streams.

    Every finished request is journaled and passed to `took`, the cell of one that the rate limit refused to the end to
    `lost`.
    """

    engine: Opened
    facts: Facts
    subject_id: str
    prompts: Prompts
    depths: tuple[int, ...]
    instruments: Instruments
    took: Callable[[Request], None]
    nonce: int
    lost: Callable[[Cell], None] = lambda _: None
    sampled: Callable[[Samples], None] = lambda _: None
    held: dict[int, int] = field(default_factory=dict)
    giving_up: bool = False

    def primed(self, cell: Cell) -> bool:
        """Whether the context of `cell` is cached where its requests will go."""
        return all(self.held.get(slot, 0) == cell.depth_tokens for slot in self._slots(cell))

    async def visit(self, cell: Cell, repeat: int, phase: Phase, stretch: Stretch) -> str | None:
        """One request, or a stretch of a loaded cell; contexts are cached first.

        Returns why an open load was stopped, None where it was not.
        """
        out = self.instruments
        for slot in self._slots(cell):
            if self.held.get(slot, 0) != cell.depth_tokens and cell.depth_tokens:
                out.watcher.visiting(cell, repeat, "prime")
                await self._prime(cell, repeat, slot)
        out.watcher.visiting(cell, repeat, phase)
        stopped = await self._sent(cell, repeat, phase, stretch)
        self.collect()
        return stopped

    def collect(self) -> None:
        """Journals the samples that have come, and passes them to `sampled`."""
        samples = self.instruments.sampler.take(self.subject_id)
        if samples.samples or samples.faults:
            self.instruments.journal.append(samples)
        for fault in samples.faults:
            self.instruments.watcher.note(f"sensor: {fault}")
        self.sampled(samples)

    async def _sent(self, cell: Cell, repeat: int, phase: Phase, stretch: Stretch) -> str | None:
        slots = self._slots(cell)

        async def send(stream: int, due_ns: int | None) -> None:
            await self._request(cell, repeat, phase, self._ask(cell, slots[stream]), due_ns)

        if phase != "counted" or not cell.is_load:
            await send(0, None)
            return None
        if cell.rate_per_s is None:
            await closed_load(len(slots), stretch, send, self.instruments.clock)
            return None
        seed = f"{self.prompts.seed}:{self.nonce}"
        try:
            return await open_load(cell, stretch, send, self.instruments.clock, seed, self._give_up)
        finally:
            self.giving_up = False

    def _give_up(self) -> None:
        """Requests that are cancelled from now on were given up; before, the run was interrupted."""
        self.giving_up = True

    def _slots(self, cell: Cell) -> list[int]:
        if self.facts.slots is None or cell.rate_per_s is not None:
            return [-1] * cell.concurrency
        if cell.concurrency == 1 and cell.depth_tokens:
            own = self.facts.slots - len(self.depths) + self.depths.index(cell.depth_tokens)
            return [max(0, own)]
        if cell.concurrency > self.facts.slots:
            raise HarnessError(
                f"the server has {self.facts.slots} slots, {cell.concurrency} streams were asked: lower --concurrency "
                "or start the server with more (--parallel)"
            )
        return list(range(cell.concurrency))

    def _ask(self, cell: Cell, slot: int) -> Ask:
        self.nonce += 1
        context = self.prompts.context(cell.depth_tokens)
        if slot >= 0:
            self.held[slot] = cell.depth_tokens
        return Ask(context + self.prompts.fresh(cell.prompt_tokens, self.nonce), cell.output_tokens, len(context), slot)

    async def _prime(self, cell: Cell, repeat: int, slot: int) -> None:
        """Prefills the context of the slot; the token after it is replaced by every later request."""
        self.nonce += 1
        self.held[slot] = cell.depth_tokens
        prompt = self.prompts.context(cell.depth_tokens) + self.prompts.fresh(1, self.nonce)
        await self._request(cell, repeat, "prime", Ask(prompt, 2, cell.depth_tokens, slot), None)

    async def _request(self, cell: Cell, repeat: int, phase: Phase, ask: Ask, due_ns: int | None) -> None:
        """One request; where the rate limit refuses it, again after the wait, each try on record.

        Under an open load a refusal is what the load got: it is not tried again.
        """
        out = self.instruments
        # A request that is tried again was due when it was tried first: the wait is part of its latency from schedule.
        first_ns = due_ns if due_ns is not None else out.clock()
        for attempt in range(_TRIES):
            tap = await self._once(cell, repeat, phase, ask, first_ns)
            if tap.status != REFUSED or due_ns is not None:
                return
            if attempt == _TRIES - 1:
                break
            wait_s = min(tap.retry_after_s or 2.0**attempt, _LONGEST_WAIT_S)
            out.watcher.note(f"{cell.backend}: the rate limit refused a request; waiting {wait_s:.1f} s")
            await asyncio.sleep(wait_s)
        self.lost(cell)

    async def _once(self, cell: Cell, repeat: int, phase: Phase, ask: Ask, due_ns: int) -> Tap:
        out = self.instruments
        reserved = out.purse.reserve(out.price, worst_prompt_tokens(ask), ask.output_tokens)
        begun_ns, begun_cpu_s = out.clock(), out.cpu_s()
        delivered: list[int] = []
        claimed: Usage | None = None
        failure: RequestFailed | None = None
        with tapped() as tap:
            try:
                async with aclosing(self.engine.backend.generate(ask)) as events:
                    async for event in events:
                        if event is None:
                            delivered.append(out.clock())
                            require_end(len(delivered), ask)
                        else:
                            claimed = event
            except RequestFailed as refusal:
                failure = refusal
            except asyncio.CancelledError:
                if not self.giving_up:
                    self._interrupted(cell, repeat, phase, due_ns, tap)
                    raise
                failure = EndedByUs(f"{GIVEN_UP}: the server is saturated")
        ended_ns, cpu_s = out.clock(), (begun_cpu_s, out.cpu_s())
        said = self._told(tap, claimed)
        self._settle(reserved, said.usage, tap, failure)
        if failure is None and said.error is None:
            self.engine.backend.learn(ask, said.usage)
        seen = self.engine.backend.stream is not None
        finished = Request(
            self.subject_id, cell, repeat, phase,
            scheduled_ns=due_ns,
            sent_ns=tap.sent_ns or begun_ns,
            ended_ns=ended_ns,
            chunks=chunks_of(said.arrivals, delivered, wire_seen=seen),
            usage=said.usage,
            timings=said.timings,
            error=self._error(ask, phase, said, failure, tap),
            status=tap.status or None,
            limits=tap.limits,
            claimed=claimed if seen else None,
            cpu_s=cpu_s,
            cost_usd=cost_usd(out.price, said.usage),
        )  # fmt: skip
        if not cached_as_meant(finished):
            self.held.pop(ask.slot, None)
        out.journal.append(finished)
        self.took(finished)
        return tap

    def _told(self, tap: Tap, claimed: Usage | None) -> Told:
        """What the server said on the wire; where that cannot be seen, what the library claims."""
        if self.engine.backend.stream is not None:
            return told(tap, self.engine.backend.stream)
        return Told(usage=claimed or Usage(), complete=True)

    def _settle(self, reserved: Reservation, usage: Usage, tap: Tap, failure: RequestFailed | None) -> None:
        """Books what the request cost: nothing where it was refused or never left; without an answer it may have."""
        never_left = failure is not None and self.engine.backend.stream is not None and not tap.sent_ns
        if tap.status >= 400 or never_left:
            usage = Usage(0, 0, 0)
        self.instruments.purse.settle(reserved, usage.prompt_tokens, usage.output_tokens, usage.cached_tokens)

    def _interrupted(self, cell: Cell, repeat: int, phase: Phase, due_ns: int, tap: Tap) -> None:
        """Puts a request that costs money on record although the run ends: it may have to be paid."""
        out = self.instruments
        if out.price is not None and tap.sent_ns:
            request = Request(
                self.subject_id, cell, repeat, phase, due_ns, tap.sent_ns, out.clock(), (), Usage(), ServerTimings(),
                error="interrupted", status=tap.status or None,
            )  # fmt: skip
            out.journal.append(request)

    def _error(self, ask: Ask, phase: Phase, said: Told, failure: RequestFailed | None, tap: Tap) -> str | None:
        ours = isinstance(failure, EndedByUs) or tap.status == 0 or said.error is None
        error = str(failure) if failure is not None and ours else said.error
        if error is None:
            return wrong_count(said, ask, self.facts.exact, phase)
        return scrubbed(error, self.instruments.secrets, ask.prompt)
