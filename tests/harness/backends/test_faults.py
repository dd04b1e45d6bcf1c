"""Each fault through each back end: recorded as what it was, and the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.metrics import tpot_s
from harness.plan import Shape
from harness.record import Record
from harness.simulated.law import Faults, Law
from harness.summary import rows
from tests.harness.backends.scripted import STREAM, Got, delta, ending, scripted
from tests.harness.backends.serving import (
    OPENAI_LIKE,
    QUICK,
    SHAPES,
    STEADY,
    WAYS,
    counted_all,
    door_to,
    measured,
    plan_of,
)
from tests.harness.making import run_plan

pytestmark = pytest.mark.slow

every_way = pytest.mark.parametrize("way", list(WAYS))
every_chat = pytest.mark.parametrize("way", OPENAI_LIKE)
SOMETIMES = 2


def good(record: Record) -> int:
    return sum(1 for request in counted_all(record) if request.error is None)


@every_way
def test_a_refusal_by_the_rate_limit_is_recorded_waited_for_and_tried_again(tmp_path: Path, way: str) -> None:
    faults = Faults(http_status=429, retry_after_s=0.05, fail_every=SOMETIMES)
    record = measured(tmp_path, way, faults=faults)
    refused = [request for request in record.requests if request.status == 429]
    assert refused
    assert all("HTTP 429" in (request.error or "") for request in refused)
    assert {request.limits["retry-after"] for request in refused} == {"0.05"}
    for earlier, later in zip(record.requests, record.requests[1:], strict=False):
        if earlier.status == 429:
            assert later.sent_ns - earlier.ended_ns >= 0.05e9, "tried again before the wait was over"
    (row,) = rows(record)
    assert (row.requests, row.failed) == (2, 0)
    assert row.refused == sum(1 for request in counted_all(record) if request.status == 429) > 0
    assert record.ends[-1].reason == "done"


def test_rate_limit_headers_are_stored_and_no_others(tmp_path: Path) -> None:
    record = measured(tmp_path, "http")
    for request in counted_all(record):
        assert "x-ratelimit-remaining-tokens" in request.limits
        assert all(name.startswith(("x-ratelimit-", "retry-after")) for name in request.limits)


@every_way
def test_an_error_of_the_server_is_recorded_and_the_run_goes_on_to_its_count(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, faults=Faults(http_status=500, fail_every=3))
    failed = [request for request in record.requests if request.error]
    assert failed
    assert {request.status for request in failed} == {500}
    assert all("HTTP 500: simulated fault" in (request.error or "") for request in failed)
    assert good(record) == 2
    assert record.ends[-1].reason == "done"


@every_way
def test_broken_json_is_the_error_of_its_request_alone(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, faults=Faults(broken_json=True, fail_every=SOMETIMES))
    failed = [request for request in record.requests if request.error]
    assert failed
    assert all("is not JSON" in (request.error or "") for request in failed)
    assert good(record) == 2


@every_way
def test_a_stream_that_is_cut_keeps_its_chunks_and_says_that_the_server_closed_it(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, faults=Faults(die_after_tokens=3, fail_every=SOMETIMES))
    failed = [request for request in record.requests if request.error]
    assert failed
    assert all("ended before its last event" in (request.error or "") for request in failed)
    assert {len(request.chunks) for request in failed} == {3}
    assert good(record) == 2


@every_way
def test_headers_that_come_late_are_in_the_time_to_the_first_token(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, faults=Faults(slow_header_s=0.05))
    (row,) = rows(record)
    assert row.ttft_s is not None
    assert row.ttft_s.median >= 0.05


@every_way
def test_empty_deltas_and_comments_are_not_taken_for_tokens(tmp_path: Path, way: str) -> None:
    # An empty event comes halfway to the first token, of 0.06 s.
    law, faults = Law(prefill_fixed_s=0.06, decode_s_per_token=0.002), Faults(empty_deltas=True)
    faults = replace(faults, keep_alive_comments=True)
    record = measured(tmp_path, way, law, faults, plan_of([way], repeats=1))
    (request,) = counted_all(record)
    assert len(request.chunks) == 6
    assert request.chunks[0].wire_ns - request.sent_ns >= 0.06e9


@every_way
def test_a_request_without_usage_counts_its_tpot_is_unknown_and_the_verdict_says_so(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, faults=Faults(missing_usage=True))
    (row,) = rows(record)
    assert (row.requests, row.tpot_s) == (2, None)
    assert row.ttft_s is not None
    assert any("no token counts for 2 of 2 requests" in reason for reason in row.verdict.reasons)


@every_way
def test_more_tokens_than_were_asked_are_not_believed(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, faults=Faults(wrong_usage=True))
    assert all(request.error == "the server generated 9 tokens where 6 were asked" for request in counted_all(record))
    assert (record.ends[-1].reason, rows(record)[0].verdict.word) == ("failed", "FAILED")


@every_way
def test_several_tokens_a_chunk_leave_tpot_right_to_a_percent(tmp_path: Path, way: str) -> None:
    plan = plan_of([way], (Shape(12, 24),), repeats=1)
    record = measured(tmp_path, way, Law(decode_s_per_token=0.004, chunk_tokens=4), plan=plan)
    (request,) = counted_all(record)
    assert len(request.chunks) == 6
    span_s = (request.chunks[-1].wire_ns - request.chunks[0].wire_ns) * 1e-9
    assert tpot_s(request) == pytest.approx(span_s / 20, rel=0.01)


@every_chat
def test_reasoning_that_is_streamed_counts_as_tokens_like_any(tmp_path: Path, way: str) -> None:
    # The answer begins 150 ms after the first reasoning token, which an arrival late by up to 50 ms does not hide.
    law = Law(prefill_fixed_s=0.01, decode_s_per_token=0.05)
    record = measured(tmp_path, way, law, Faults(reasoning_tokens=3), plan_of([way], repeats=1))
    (request,) = counted_all(record)
    assert len(request.chunks) == 6
    assert (request.usage.reasoning_tokens, request.usage.hidden_tokens) == (3, None)
    assert request.chunks[3].wire_ns - request.chunks[0].wire_ns >= 0.100e9


@every_chat
def test_reasoning_that_is_hidden_is_no_part_of_the_streamed_tokens(tmp_path: Path, way: str) -> None:
    async def answer(got: Got) -> AsyncIterator[bytes]:
        yield STREAM
        for _ in range(4):
            yield delta(" word")
            await asyncio.sleep(0.01)
        prompt_tokens = len(got.prompt.split())
        yield ending(prompt_tokens, 6, completion_tokens_details={"reasoning_tokens": 2})

    async def run() -> Record:
        async with scripted(answer) as url:
            return await run_plan(tmp_path, plan_of([way], repeats=1), door_to(url, [way]))

    (request,) = counted_all(asyncio.run(run()))
    assert request.error is None
    assert (request.usage.output_tokens, request.usage.hidden_tokens) == (6, 2)
    span_s = (request.chunks[-1].wire_ns - request.chunks[0].wire_ns) * 1e-9
    assert tpot_s(request) == pytest.approx(span_s / 3)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "simulated"])
def test_a_model_that_ends_early_counts_with_the_tokens_that_came(tmp_path: Path, way: str) -> None:
    record = measured(tmp_path, way, faults=Faults(finish_early_tokens=4))
    assert {(r.usage.output_tokens, len(r.chunks), r.error) for r in counted_all(record)} == {(4, 4, None)}


@every_chat
def test_a_server_that_never_stops_is_cut_off_and_named(tmp_path: Path, way: str) -> None:
    sent = 0

    async def answer(_: Got) -> AsyncIterator[bytes]:
        nonlocal sent
        yield STREAM
        while True:
            yield delta(" more")
            sent += 1
            await asyncio.sleep(0.001)

    async def run() -> Record:
        async with scripted(answer) as url:
            return await run_plan(tmp_path, plan_of([way]), door_to(url, [way]))

    record = asyncio.run(run())
    assert {r.error for r in record.requests} == {"the server did not stop after the 6 tokens that were asked"}
    assert record.ends[-1].reason == "failed"
    assert sent < 200 * len(record.requests), "the connection was left open"


@every_chat
def test_a_rate_limit_that_never_yields_is_given_up(tmp_path: Path, way: str) -> None:
    faults = Faults(http_status=429, retry_after_s=0.002)
    record = measured(tmp_path, way, faults=faults)
    assert {request.status for request in record.requests} == {429}
    assert (record.ends[-1].reason, rows(record)[0].verdict.word) == ("failed", "FAILED")


@pytest.mark.slow
@every_way
def test_times_follow_the_planted_law(tmp_path: Path, way: str) -> None:
    plan = plan_of([way], (Shape(64, 16),), repeats=3)
    record = measured(tmp_path, way, STEADY, plan=plan)
    (row,) = rows(record)
    assert row.ttft_s is not None
    assert row.tpot_s is not None
    told = counted_all(record)[0].usage.prompt_tokens
    assert told == 64
    assert row.ttft_s.median == pytest.approx(0.02 + 0.001 * 64, rel=0.1, abs=0.004)
    assert row.tpot_s.median == pytest.approx(0.01, rel=0.08)


@pytest.mark.slow
def test_percentiles_say_what_they_stand_on(tmp_path: Path) -> None:
    few = rows(measured(tmp_path, "http", QUICK, plan=plan_of(["http"], SHAPES, repeats=9)))[0]
    assert few.ttft_p90_s is None
    assert few.itl_p99_s is None
    many = rows(measured(tmp_path / "more", "http", QUICK, plan=plan_of(["http"], SHAPES, repeats=21)))[0]
    assert many.ttft_p90_s is not None
    assert many.itl_p99_s is not None, "105 gaps are enough for the 99th percentile"
