"""The engine between the wire and the law: what it knows of itself, what each request will cost."""

from __future__ import annotations

from dataclasses import dataclass

from harness.simulated import answers
from harness.simulated.answers import Answer, Completion
from harness.simulated.ask import Ask, Refused, json_object
from harness.simulated.law import Faults, Law
from harness.simulated.slots import Slot, Slots, common_prefix_tokens
from harness.simulated.timeline import Work, timeline
from harness.simulated.tokens import token_ids


@dataclass(slots=True, eq=False)
class Engine:
    """A simulated engine: its truth, its slots, and how many requests and gaps it has planned."""

    law: Law
    faults: Faults
    slots: Slots
    requests: int = 0
    gaps: int = 0

    def plain(self, method: str, path: str, body: bytes) -> Answer:
        """The answer to anything that costs no time, or Refused."""
        match method, path:
            case "GET", "/health":
                return answers.health()
            case "GET", "/props":
                return answers.props(len(self.slots.slots), self.slots.context_tokens)
            case "GET", "/v1/models":
                return answers.models(self.slots.context_tokens)
            case "POST", "/tokenize":
                return {"tokens": token_ids(str(json_object(body).get("content", "")))}
        raise Refused(404, "not_found_error", "File Not Found")

    def next_faults(self) -> Faults:
        """Count one more request for a completion: what goes wrong with it."""
        self.requests += 1
        return self.faults.of_request(self.requests)

    def completion(self, ask: Ask, slot: Slot, faults: Faults) -> Completion:
        """What the request will cost in that slot, given what the slot still holds."""
        prompt_tokens = len(ask.prompt)
        past_tokens = common_prefix_tokens(slot.tokens, ask.prompt) if ask.cache_prompt else 0
        # The last token of a prompt is always evaluated: its result is the first token of the answer.
        past_tokens = min(past_tokens, prompt_tokens - 1)
        output_tokens = ask.output_tokens(self.slots.context_tokens)
        work = Work(past_tokens, prompt_tokens - past_tokens, output_tokens)
        first_gap = self.gaps
        self.gaps += output_tokens - 1
        return Completion(
            ask=ask,
            slot=slot.number,
            work=work,
            timeline=timeline(self.law, work, first_gap),
            truncated=ask.is_truncated(self.slots.context_tokens),
            faults=faults,
        )
