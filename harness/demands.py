"""What a run asks of an engine: its line in the record, room for the plan, signs of life."""

from __future__ import annotations

import psutil

from harness.backends import Facts, Opened
from harness.backends.launch import last_words
from harness.errors import EngineFailure, HarnessError
from harness.opening import Lane
from harness.plan import Plan
from harness.record import Subject


def subject_of(subject_id: str, lane: Lane, facts: Facts, instants_ns: tuple[int, int]) -> Subject:
    return Subject(
        subject_id=subject_id,
        backend=lane.backend,
        model_name=lane.target.name,
        quant=lane.target.quant,
        engine=facts.engine,
        engine_version=facts.engine_version,
        system_info=facts.system_info,
        options=facts.options,
        model=facts.model,
        memory=facts.memory,
        started_ns=instants_ns[0],
        ready_ns=instants_ns[1],
        client=facts.client,
        remote=facts.remote,
    )


def require_context(facts: Facts, plan: Plan) -> None:
    longest = max(shape.longest_tokens for shape in plan.shapes)
    if 0 < facts.context_tokens < longest:
        raise HarnessError(
            f"the engine holds {facts.context_tokens} tokens a slot, the plan needs {longest}: "
            "shorten --prompt-tokens, --output-tokens or --depth"
        )


def require_alive(engine: Opened) -> None:
    """A dead engine of ours ends the run at once; its own last words say why."""
    if engine.log is None or engine.pid is None:
        return
    if psutil.pid_exists(engine.pid) and psutil.Process(engine.pid).status() != "zombie":
        return
    raise EngineFailure(f"the engine died: {last_words(engine.log)}")
