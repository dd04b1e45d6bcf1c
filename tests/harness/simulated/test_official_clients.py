"""The official clients of OpenAI, Ollama and LangChain, as they are: one module, since importing them takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from harness.simulated.law import Faults, Law
from tests.harness.simulated.client import instant, run

LAW = Law(prefill_s_per_token=0.01, decode_s_per_token=0.02, load_s=7)
USER: Any = [{"role": "user", "content": "one two three"}]
# Three words, four tokens around them, three before the answer.
PROMPT_TOKENS = 10


def openai_client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def test_openai_gets_a_chat_in_one_piece() -> None:
    async def story() -> None:
        async with instant() as url, openai_client(url) as client:
            answer = await client.chat.completions.create(model="mistral", messages=USER, max_tokens=4)
        assert len((answer.choices[0].message.content or "").split()) == 4
        assert (answer.choices[0].finish_reason, answer.object) == ("length", "chat.completion")
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT_TOKENS, 4)

    run(story())


def test_openai_gets_a_stream_with_role_deltas_reason_and_usage() -> None:
    async def story() -> None:
        async with instant() as url, openai_client(url) as client:
            stream = await client.chat.completions.create(
                model="mistral",
                messages=[{"role": "user", "content": [{"type": "text", "text": "one two three"}]}],
                max_completion_tokens=3,
                stream=True,
                stream_options={"include_usage": True},
            )
            first, *deltas, last, usage = [event async for event in stream]
        assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
        assert [len((delta.choices[0].delta.content or "").split()) for delta in deltas] == [1, 1, 1]
        assert last.choices[0].finish_reason == "length"
        assert usage.choices == []
        assert usage.usage is not None
        assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (PROMPT_TOKENS, 3)

    run(story())


def test_openai_learns_what_was_cached() -> None:
    async def story() -> list[int | None]:
        async with instant() as url, openai_client(url) as client:
            cached = []
            for _ in range(2):
                answer = await client.chat.completions.create(model="simulated", messages=USER, max_tokens=1)
                assert answer.usage is not None
                assert answer.usage.prompt_tokens_details is not None
                cached.append(answer.usage.prompt_tokens_details.cached_tokens)
            return cached

    assert run(story()) == [0, PROMPT_TOKENS - 1]


def test_openai_gets_the_older_completions_too() -> None:
    async def story() -> None:
        async with instant() as url, openai_client(url) as client:
            stream = await client.completions.create(
                model="mistral", prompt="one two", max_tokens=2, stream=True, stream_options={"include_usage": True}
            )
            *texts, usage = [event async for event in stream]
            whole = await client.completions.create(model="mistral", prompt="one two", max_tokens=2)
        assert "".join(event.choices[0].text for event in texts) == whole.choices[0].text
        assert usage.usage is not None
        assert (usage.usage.prompt_tokens, usage.usage.completion_tokens) == (2, 2)

    run(story())


def test_openai_raises_its_own_errors() -> None:
    async def story() -> None:
        async with instant(context_tokens=64) as url, openai_client(url) as client:
            assert "mistral:latest" in [model.id async for model in client.models.list()]
            with pytest.raises(openai.NotFoundError) as missing:
                await client.chat.completions.create(model="nothing", messages=USER)
            assert (missing.value.code, missing.value.request_id is None) == ("model_not_found", False)
            long: Any = [{"role": "user", "content": "word " * 70}]
            with pytest.raises(openai.BadRequestError) as too_long:
                await client.chat.completions.create(model="mistral", messages=long)
            assert (too_long.value.code, too_long.value.param) == ("context_length_exceeded", "messages")
        faults = Faults(http_status=429, retry_after_s=2)
        async with instant(faults=faults) as url, openai_client(url) as client:
            with pytest.raises(openai.RateLimitError) as limited:
                await client.chat.completions.create(model="mistral", messages=USER)
            assert limited.value.response.headers["retry-after"] == "2"
            assert limited.value.code == "rate_limit_exceeded"

    run(story())


def test_openai_gets_reasoning_apart_from_the_answer() -> None:
    async def story() -> None:
        faults = Faults(reasoning_tokens=3)
        async with instant(Law(chunk_tokens=2), faults) as url, openai_client(url) as client:
            stream = await client.chat.completions.create(model="mistral", messages=USER, max_tokens=6, stream=True)
            deltas = [event.choices[0].delta.model_dump() async for event in stream]
            whole = await client.chat.completions.create(model="mistral", messages=USER, max_tokens=6)
        reasoned = [len(delta["reasoning_content"].split()) for delta in deltas if delta.get("reasoning_content")]
        answered = [len(delta["content"].split()) for delta in deltas if delta.get("content")]
        assert (reasoned, answered) == ([2, 1], [2, 1])
        assert whole.usage is not None
        assert whole.usage.completion_tokens_details is not None
        assert (whole.usage.completion_tokens, whole.usage.completion_tokens_details.reasoning_tokens) == (6, 3)

    run(story())


def test_ollama_generates_and_chats_with_the_durations_of_the_law() -> None:
    async def story() -> None:
        async with instant(LAW) as url:
            client = ollama.AsyncClient(host=url)
            *pieces, last = [
                part
                async for part in await client.generate(
                    "mistral", "one two three", stream=True, raw=True, options={"num_predict": 4}
                )
            ]
            chat = await client.chat("mistral", USER, options={"num_predict": 4})
            await client._client.aclose()
        assert [len((piece.response or "").split()) for piece in pieces] == [1, 1, 1, 1]
        assert (last.done, last.done_reason, last.response) == (True, "length", "")
        assert (last.prompt_eval_count, last.eval_count, last.load_duration) == (3, 4, 0)
        assert (last.prompt_eval_duration, last.eval_duration) == (30_000_000, 60_000_000)
        assert last.total_duration == 90_000_000
        assert (chat.prompt_eval_count, chat.eval_duration) == (PROMPT_TOKENS, 60_000_000)
        assert len((chat.message.content or "").split()) == 4

    run(story())


def test_ollama_loads_a_model_when_it_is_asked_for_and_keeps_it_as_long_as_told() -> None:
    async def story() -> None:
        async with instant(LAW, load_on_request=True) as url:
            client = ollama.AsyncClient(host=url)
            assert (await client.ps()).models == []
            first = await client.chat("mistral", USER, options={"num_predict": 1})
            again = await client.chat("mistral", USER, options={"num_predict": 1})
            assert (first.load_duration, again.load_duration) == (7_000_000_000, 0)
            assert (await client.ps()).models[0].context_length == 256
            other = await client.chat("mistral", USER, options={"num_predict": 1, "num_ctx": 128}, keep_alive=0)
            assert other.load_duration == 7_000_000_000
            assert (await client.ps()).models == []
            assert (await client.generate("mistral", keep_alive="10m")).done_reason == "load"
            assert (await client.ps()).models[0].name == "mistral:latest"
            assert (await client.generate("mistral", keep_alive=0)).done_reason == "unload"
            assert (await client.ps()).models == []
            await client._client.aclose()

    run(story())


def test_ollama_describes_lists_pulls_creates_and_deletes_models(tmp_path: Path) -> None:
    async def story() -> None:
        file = tmp_path / "model.gguf"
        file.write_bytes(b"GGUF" * 300_000)
        async with instant() as url:
            client = ollama.AsyncClient(host=url)
            shown = await client.show("mistral")
            assert shown.modelinfo is not None
            assert shown.modelinfo["general.parameter_count"] == 7_248_023_552
            *_, last = [step.status async for step in await client.pull("tinyllama", stream=True)]
            assert last == "success"
            digest = await client.create_blob(file)
            await client.create("mine", files={"model.gguf": digest})
            sizes = {model.model: model.size for model in (await client.list()).models}
            assert sizes["mine:latest"] == 1_200_000
            assert (await client.delete("mine")).status == "success"
            with pytest.raises(ollama.ResponseError, match="model 'mine' not found") as missing:
                await client.chat("mine", USER)
            assert missing.value.status_code == 404
            with pytest.raises(ollama.ResponseError, match="file does not exist"):
                await client.pull("nothing")
            await client._client.aclose()

    run(story())


def test_langchain_streams_from_both() -> None:
    async def story() -> None:
        async with instant(faults=Faults(reasoning_tokens=1)) as url, httpx.AsyncClient() as connection:
            hosted = ChatOpenAI(
                model="mistral",
                base_url=f"{url}/v1",
                api_key=SecretStr("none"),
                http_async_client=connection,
                max_retries=0,
                max_completion_tokens=4,
                stream_usage=True,
            )
            local = ChatOllama(model="mistral", base_url=url, num_predict=4, reasoning=True)
            for model in (hosted, local):
                chunks = [chunk async for chunk in model.astream("one two three")]
                whole = chunks[0]
                for chunk in chunks[1:]:
                    whole = whole + chunk
                assert len(str(whole.content).split()) == 3
                usage: Any = whole.usage_metadata
                assert (usage["input_tokens"], usage["output_tokens"]) == (PROMPT_TOKENS, 4)
            await local._async_client._client.aclose()

    run(story())
