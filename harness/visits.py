"""Visits to cells: the requests that one engine is sent, with their warm-up, cached contexts and load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from harness.backends import Ask, Facts, Opened
from harness.errors import HarnessError
from harness.journal import Scribe
from harness.load import Stretch, closed_load, open_load
from harness.loads import GIVEN_UP
from harness.metrics import cached_as_meant
from harness.prompts import Prompts
from harness.purse import Price, Purse, prompt_tokens_bound
from harness.record import Cell, Chunk, Phase, Request, Usage
from harness.secrets import scrubbed
from harness.sensors.process import ProcessSampler
from harness.watch import Watcher
from harness.wire.streams import Arrival, Told, told
from harness.wire.tap import Clock, RequestFailed, Tap, tapped

REFUSED = 429
# A refused request is tried so many times, with the wait that the server asks for.
_TRIES = 6
_LONGEST_WAIT_S = 120.0
# What a chat template and our closing sentence may add to the text of a prompt, in bytes.
_FRAME_BYTES = 128
# Pieces beyond the tokens asked after which an answer is cut off.
_OVERRUN = 16


class EndedByUs(RequestFailed):
    """A request that we ended: what its cut stream looks like is our doing, not the server's."""


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
        samples = out.sampler.take(self.subject_id)
        if samples.samples:
            out.journal.append(samples)
        return stopped

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
        for attempt in range(_TRIES):
            tap = await self._once(cell, repeat, phase, ask, due_ns)
            if tap.status != REFUSED or due_ns is not None:
                return
            if attempt == _TRIES - 1:
                break
            wait_s = min(tap.retry_after_s or 2.0**attempt, _LONGEST_WAIT_S)
            out.watcher.note(f"{cell.backend}: the rate limit refused a request; waiting {wait_s:.1f} s")
            await asyncio.sleep(wait_s)
        self.lost(cell)

    async def _once(self, cell: Cell, repeat: int, phase: Phase, ask: Ask, due_ns: int | None) -> Tap:
        out = self.instruments
        reserved = out.purse.reserve(out.price, _worst_prompt_tokens(ask), ask.output_tokens)
        begun_ns, begun_cpu_s = out.clock(), out.cpu_s()
        delivered: list[int] = []
        claimed: Usage | None = None
        failure: RequestFailed | None = None
        said = Told()
        with tapped() as tap:
            try:
                async with aclosing(self.engine.backend.generate(ask)) as events:
                    async for event in events:
                        if event is None:
                            delivered.append(out.clock())
                            _require_end(len(delivered), ask)
                        else:
                            claimed = event
            except RequestFailed as refusal:
                failure = refusal
            except asyncio.CancelledError:
                if not self.giving_up:
                    out.purse.settle(reserved, None, None, None)
                    raise
                failure = EndedByUs(f"{GIVEN_UP}: the server is saturated")
        ended_ns, cpu_s = out.clock(), out.cpu_s()
        if self.engine.backend.stream is not None:
            said = told(tap, self.engine.backend.stream)
        elif claimed is not None:
            said.usage = claimed
        error = self._error(ask, phase, said, failure, tap)
        usage = said.usage
        if tap.status >= 400 or (failure and self.engine.backend.stream is not None and not tap.sent_ns):
            # Refused, or never sent: nothing was generated. One that got no answer may have been.
            out.purse.settle(reserved, 0, 0, 0)
        else:
            out.purse.settle(reserved, usage.prompt_tokens, usage.output_tokens, usage.cached_tokens)
        self.engine.backend.learn(ask, usage)
        finished = Request(
            self.subject_id, cell, repeat, phase,
            scheduled_ns=due_ns if due_ns is not None else begun_ns,
            sent_ns=tap.sent_ns or begun_ns,
            ended_ns=ended_ns,
            chunks=_chunks(said.arrivals, delivered, wire_seen=self.engine.backend.stream is not None),
            usage=usage,
            timings=said.timings,
            error=error,
            status=tap.status or None,
            limits=tap.limits,
            claimed=claimed,
            cpu_s=(begun_cpu_s, cpu_s),
            cost_usd=_cost_usd(out.price, usage),
        )  # fmt: skip
        if not cached_as_meant(finished):
            self.held.pop(ask.slot, None)
        out.journal.append(finished)
        self.took(finished)
        return tap

    def _error(self, ask: Ask, phase: Phase, said: Told, failure: RequestFailed | None, tap: Tap) -> str | None:
        ours = isinstance(failure, EndedByUs) or tap.status == 0 or said.error is None
        error = str(failure) if failure is not None and ours else said.error
        if error is None:
            return _wrong_count(said, ask, self.facts.exact, phase)
        return scrubbed(error, self.instruments.secrets, ask.prompt)


def _require_end(pieces: int, ask: Ask) -> None:
    """Raises EndedByUs where a server goes on and on: each piece is at least a token."""
    if pieces > ask.output_tokens + _OVERRUN:
        raise EndedByUs(f"the server did not stop after the {ask.output_tokens} tokens that were asked")


def _worst_prompt_tokens(ask: Ask) -> int:
    if isinstance(ask.prompt[0], int):
        return len(ask.prompt)
    return prompt_tokens_bound(" ".join(map(str, ask.prompt))) + _FRAME_BYTES


def _cost_usd(price: Price | None, usage: Usage) -> float | None:
    if price is None or usage.prompt_tokens is None or usage.output_tokens is None:
        return None
    return price.cost_usd(usage.prompt_tokens, usage.output_tokens, usage.cached_tokens or 0)


def _chunks(arrivals: Sequence[Arrival], delivered: Sequence[int], wire_seen: bool) -> tuple[Chunk, ...]:
    """Each arrival with the instant of its delivery.

    Where the library passed on as many events as arrived they belong together one by one; where it
    merged or swallowed some, an arrival belongs to the first delivery that is not before it.
    """
    if not wire_seen:
        return tuple(Chunk(at_ns, at_ns, None) for at_ns in delivered)
    if len(arrivals) == len(delivered):
        pairs = zip(arrivals, delivered, strict=True)
        return tuple(Chunk(a.wire_ns, max(d, a.wire_ns), a.tokens, a.characters) for a, d in pairs)
    chunks, at = [], 0
    for arrival in arrivals:
        while at < len(delivered) and delivered[at] < arrival.wire_ns:
            at += 1
        late = delivered[at] if at < len(delivered) else None
        chunks.append(Chunk(arrival.wire_ns, late, arrival.tokens, arrival.characters))
    return tuple(chunks)


def _wrong_count(said: Told, ask: Ask, exact: bool, phase: Phase) -> str | None:
    """A request that did not do the work it was sent for does not count.

    Answers of a real model may end early, and its prompt has about the length that was meant.
    """
    usage, asked = said.usage, ask.output_tokens
    got = usage.output_tokens
    if got is not None and (got > asked or (exact and got != asked)):
        return f"the server generated {got} tokens where {asked} were asked"
    if got is not None and got < len(said.arrivals):
        return f"the server counts {got} tokens and sent {len(said.arrivals)} pieces of text"
    told_prompt = usage.prompt_tokens
    if exact and phase not in ("load", "warmup") and told_prompt is not None and told_prompt != len(ask.prompt):
        return f"the server counts {told_prompt} prompt tokens where {len(ask.prompt)} were sent"
    if not said.arrivals:
        return "the answer holds no text"
    return None
