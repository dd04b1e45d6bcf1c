"""The simulated engine's answers beside those that a real one gave (recorded.json)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.simulated.client import PROMPT, asked, client, instant, post, raw, run, streamed, whole
from tests.harness.simulated.recorded import RECORDED, recorded_events


def shape(value: Any) -> Any:
    """Names and types: numbers are one type, a list is what its items are."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def assert_subset(ours: dict[str, Any], real: dict[str, Any]) -> None:
    """Whatever we say the real engine says too, in the same type."""
    for name, item in ours.items():
        assert name in real
        if isinstance(item, dict):
            assert_subset(item, real[name])
        else:
            assert shape(item) == shape(real[name]), name


async def got(url: str, path: str) -> Any:
    async with client(url) as connection:
        return (await connection.get(path)).raise_for_status().json()


def head_names(head: str) -> list[str]:
    first, *lines = head.partition("\r\n\r\n")[0].split("\r\n")
    return [first, *(line.partition(":")[0] for line in lines)]


def test_health_props_and_models_say_what_the_real_engine_says() -> None:
    async def story() -> None:
        async with instant(slots=2, context_tokens=256) as url:
            assert await got(url, "/health") == RECORDED["health"]["body"]
            props = await got(url, "/props")
            assert_subset(props, RECORDED["props"]["body"])
            for told in (props, RECORDED["props"]["body"]):
                assert told["total_slots"] == 2
                assert told["default_generation_settings"]["n_ctx"] == 256
            assert {"model_path", "build_info"} <= props.keys()
            ours, real = (await got(url, "/v1/models"))["data"][0], RECORDED["models"]["body"]["data"][0]
            assert shape(ours) == shape(real) | {"tags": []}

    run(story())


def test_a_stream_has_the_events_of_the_real_one() -> None:
    async def story() -> None:
        async with instant() as url:
            ours = await streamed(url, n_predict=3, temperature=0, ignore_eos=True, return_tokens=True)
        *real, real_last = recorded_events()
        assert [shape(event) for event in ours[:-1]] == [shape(event) for event in real]
        assert [event["tokens_predicted"] for event in ours[:-1]] == [event["tokens_predicted"] for event in real]
        assert ours[-1].keys() == real_last.keys()
        assert ours[-1]["timings"].keys() == real_last["timings"].keys()
        assert_subset(ours[-1], real_last)
        for name in ("stop", "tokens", "content", "tokens_predicted", "tokens_evaluated", "tokens_cached", "stop_type"):
            assert ours[-1][name] == real_last[name]
        for name in ("cache_n", "prompt_n", "predicted_n"):
            assert ours[-1]["timings"][name] == real_last["timings"][name]

    run(story())


def test_an_answer_in_one_piece_has_all_tokens_and_the_fields_of_the_real_one() -> None:
    async def story() -> None:
        async with instant() as url:
            ours = await whole(url, n_predict=4)
        real = RECORDED["whole"]["body"]
        assert ours.keys() == real.keys()
        assert len(ours["tokens"]) == len(real["tokens"]) == 4
        assert len(ours["content"].split()) == 4
        assert ours["tokens_cached"] == real["tokens_cached"]

    run(story())


@pytest.mark.parametrize("name", ["stream", "whole", "too_long", "not_found"])
def test_headers_are_those_of_the_real_engine(name: str) -> None:
    requests = {
        "stream": post("/completion", {"prompt": PROMPT, "n_predict": 1, "stream": True}),
        "whole": post("/completion", {"prompt": PROMPT, "n_predict": 1}) + post("/nothing", {}),
        "too_long": post("/completion", {"prompt": list(range(300))}),
        "not_found": post("/nothing", {}),
    }

    async def story() -> None:
        async with instant() as url:
            ours = (await raw(url, requests[name])).decode()
        real = RECORDED[name].get("header") or RECORDED[name]["bytes"]
        assert head_names(ours) == head_names(real)

    run(story())


@pytest.mark.parametrize("name", ["too_long", "no_prompt", "empty_prompt", "not_found"])
def test_refusals_have_the_shape_of_the_real_ones(name: str) -> None:
    bodies = {"too_long": {"prompt": list(range(300))}, "no_prompt": {"n_predict": 2}, "empty_prompt": {"prompt": []}}

    async def story() -> None:
        async with instant() as url, client(url) as connection:
            path = "/nothing" if name == "not_found" else "/completion"
            response = await connection.post(path, json=bodies.get(name, {}))
        ours, real = response.json()["error"], RECORDED[name]["body"]["error"]
        assert response.status_code == real["code"]
        assert shape(ours) == shape(real)
        assert ours["type"] == real["type"]
        assert {ours[key] for key in ours.keys() - {"message"}} == {real[key] for key in real.keys() - {"message"}}

    run(story())


@pytest.mark.parametrize(
    "body", [b"{not json", b"", b"[]", b'{"prompt": [1, null]}', b'{"prompt": "a", "n_predict": "x"}']
)
def test_a_body_that_makes_no_sense_is_a_bad_request(body: bytes) -> None:
    async def story() -> None:
        async with instant() as url:
            assert (await raw(url, post("/completion", body))).startswith(b"HTTP/1.1 400 Bad Request")

    run(story())


def test_bytes_that_are_no_http_end_the_connection() -> None:
    async def story() -> None:
        async with instant() as url:
            assert await raw(url, b"hello\r\n\r\n") == b""

    run(story())


def test_plain_answers_keep_the_connection_and_the_end_of_a_stream_closes_it() -> None:
    async def story() -> None:
        plain = post("/tokenize", {"content": "a"})
        stream = post("/completion", {"prompt": PROMPT, "n_predict": 1, "stream": True})
        async with instant() as url:
            received = await raw(url, plain, plain, stream, plain)
        assert received.count(b"HTTP/1.1 200 OK") == 3
        assert received.endswith(b"\r\n0\r\n\r\n")

    run(story())


def test_a_client_that_wants_the_connection_closed_gets_it_closed() -> None:
    async def story() -> None:
        async with instant() as url:
            received = await raw(url, post("/tokenize", {"content": "a"}, "Connection: close"))
        assert b"\r\nConnection: close\r\n" in received

    run(story())


def test_each_word_is_one_token_with_the_same_id_everywhere() -> None:
    async def story() -> None:
        async with instant() as url, client(url) as connection:
            one = (await connection.post("/tokenize", json={"content": "ab cd  ab"})).json()["tokens"]
            assert len(one) == 3
            assert one[0] == one[2] != one[1]
            answer = (await connection.post("/completion", json={"prompt": "ab cd  ab", "n_predict": 1})).json()
            assert answer["tokens_evaluated"] == 3
            assert (await connection.post("/tokenize", json={})).json() == {"tokens": []}

    run(story())


@pytest.mark.parametrize(
    ("n_predict", "tokens", "truncated"),
    [(0, 1, False), (1, 1, False), (250, 250, False), (251, 251, True), (-1, 251, True)],
)
def test_an_answer_ends_at_n_predict_or_with_the_context(n_predict: int, tokens: int, truncated: bool) -> None:
    async def story() -> None:
        async with instant(context_tokens=256) as url:
            answer = await whole(url, n_predict=n_predict)
        assert (answer["tokens_predicted"], answer["truncated"], answer["stop_type"]) == (tokens, truncated, "limit")
        assert len(answer["tokens"]) == tokens

    run(story())


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    async def story() -> None:
        async with instant(context_tokens=256) as url:
            assert (await asked(url, prompt=list(range(256)))).status_code == 400
            assert (await asked(url, prompt=list(range(255)))).status_code == 200

    run(story())
