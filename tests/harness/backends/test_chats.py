"""Back ends for chat completions, alone and together: what they say of themselves, and what they lack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from harness.backends import Ask, Call, NotThere
from harness.backends.chat import Chat, Endpoint
from harness.backends.langchain import LangChainChat, _require_built
from harness.backends.local import is_local
from harness.backends.text import WordCount
from harness.errors import HarnessError
from harness.journal import read_record
from harness.plan import Shape
from harness.record import Record, Usage
from harness.simulated.serving import serving
from harness.summary import rows
from harness.target import Door, served_target
from harness.watch import Watcher
from tests.harness.backends.scripted import STREAM, Got, delta, ending, plain, scripted
from tests.harness.backends.serving import OPENAI_LIKE, QUICK, WAYS, Listener, counted_all, door_to, measured, plan_of
from tests.harness.making import run_plan

pytestmark = pytest.mark.slow

every_chat = pytest.mark.parametrize("way", OPENAI_LIKE)
CLIENTS = {"openai": "openai ", "http": "httpx ", "langchain": "langchain-openai "}


@every_chat
def test_a_run_records_the_client_the_counts_and_what_the_library_claims(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, plan=plan_of([way], (Shape(24, 6),)))
    (subject,) = record.subjects
    assert subject.client.startswith(CLIENTS[way])
    assert subject.engine.startswith("127.0.0.1:")
    assert (subject.remote, subject.quant) == (False, "")
    for request in counted_all(record):
        assert (request.usage.prompt_tokens, request.usage.output_tokens) == (24, 6), "the template was learned"
        if way == "http":
            assert request.claimed is None
        else:
            assert request.claimed is not None
            assert (request.claimed.prompt_tokens, request.claimed.output_tokens) == (24, 6)
        assert len(request.chunks) == 6
        assert all(chunk.delivered_ns is not None and chunk.delivered_ns >= chunk.wire_ns for chunk in request.chunks)
        assert request.sent_ns < request.chunks[0].wire_ns <= request.ended_ns


def test_langchain_with_ollama_says_so_and_leaves_no_connection_open(tmp_path: Path) -> None:
    (subject,) = measured(tmp_path, "langchain-ollama").subjects
    assert subject.client.startswith("langchain-ollama ")
    assert (subject.options["provider"], subject.options["wire_seen"]) == ("ollama", True)


def test_several_back_ends_take_turns_in_one_run(tmp_path: Path) -> None:
    ways = ["ollama", "openai", "http", "langchain"]

    async def run() -> Record:
        async with serving(QUICK, slots=2) as url:
            return await run_plan(tmp_path, plan_of(ways, repeats=3), door_to(url, ways))

    record = asyncio.run(run())
    assert {row.cell.backend: row.requests for row in rows(record)} == dict.fromkeys(ways, 3)
    order = [request.cell.backend for request in counted_all(record)]
    assert all(set(order[at : at + 4]) == set(ways) for at in (0, 4, 8)), "a round has each of them"
    assert len({tuple(order[at : at + 4]) for at in (0, 4, 8)}) > 1, "in an order that changes"


def test_a_back_end_that_is_not_there_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    listener = Listener()

    async def run() -> Record:
        async with serving(QUICK, slots=2) as url:
            door = replace(door_to(url), base_urls=door_to(url).base_urls | {"ollama": "http://127.0.0.1:9"})
            return await run_plan(tmp_path, plan_of(["ollama", "http"]), door, listener)

    record = asyncio.run(run())
    assert {row.cell.backend: row.requests for row in rows(record)} == {"http": 2}
    assert record.ends[-1].reason == "done"
    assert "no Ollama server answers" in record.ends[-1].detail
    assert any(note.startswith("not measured: no Ollama server") for note in listener.notes)


def test_a_back_end_that_answers_nonsense_when_it_is_opened_does_not_stop_the_others(tmp_path: Path) -> None:
    async def nonsense(_: Got) -> AsyncIterator[bytes]:
        yield plain(500, {"error": "out of order"})

    async def run() -> Record:
        async with serving(QUICK, slots=2) as url, scripted(nonsense, models=()) as broken:
            door = replace(door_to(url), base_urls=door_to(url).base_urls | {"simulated": broken})
            return await run_plan(tmp_path, plan_of(["simulated", "http"]), door)

    record = asyncio.run(run())
    assert {row.cell.backend: row.requests for row in rows(record)} == {"http": 2}
    assert "out of order" in record.ends[-1].detail


def test_where_none_is_there_the_run_fails_with_the_status_of_an_engine(tmp_path: Path) -> None:
    nowhere = Door(base_urls={"ollama": "http://127.0.0.1:9", "openai": "http://127.0.0.1:9/v1"})
    with pytest.raises(HarnessError) as raised:
        asyncio.run(run_plan(tmp_path, plan_of(["ollama", "openai"]), nowhere))
    assert raised.value.exit_status == 6
    assert read_record(tmp_path).ends[-1].reason == "failed"


@every_chat
def test_a_server_elsewhere_needs_a_key(tmp_path: Path, way: str) -> None:
    backend, _ = WAYS[way]
    elsewhere = Door(base_urls={backend: "http://192.0.2.1/v1"})
    with pytest.raises(NotThere, match=r"no API key for 192\.0\.2\.1: set OPENAI_API_KEY in the environment"):
        asyncio.run(run_plan(tmp_path, plan_of([way]), elsewhere))


@every_chat
def test_a_key_that_is_refused_is_named_with_the_servers_words(tmp_path: Path, way: str) -> None:
    async def refuse(_: Got) -> AsyncIterator[bytes]:
        yield plain(401, {"error": {"message": "Incorrect API key provided"}})

    async def run() -> None:
        async with scripted(refuse, models=()) as url:
            await run_plan(tmp_path, plan_of([way]), door_to(url, [way]))

    with pytest.raises(NotThere, match="401.*Incorrect API key provided"):
        asyncio.run(run())


@every_chat
def test_a_model_that_the_server_does_not_list_is_named_with_those_it_does(tmp_path: Path, way: str) -> None:
    async def never(_: Got) -> AsyncIterator[bytes]:
        yield b""

    async def run() -> None:
        async with scripted(never, models=("qwen", "gemma")) as url:
            await run_plan(tmp_path, plan_of([way]), door_to(url, [way]))

    with pytest.raises(NotThere, match="has no model mistral; it has qwen, gemma: name one with --model"):
        asyncio.run(run())


@every_chat
def test_a_server_need_not_list_its_models_nor_write_a_blank_after_data(tmp_path: Path, way: str) -> None:
    async def answer(got: Got) -> AsyncIterator[bytes]:
        if got.method == "GET":
            yield plain(404, {"error": {"message": "no such path"}})
            return
        yield STREAM
        for _ in range(6):
            yield delta(" word").replace(b"data: ", b"data:")
        yield ending(12, 6)

    async def run() -> Record:
        async with scripted(answer, models=()) as url:
            return await run_plan(tmp_path, plan_of([way]), door_to(url, [way]))

    requests = counted_all(asyncio.run(run()))
    assert [request.error for request in requests] == [None, None]
    assert all(chunk.delivered_ns is not None for request in requests for chunk in request.chunks)


def test_a_list_of_models_that_is_none_is_named(tmp_path: Path) -> None:
    async def answer(_: Got) -> AsyncIterator[bytes]:
        yield plain(200, ["mistral"])

    async def run() -> None:
        async with scripted(answer, models=()) as url:
            await run_plan(tmp_path, plan_of(["http"]), door_to(url, ["http"]))

    with pytest.raises(NotThere, match="/models is no list of models"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:1", True), ("http://localhost/v1", True), ("http://[::1]:80", True),
        ("http://0.0.0.0:11434", True), ("http://192.0.2.1/v1", False),
    ],
)  # fmt: skip
def test_a_server_is_local_where_its_address_is_this_machines(url: str, local: bool) -> None:
    assert is_local(url) is local


def test_what_a_template_adds_and_a_word_costs_is_learned_from_the_servers_counts() -> None:
    count = WordCount()
    assert count.words(100) == 100
    first = Ask(("w",) * 100, 1)
    assert len(count.cut(first).split()) == 100
    count.learn(first, 109)
    assert count.words(100) == 91, "nine tokens are the template's"
    second = Ask(("w",) * 209, 1)
    assert len(count.cut(second).split()) == 200
    count.learn(second, 259)
    assert count.words(109) == 100, "1.5 tokens a word, 109 for a hundred of them"


def test_a_request_is_learned_from_by_the_words_it_was_sent_with_whatever_others_taught_meanwhile() -> None:
    count = WordCount()
    slow, quick = Ask(("a",) * 100, 1), Ask(("b",) * 100, 1)
    count.cut(slow)
    count.cut(quick)
    count.learn(quick, 240)
    count.learn(slow, 240)
    again = Ask(("c",) * 480, 1)
    assert len(count.cut(again).split()) == 200, "2.4 tokens a word"
    count.learn(again, Usage(480).prompt_tokens)
    assert count.words(240) == 100


class Wordless(LangChainChat):
    """A model whose provider's package raises an error without a text."""

    def _model(self, output_tokens: int) -> NoReturn:
        raise ValueError


def test_a_provider_that_does_not_say_what_is_wrong_is_said_so() -> None:
    call = Call(served_target("m"), plan_of(["langchain"]), Door(), Path("log"), lambda: 0, Watcher())
    with pytest.raises(NotThere, match="cannot build a chat model of x: ValueError"):
        _require_built(Wordless("x", Chat(call, Endpoint("http://127.0.0.1:9", "")), {}, None), "x")
