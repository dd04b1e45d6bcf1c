"""What OpenAI's and Ollama's protocols look like on the wire, and each fault in each of them."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import httpx
import pytest

from harness.simulated.law import NO_FAULTS, Faults, Law
from tests.harness.simulated.client import InstantClock, client, instant, post, raw, run

MESSAGES = [{"role": "user", "content": "one two three"}]
OPENAI = ("/v1/chat/completions", {"model": "mistral", "messages": MESSAGES, "max_tokens": 4})
LEGACY = ("/v1/completions", {"model": "mistral", "prompt": "one two three", "max_tokens": 4})
CHAT = ("/api/chat", {"model": "mistral", "messages": MESSAGES, "options": {"num_predict": 4}})
GENERATE = ("/api/generate", {"model": "mistral", "prompt": "one two", "options": {"num_predict": 4}})
LLAMACPP = ("/completion", {"prompt": "one two three", "n_predict": 4})
ALL = [OPENAI, LEGACY, CHAT, GENERATE, LLAMACPP]
Spoken = tuple[str, dict[str, Any]]


async def text(spoken: Spoken, faults: Faults = NO_FAULTS, law: Law | None = None, **ask: object) -> str:
    path, body = spoken
    async with instant(law, faults) as url, client(url) as connection:
        return (await connection.post(path, json=body | {"stream": True} | ask)).text


def lines(stream: str) -> list[Any]:
    """The JSON of each event; None where it is none."""
    parsed: list[Any] = []
    for line in stream.splitlines():
        if line.startswith(("data: {", "{")):
            try:
                parsed.append(json.loads(line.removeprefix("data: ")))
            except ValueError:
                parsed.append(None)
    return parsed


def words(event: Any) -> str:
    """What an event brings, whatever the protocol calls it."""
    if event.get("choices"):
        choice = event["choices"][0]
        delta = choice.get("delta", choice)
        return str(delta.get("content") or delta.get("reasoning_content") or delta.get("text") or "")
    message = event.get("message", event)
    return "".join(str(message.get(name) or "") for name in ("response", "thinking", "content"))


def test_openais_stream_is_events_in_chunks_and_keeps_the_connection() -> None:
    async def story() -> bytes:
        ask = OPENAI[1] | {"stream": True, "max_tokens": 1}
        async with instant() as url:
            return await raw(url, post(OPENAI[0], ask), post(OPENAI[0], ask, "Connection: close"))

    received = run(story())
    head, _, _ = received.partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream; charset=utf-8" in head.lower()
    assert b"\r\nx-request-id: req_" in head
    assert b"\r\nx-ratelimit-remaining-requests: " in head
    assert received.count(b"data: [DONE]\n\n\r\n0\r\n\r\n") == 2
    assert received.count(b'"delta":{"role":"assistant","content":"","refusal":null}') == 2
    assert received.endswith(b"0\r\n\r\n")


def test_ollamas_stream_is_lines_in_chunks_and_keeps_the_connection() -> None:
    async def story() -> bytes:
        async with instant() as url:
            return await raw(url, post(*CHAT), post(*CHAT, "Connection: close"))

    received = run(story())
    assert received.count(b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked") == 2
    assert received.count(b'"done":true') == 2
    assert received.endswith(b"}\n\r\n0\r\n\r\n")


def test_without_being_asked_openai_sends_no_usage() -> None:
    assert all("usage" not in event for event in lines(run(text(OPENAI))))
    asked = lines(run(text(OPENAI, stream_options={"include_usage": True})))
    assert [event["usage"] for event in asked[:-1]] == [None] * (len(asked) - 1)
    assert (asked[-1]["choices"], asked[-1]["usage"]["completion_tokens"]) == ([], 4)


@pytest.mark.parametrize("spoken", ALL)
def test_each_event_is_due_at_the_instant_of_the_law_in_every_protocol(spoken: Spoken) -> None:
    async def story() -> list[float]:
        clock = InstantClock()
        law = Law(prefill_fixed_s=1, decode_s_per_token=0.1, chunk_tokens=2)
        async with instant(law, clock=clock) as url, client(url) as connection:
            await connection.post(spoken[0], json=spoken[1] | {"stream": True})
        return clock.waited_s[1:]

    assert run(story()) == pytest.approx([1.1, 1.3])


@pytest.mark.parametrize("spoken", ALL)
def test_a_dying_engine_cuts_the_stream_in_every_protocol(spoken: Spoken) -> None:
    async def story() -> None:
        async with instant(faults=Faults(die_after_tokens=2)) as url:
            received = await raw(url, post(spoken[0], spoken[1] | {"stream": True}))
            with pytest.raises(httpx.RemoteProtocolError):
                await text(spoken, Faults(die_after_tokens=2))
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert not received.endswith(b"\r\n0\r\n\r\n")
        assert b"[DONE]" not in received
        assert b'"done":true' not in received

    run(story())


@pytest.mark.parametrize("spoken", ALL)
@pytest.mark.parametrize("status", [429, 500])
def test_a_planted_status_has_the_shape_of_its_protocol(spoken: Spoken, status: int) -> None:
    async def story() -> httpx.Response:
        faults = Faults(http_status=status, retry_after_s=1.5)
        async with instant(faults=faults) as url, client(url) as connection:
            return await connection.post(spoken[0], json=spoken[1])

    refused = run(story())
    error = refused.json()["error"]
    assert (refused.status_code, refused.headers["retry-after"]) == (status, "1.5")
    if spoken in (CHAT, GENERATE):
        assert error == "simulated fault"
    elif spoken == LLAMACPP:
        assert error["code"] == status
    else:
        assert error.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("spoken", ALL)
def test_broken_json_is_one_event_cut_short_in_every_protocol(spoken: Spoken) -> None:
    assert lines(run(text(spoken, Faults(broken_json=True)))).count(None) == 1


@pytest.mark.parametrize("spoken", ALL)
def test_empty_deltas_bring_nothing_and_stand_halfway(spoken: Spoken) -> None:
    sound, faulty = (lines(run(text(spoken, faults))) for faults in (NO_FAULTS, Faults(empty_deltas=True)))
    assert len(faulty) == len(sound) + 4
    assert [words(event) for event in faulty if words(event)] == [words(event) for event in sound if words(event)]

    async def story() -> list[float]:
        clock = InstantClock()
        law = Law(prefill_fixed_s=1, decode_s_per_token=0.1)
        async with instant(law, Faults(empty_deltas=True), clock=clock) as url, client(url) as connection:
            await connection.post(spoken[0], json=spoken[1] | {"stream": True})
        return clock.waited_s[1:]

    assert run(story()) == pytest.approx([0.5, 1, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3])


@pytest.mark.parametrize("spoken", ALL)
def test_comments_stand_between_events_but_not_between_lines_of_json(spoken: Spoken) -> None:
    comments = run(text(spoken, Faults(keep_alive_comments=True))).count(": keep-alive\n\n")
    assert comments == (0 if spoken in (CHAT, GENERATE) else 4)


def test_a_missing_usage_is_missing_though_asked_for() -> None:
    faults = Faults(missing_usage=True)
    asked = lines(run(text(OPENAI, faults, stream_options={"include_usage": True})))
    assert all(not event.get("usage") for event in asked)
    assert lines(run(text(CHAT, faults)))[-1].keys() & {"eval_count", "prompt_eval_count", "eval_duration"} == {
        "eval_duration"
    }
    assert lines(run(text(LLAMACPP, faults)))[-1].keys() & {"tokens_predicted", "tokens_evaluated", "timings"} == set()


def test_missing_timings_leave_ollamas_counts() -> None:
    last = lines(run(text(CHAT, Faults(missing_timings=True))))[-1]
    assert last["eval_count"] == 4
    assert not [name for name in last if name.endswith("_duration")]


def test_a_wrong_usage_claims_more_than_came() -> None:
    faults = Faults(wrong_usage=True)
    asked = lines(run(text(OPENAI, faults, stream_options={"include_usage": True})))
    assert asked[-1]["usage"]["completion_tokens"] == 7
    assert lines(run(text(CHAT, faults)))[-1]["eval_count"] == 7


@pytest.mark.parametrize("spoken", [OPENAI, CHAT, LLAMACPP])
def test_a_model_that_stops_by_itself_says_so(spoken: Spoken) -> None:
    events = lines(run(text(spoken, Faults(finish_early_tokens=2))))
    assert len([event for event in events if words(event)]) == 2
    last = events[-1]
    choice = last.get("choices", [last])[0]
    reason = choice.get("finish_reason") or choice.get("done_reason") or choice.get("stop_type")
    assert reason == ("eos" if spoken is LLAMACPP else "stop")


def test_a_model_told_to_ignore_its_end_does_not_stop() -> None:
    events = lines(run(text(LLAMACPP, Faults(finish_early_tokens=2), ignore_eos=True)))
    assert (events[-1]["tokens_predicted"], events[-1]["stop_type"]) == (4, "limit")


@pytest.mark.parametrize("spoken", [CHAT, GENERATE])
def test_ollamas_thinking_comes_first_and_counts(spoken: Spoken) -> None:
    *pieces, last = lines(run(text(spoken, Faults(reasoning_tokens=3))))
    thinking = [bool(piece.get("message", piece).get("thinking")) for piece in pieces]
    assert thinking == [True, True, True, False]
    assert last["eval_count"] == 4


def test_a_blob_is_hashed_as_it_comes_in_chunks_or_not() -> None:
    content = b"GGUF" * 100_000
    digest = f"sha256:{sha256(content).hexdigest()}"

    async def pieces() -> Any:
        for begin in range(0, len(content), 65_000):
            yield content[begin : begin + 65_000]

    async def story() -> list[int]:
        async with instant() as url, client(url) as connection:
            path = f"/api/blobs/{digest}"
            return [
                (await connection.head(path)).status_code,
                (await connection.post(path, content=pieces())).status_code,
                (await connection.head(path)).status_code,
                (await connection.post(path, content=content)).status_code,
                (await connection.post(f"/api/blobs/sha256:{'0' * 64}", content=content)).status_code,
            ]

    assert run(story()) == [404, 201, 200, 200, 400]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": MESSAGES}),
        ("/v1/chat/completions", {"model": "mistral", "messages": "hello"}),
        ("/v1/chat/completions", {"model": "mistral", "messages": MESSAGES, "max_tokens": 0}),
        ("/v1/chat/completions", {"model": "mistral", "messages": MESSAGES, "n": 2}),
        ("/v1/completions", {"model": "mistral", "prompt": ["a", "b"]}),
        ("/api/generate", {"model": "mistral", "prompt": "a", "options": 3}),
        ("/api/generate", {"model": "mistral", "prompt": "a", "keep_alive": "soon"}),
        ("/api/create", {"model": "mine"}),
        ("/api/create", {"model": "mine", "files": {"a.gguf": "sha256:0"}}),
    ],
)
def test_what_makes_no_sense_is_a_bad_request(path: str, body: dict[str, Any]) -> None:
    async def story() -> int:
        async with instant() as url, client(url) as connection:
            return (await connection.post(path, json=body)).status_code

    assert run(story()) == 400
