"""The engine between the wire and the law: what it has, what each request will cost."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from harness.simulated.ask import Ask
from harness.simulated.clock import Clock
from harness.simulated.completion import Arrival, Completion
from harness.simulated.law import Faults, Law
from harness.simulated.library import Library
from harness.simulated.limits import RequestLimit
from harness.simulated.queue_log import QueueLog
from harness.simulated.slots import Slot, Slots, common_prefix_tokens
from harness.simulated.timeline import Work, timeline
from harness.simulated.tokens import generated_token


@dataclass(slots=True, eq=False)
class Engine:
    """A simulated engine: its truth, what it has, and how many requests and gaps it has planned."""

    law: Law
    faults: Faults
    slots: Slots
    clock: Clock
    library: Library
    limit: RequestLimit = field(default_factory=RequestLimit)
    log: QueueLog = field(default_factory=QueueLog)
    requests: int = 0
    gaps: int = 0

    def next_faults(self) -> Faults:
        """Count one more request for a completion: what goes wrong with it."""
        self.requests += 1
        return self.faults.of_request(self.requests)

    async def arrival(self, model: str, context_tokens: int, received_s: float) -> Arrival:
        """Return when the model is loaded; nothing stands in the caches of one that was not."""
        loaded_s = await self.library.ready_s(model, context_tokens, received_s)
        if loaded_s > received_s:
            self.slots.forget()
        return Arrival(received_s, loaded_s)

    def completion(self, ask: Ask, slot: Slot, faults: Faults, arrival: Arrival) -> Completion:
        """What the request will cost in that slot, given what the slot still holds."""
        prompt_tokens = len(ask.prompt)
        past_tokens = common_prefix_tokens(slot.tokens, ask.prompt) if ask.cache_prompt else 0
        # The last token of a prompt is always evaluated: its result is the first token of the answer.
        past_tokens = min(past_tokens, prompt_tokens - 1)
        output_tokens = ask.most_tokens
        if faults.finish_early_tokens is not None and not ask.ignore_eos:
            output_tokens = min(output_tokens, faults.finish_early_tokens)
        work = Work(past_tokens, prompt_tokens - past_tokens, output_tokens)
        first_gap = self.gaps
        self.gaps += output_tokens - 1
        return Completion(
            number=self.requests,
            ask=ask,
            slot=slot.number,
            work=work,
            timeline=timeline(self.law, work, first_gap),
            generated=[generated_token(place) for place in range(prompt_tokens, prompt_tokens + output_tokens)],
            faults=faults,
            arrival=arrival,
            start_s=max(arrival.loaded_s, slot.free_since_s),
            wall_offset_s=time.time() - self.clock.now_s(),
        )
