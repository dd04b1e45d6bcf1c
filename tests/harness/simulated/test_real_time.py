"""The engine on a real clock. Bounds are wide: they must hold on a busy machine."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from statistics import median

import httpx
import pytest

from harness.simulated.law import Law
from harness.simulated.serving import running, serving
from tests.harness.simulated.client import PROMPT, asked, post, raw, run, streamed

pytestmark = pytest.mark.slow

REQUEST = post("/completion", {"prompt": PROMPT, "n_predict": 1000, "stream": True})


def arrivals_s(url: str, tokens: int) -> list[float]:
    """When each event of a stream arrived, after the request was sent."""
    ask = {"prompt": PROMPT, "n_predict": tokens, "stream": True}
    sent_s = time.perf_counter()
    with (
        httpx.Client(trust_env=False, verify=False) as client,
        client.stream("POST", url + "/completion", json=ask) as response,
    ):
        return [time.perf_counter() - sent_s for line in response.iter_lines() if '"stop":false' in line]


def test_gaps_and_their_sum_are_those_of_the_law() -> None:
    with running(Law(prefill_fixed_s=0.2, decode_s_per_token=0.02)) as url:
        at_s = arrivals_s(url, 100)
    gaps_s = [after - before for before, after in pairwise(at_s)]
    assert median(gaps_s) == pytest.approx(0.02, rel=0.1)
    assert at_s[-1] - at_s[0] == pytest.approx(99 * 0.02, rel=0.05)
    assert at_s[0] >= 0.2


def test_lateness_does_not_add_up_over_very_short_gaps() -> None:
    with running(Law(decode_s_per_token=0.0005)) as url:
        at_s = arrivals_s(url, 2001)
    assert at_s[-1] - at_s[0] == pytest.approx(1, rel=0.1)


def test_requests_in_several_slots_run_at_once_and_in_one_slot_after_each_other() -> None:
    async def took_s(slots: int) -> float:
        async with serving(Law(decode_s_per_token=0.04), slots=slots) as url:
            began_s = time.perf_counter()
            answers = await asyncio.gather(*(asked(url, n_predict=11) for _ in range(4)))
            assert {answer.json()["id_slot"] for answer in answers} == set(range(slots))
            return time.perf_counter() - began_s

    assert 0.4 <= run(took_s(4)) < 1.2
    assert 1.6 <= run(took_s(1)) < 2.6


def test_a_request_that_waited_for_its_slot_takes_its_full_time_then() -> None:
    async def story() -> None:
        async with serving(Law(prefill_fixed_s=0.3)) as url:
            began_s = time.perf_counter()
            both = await asyncio.gather(*(streamed(url, n_predict=1) for _ in range(2)))
            assert time.perf_counter() - began_s >= 0.6
            assert [events[-1]["timings"]["prompt_ms"] for events in both] == [300, 300]

    run(story())


def test_a_client_that_leaves_frees_its_slot() -> None:
    async def story() -> None:
        async with serving(Law(decode_s_per_token=0.05)) as url:
            host, _, port = url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(REQUEST)
            await reader.readuntil(b'"tokens_predicted":2')
            writer.close()
            await writer.wait_closed()
            again = await streamed(url, prompt=[*PROMPT, 15], n_predict=1)
            # Prompt and first token were evaluated; the prompt is what the two have in common.
            assert again[-1]["timings"]["cache_n"] == len(PROMPT)

    run(story())


def test_loading_takes_its_time() -> None:
    began_s = time.perf_counter()
    with running(Law(load_s=0.3)):
        assert time.perf_counter() - began_s >= 0.3


def test_an_engine_that_stops_drops_what_is_under_way() -> None:
    async def story() -> None:
        async with serving(Law(decode_s_per_token=5)) as url:
            client = asyncio.create_task(raw(url, REQUEST))
            await asyncio.sleep(0.2)
        received = await client
        assert received.count(b'"stop":false') == 1
        assert b'"stop":true' not in received

    run(story())
