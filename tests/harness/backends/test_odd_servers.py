"""Servers that answer JSON of another shape than their protocol's: each is refused in one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from tests.harness.backends.scripted import Got, plain, scripted
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
