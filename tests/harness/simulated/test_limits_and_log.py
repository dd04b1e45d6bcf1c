"""A limit on requests per minute, the queue's own log, and how long a model is kept."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.simulated.ask import Fields, Refused
from harness.simulated.demands import BadLaw
from harness.simulated.law import Faults, Law
from harness.simulated.limits import RequestLimit
from harness.simulated.protocols.durations import keep_alive_s
from harness.simulated.queue_log import LogUnwritable
from harness.simulated.serving import serving
from tests.harness.simulated.client import client, instant, run

ASK = {"model": "mistral", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "stream": True}


def test_a_full_bucket_holds_a_minutes_requests_and_refills_steadily() -> None:
    limit = RequestLimit(per_minute=30)
    for _ in range(30):
        limit.take(100.0)
    with pytest.raises(Refused) as refused:
        limit.take(100.5)
    assert refused.value.headers == {"retry-after": "2", "retry-after-ms": "1500"}
    limit.take(102.0)
    assert limit.headers(102.0)["x-ratelimit-remaining-requests"] == "0"
    assert limit.headers(102.0)["x-ratelimit-reset-requests"] == "1m0s"


def test_what_goes_beyond_the_limit_is_refused_in_the_protocols_words() -> None:
    async def story() -> None:
        async with instant(requests_per_minute=2) as url, client(url) as connection:
            remaining = []
            for _ in range(2):
                answer = await connection.post("/v1/chat/completions", json=ASK)
                remaining.append(answer.headers["x-ratelimit-remaining-requests"])
            assert remaining == ["1", "0"]
            refused = await connection.post("/v1/chat/completions", json=ASK)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            assert refused.headers["retry-after"] == "30"
            assert (await connection.post("/api/chat", json=ASK)).json().keys() == {"error"}
            assert (await connection.get("/api/tags")).status_code == 200

    run(story())


def test_the_log_has_a_line_for_each_finished_request(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    law = Law(prefill_fixed_s=1, decode_s_per_token=0.5)

    async def story() -> None:
        async with instant(law, log=path) as url, client(url) as connection:
            await connection.post("/v1/chat/completions", json=ASK)
            await connection.post("/api/chat", json=ASK | {"model": "nothing"})
        async with instant(law, Faults(die_after_tokens=1), log=tmp_path / "died.jsonl") as url:
            with pytest.raises(Exception, match="closed"):
                async with client(url) as connection:
                    await connection.post("/api/generate", json={"model": "mistral", "prompt": "a"})

    run(story())
    entries: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    done, refused = entries
    assert (done["protocol"], done["status"], done["end"]) == ("openai", 200, "complete")
    assert (done["prompt_tokens"], done["output_tokens"]) == (8, 3)
    instants = [done[name] for name in ("received_s", "started_s", "first_token_s", "ended_s")]
    assert instants == pytest.approx([0, 0, 1, 2])
    assert (refused["status"], refused["end"], refused["started_s"]) == (404, "refused", None)
    assert json.loads((tmp_path / "died.jsonl").read_text())["end"] == "died"


def test_whoever_waits_for_a_slot_is_logged_when_it_starts(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"

    async def story() -> None:
        async with instant(Law(prefill_fixed_s=1), log=path) as url, client(url) as connection:
            await asyncio.gather(*(connection.post("/v1/chat/completions", json=ASK) for _ in range(3)))

    run(story())
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(one["ended_s"] <= other["started_s"] for one, other in pairwise(entries))


def test_a_log_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(Law(), log=tmp_path / "no" / "such" / "folder.jsonl"):
            pass

    with pytest.raises(LogUnwritable, match="cannot write the log"):
        run(story())


def test_no_requests_a_minute_are_no_limit_that_can_be_set() -> None:
    async def story() -> None:
        async with serving(Law(), requests_per_minute=0):
            pass

    with pytest.raises(BadLaw, match="at least 1 needed"):
        run(story())


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(None, None), (0, 0), (5, 5), (-1, float("inf")), ("5m", 300), ("1h30m", 5400), ("-1s", float("inf")), ("0", 0)],
)
def test_keep_alive_is_read_as_go_reads_it(said: object, seconds: float | None) -> None:
    assert keep_alive_s(Fields({"keep_alive": said})) == seconds


def test_a_model_that_was_kept_long_enough_is_gone() -> None:
    async def story() -> list[int]:
        counts = []
        async with instant(Law(load_s=1, prefill_fixed_s=20), load_on_request=True) as url, client(url) as connection:
            ask = {"model": "mistral", "prompt": "a", "options": {"num_predict": 1}, "keep_alive": 10}
            await connection.post("/api/generate", json=ask)
            counts.append(len((await connection.get("/api/ps")).json()["models"]))
            # Another request takes twenty seconds of the engine's clock.
            await connection.post("/completion", json={"prompt": "b", "n_predict": 1})
            counts.append(len((await connection.get("/api/ps")).json()["models"]))
        return counts

    assert run(story()) == [1, 0]
