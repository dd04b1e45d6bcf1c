"""Each fault, as a client sees it."""

from __future__ import annotations

from json import JSONDecodeError

import httpx
import pytest

from harness.errors import EngineFailure
from harness.simulated.demands import BadLaw
from harness.simulated.law import Faults, Law
from harness.simulated.serving import running, serving
from tests.harness.simulated.client import asked, client, instant, post, raw, run, streamed, whole


@pytest.mark.parametrize("tokens", [0, 1, 3, 4])
def test_a_dying_engine_closes_the_connection_after_so_many_tokens(tokens: int) -> None:
    async def story() -> None:
        async with instant(faults=Faults(die_after_tokens=tokens)) as url:
            received = await raw(url, post("/completion", {"prompt": [1, 2], "n_predict": 4, "stream": True}))
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert received.count(b'"stop":false') == tokens
        assert b'"stop":true' not in received
        assert not received.endswith(b"\r\n0\r\n\r\n")

    run(story())


def test_a_death_amid_a_stream_is_a_protocol_error_to_a_client() -> None:
    async def story() -> None:
        async with instant(faults=Faults(die_after_tokens=2)) as url:
            with pytest.raises(httpx.RemoteProtocolError):
                await streamed(url)

    run(story())


def test_a_dying_engine_gives_no_answer_in_one_piece() -> None:
    async def story() -> None:
        async with instant(faults=Faults(die_after_tokens=2)) as url:
            with pytest.raises(httpx.RemoteProtocolError):
                await whole(url)

    run(story())


def test_an_answer_shorter_than_the_death_is_complete() -> None:
    async def story() -> None:
        async with instant(faults=Faults(die_after_tokens=5)) as url:
            assert (await streamed(url, n_predict=4))[-1]["stop"] is True

    run(story())


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rate_limit_error"), (500, "server_error"), (503, "unavailable_error")]
)
def test_a_planted_status_refuses_the_request(status: int, kind: str) -> None:
    async def story() -> None:
        async with instant(faults=Faults(http_status=status)) as url, client(url) as connection:
            refused = await asked(url)
            assert refused.status_code == status
            assert refused.json()["error"]["type"] == kind
            assert (await connection.get("/health")).status_code == 200

    run(story())


def test_faults_strike_every_nth_request_only() -> None:
    async def story() -> list[int]:
        async with instant(faults=Faults(http_status=503, fail_every=3)) as url:
            return [(await asked(url)).status_code for _ in range(6)]

    assert run(story()) == [200, 200, 503, 200, 200, 503]


@pytest.mark.parametrize("n_predict", [1, 4])
def test_broken_json_is_one_event_cut_short_and_the_stream_goes_on(n_predict: int) -> None:
    async def story() -> None:
        async with instant(faults=Faults(broken_json=True)) as url:
            received = await streamed(url, n_predict=n_predict)
            assert received.count({}) == 1
            assert received[-1]["tokens_predicted"] == n_predict
            with pytest.raises(JSONDecodeError):
                await whole(url)

    run(story())


def test_a_wrong_usage_claims_more_tokens_than_came() -> None:
    async def story() -> None:
        async with instant(faults=Faults(wrong_usage=True)) as url:
            *chunks, last = await streamed(url)
        assert sum(len(chunk["tokens"]) for chunk in chunks) == 4
        assert last["tokens_predicted"] == last["timings"]["predicted_n"] == 7

    run(story())


def test_missing_timings_are_missing_and_nothing_else() -> None:
    async def story() -> None:
        async with instant() as url:
            sound = (await streamed(url))[-1]
        async with instant(faults=Faults(missing_timings=True)) as url:
            faulty = (await streamed(url))[-1]
        assert sound.keys() - faulty.keys() == {"timings"}

    run(story())


def test_an_engine_that_refuses_to_load_does_not_start() -> None:
    async def story() -> None:
        async with serving(Law(), Faults(refuse_load=True)):
            pass

    with pytest.raises(EngineFailure, match="error loading model"):
        run(story())
    with pytest.raises(EngineFailure, match="error loading model"), running(Law(), Faults(refuse_load=True)):
        pass


def test_an_engine_without_slots_or_room_does_not_start() -> None:
    for slots, context_tokens in ((0, 256), (1, 1)):
        with pytest.raises(BadLaw), running(Law(), slots=slots, context_tokens=context_tokens):
            pass


def test_a_port_in_use_is_an_engine_failure() -> None:
    async def story() -> None:
        async with serving(Law()) as url, serving(Law(), port=int(url.rpartition(":")[2])):
            pass

    with pytest.raises(EngineFailure, match="cannot listen on port"):
        run(story())
