"""What a stream said does not depend on how the network cut it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.record import Usage
from harness.wire.streams import Reader, Told, llamacpp_stream, ollama_stream, openai_stream, told
from harness.wire.tap import Tap


def lines(*events: object, data: bool = True) -> bytes:
    prefix, end = (b"data: ", b"\n\n") if data else (b"", b"\n")
    return b"".join(prefix + json.dumps(event, ensure_ascii=False).encode() + end for event in events)


def choice(delta: dict[str, str | None], reason: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


OPENAI = (
    lines(choice({"role": "assistant", "content": ""}), choice({"reasoning_content": "hmm"}))
    + b": keep-alive\r\n\r\n"
    + lines(
        choice({"content": " wörld 世"}), choice({"content": None}), choice({"content": " two"}), choice({}, "length")
    )
    + lines({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    + b"data: [DONE]\n\n"
)
OLLAMA = lines(
    {"response": " eins", "done": False}, {"response": "", "done": False}, {"response": " zwö", "done": False},
    {"response": "", "done": True, "prompt_eval_count": 5, "eval_count": 2, "prompt_eval_duration": 2_000_000,
     "eval_duration": 3_000_000, "load_duration": 1_000_000}, data=False,
)  # fmt: skip
LLAMACPP = lines(
    {"content": " a", "tokens": [1, 2], "stop": False}, {"content": "", "tokens": [], "stop": False},
    {"content": " b", "tokens": [3], "stop": False},
    {"content": "", "tokens": [], "stop": True, "tokens_evaluated": 5, "tokens_predicted": 3,
     "timings": {"cache_n": 1, "prompt_ms": 2, "predicted_ms": 3}},
)  # fmt: skip
PROTOCOLS = [(OPENAI, openai_stream), (OLLAMA, ollama_stream), (LLAMACPP, llamacpp_stream)]
every_protocol = pytest.mark.parametrize(("body", "reader"), PROTOCOLS, ids=["openai", "ollama", "llamacpp"])


def read(pieces: list[bytes], reader: Reader, status: int = 200) -> Told:
    return told(Tap(status=status, pieces=list(enumerate(pieces, 1))), reader)


def said(found: Told) -> object:
    """All that a stream said but for when."""
    texts = [(arrival.tokens, arrival.characters) for arrival in found.arrivals]
    return texts, found.usage, found.timings, found.complete, found.error, found.thoughts


def test_each_protocol_is_read_as_it_is_meant() -> None:
    chat, ollama, llamacpp = (read([body], reader) for body, reader in PROTOCOLS)
    assert [a.characters for a in chat.arrivals] == [3, 8, 4]
    assert (chat.usage, chat.thoughts, chat.complete) == (Usage(5, 3), True, True)
    assert [a.characters for a in ollama.arrivals] == [5, 4]
    assert (ollama.usage, ollama.timings.load_s) == (Usage(5, 2), 0.001)
    assert [a.tokens for a in llamacpp.arrivals] == [2, 1]
    assert (llamacpp.usage, llamacpp.timings.prefill_s) == (Usage(5, 3, 1), 0.002)
    assert chat.error is ollama.error is llamacpp.error is None


@every_protocol
def test_a_cut_at_any_byte_changes_nothing_of_what_was_said(body: bytes, reader: Reader) -> None:
    whole = said(read([body], reader))
    for at in range(1, len(body)):
        assert said(read([body[:at], body[at:]], reader)) == whole


@every_protocol
@given(data=st.data())
def test_any_split_says_the_same_and_each_text_came_with_the_piece_that_completed_it(
    body: bytes, reader: Reader, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=30)))
    pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    found, whole = read(pieces, reader), read([body], reader)
    assert said(found) == said(whole)
    instants = [arrival.wire_ns for arrival in found.arrivals]
    assert instants == sorted(instants)
    for arrival in found.arrivals:
        before = read(pieces[: arrival.wire_ns - 1], reader) if arrival.wire_ns > 1 else Told()
        # A last line needs no end, so that one may have been seen a piece earlier in a stream cut there.
        assert len(before.arrivals) <= found.arrivals.index(arrival) + 1


@every_protocol
def test_a_stream_without_its_end_keeps_its_texts_and_says_that_it_was_cut(body: bytes, reader: Reader) -> None:
    found = read([body[: body.index(b"\n") + 1]], reader)
    assert found.error is not None
    assert "ended before its last event" in found.error


def test_no_answer_at_all_is_said() -> None:
    assert told(Tap(), openai_stream).error == "no answer came"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "too\\nlong", "type": "x"}}', "HTTP 400: too"),
        (b'{"error": "plain words"}', "HTTP 400: plain words"),
        (b"<html>\nno JSON</html>", "HTTP 400: <html>"),
        (b"", "HTTP 400: (empty)"),
        (b"[1]", "HTTP 400: [1]"),
        (b'{"error": null}', "HTTP 400: None"),
    ],
)
def test_a_refusal_is_one_line_of_the_servers_words(body: bytes, message: str) -> None:
    assert read([body], openai_stream, status=400).error == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'data: {"error": {"message": "out of memory"}}\n\n', "the server reports: out of memory"),
        (b'error: {"message": "old llama.cpp"}\n\n', "the server reports: "),
        (b'{"error": "runner died"}\n', "the server reports: runner died"),
        (b"data: [1]\n\n", "an event of the stream is no JSON object"),
        (b'data: {"choices": [\n\n', "an event of the stream is not JSON (13 bytes"),
    ],
)
def test_an_error_within_a_stream_is_named(body: bytes, message: str) -> None:
    error = read([body], openai_stream).error
    assert error is not None
    assert error.startswith(message)


def test_an_error_of_null_is_none() -> None:
    event = choice({"content": "a"}, "stop") | {"error": None}
    assert read([lines(event)], openai_stream).error is None


@pytest.mark.parametrize(
    ("limits", "wait_s"),
    [
        ({"retry-after": "2"}, 2.0), ({"retry-after": "9", "retry-after-ms": "250"}, 0.25), ({}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None), ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
    ],
)  # fmt: skip
def test_the_wait_that_a_server_asks_for_is_read_where_it_is_a_number(
    limits: dict[str, str], wait_s: float | None
) -> None:
    assert Tap(limits=limits).retry_after_s == wait_s
