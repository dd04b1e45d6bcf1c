"""Servers that answer JSON of another shape than their protocol's: each is refused in one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.record import Record, Request
from tests.harness.backends.scripted import STREAM, Got, plain, scripted
from tests.harness.backends.serving import WAYS, door_to, plan_of
from tests.harness.making import run_plan

pytestmark = pytest.mark.slow

ODD: tuple[Any, ...] = (
    [1],
    "text",
    None,
    {"data": 1, "models": 1},
    {"data": [1], "models": [1], "default_generation_settings": 3, "total_slots": "x"},
    {"data": [{"id": "mistral", "meta": 1}], "models": [{"model": "mistral"}], "tokens": 3, "modelinfo": 3},
)


def refusal(folder: Path, way: str, content: Any) -> str:
    """What a run says of a server that answers all requests so."""

    async def answer(_: Got) -> AsyncIterator[bytes]:
        yield plain(200, content)

    async def run() -> None:
        async with scripted(answer, models=()) as url:
            await run_plan(folder, plan_of([way]), door_to(url, [way]))

    with pytest.raises(HarnessError) as refused:
        asyncio.run(run())
    return str(refused.value)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("content", ODD[:5], ids=str)
def test_a_server_that_does_not_speak_the_protocol_is_refused_in_words(way: str, content: Any, tmp_path: Path) -> None:
    assert "\n" not in refusal(tmp_path, way, content)


@pytest.mark.parametrize("way", ["simulated", "ollama"])
def test_a_server_that_describes_itself_in_other_words_is_refused_too(way: str, tmp_path: Path) -> None:
    assert "\n" not in refusal(tmp_path, way, ODD[5])


def plainly(got: Got) -> Any:
    """What a server of each protocol answers to all but a request for text."""
    known = {
        "/props": {"total_slots": 2, "default_generation_settings": {"n_ctx": 4096}},
        "/models": {"data": [{"id": "mistral"}]},
        "/tokenize": {"tokens": list(range(200))},
        "/api/ps": {"models": []},
        "/api/tags": {"models": [{"model": "mistral"}]},
        "/api/show": {"model_info": {}},
        "/api/version": {"version": "1"},
    }
    ends = [answer for path, answer in known.items() if got.path.endswith(path)]
    quiet = b'"stream":false' in got.body
    return ends[0] if ends else {"model": "mistral", "response": "", "done": True} if quiet else None


def streamed(folder: Path, way: str, event: str) -> tuple[Request, ...]:
    """The requests of a run against a server whose every stream is this event."""

    async def answer(got: Got) -> AsyncIterator[bytes]:
        found = plainly(got)
        line = f"{event}\n" if "ollama" in way else f"data: {event}\n\n"
        yield STREAM + line.encode() if found is None else plain(200, found)

    async def run() -> Record:
        async with scripted(answer, models=()) as url:
            return await run_plan(folder, plan_of([way], repeats=1), door_to(url, [way]))

    return asyncio.run(run()).requests


CHAT = '{"choices": [{"delta": {"content": "a"}, "finish_reason": "x"}], "usage": '


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(
    "event",
    [
        "[1]",
        "null",
        '{"choices": 3}',
        CHAT + "5}",
        CHAT + '{"prompt_tokens": "x", "completion_tokens": 1}}',
        CHAT + '{"prompt_tokens": 5, "completion_tokens": 1.5}}',
        CHAT + '{"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": "y"}}}',
        '{"content": "a", "tokens": [1], "stop": true, "tokens_evaluated": "y", "tokens_predicted": 1}',
        '{"content": "a", "tokens": [1], "stop": true, "timings": {"prompt_ms": 1, "predicted_ms": 1, "cache_n": "x"}}',
        '{"response": "x", "done": true, "eval_count": 1, "prompt_eval_count": 1.5}',
    ],
)
def test_a_stream_of_another_shape_is_the_error_of_its_requests_and_the_journal_stays_readable(
    way: str, event: str, tmp_path: Path
) -> None:
    requests = streamed(tmp_path, way, event)
    assert requests
    assert all(request.error for request in requests)
