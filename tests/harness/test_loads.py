"""Load figures computed by hand, and the verdicts on loads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.loads import GIVEN_UP, Slo, client_figures, load_figures
from harness.metrics import first_tokens, tpot_s
from harness.record import Chunk, Request, Usage
from harness.verdict import cell_verdict
from tests.harness.making import CELL, MS, request

STREAMS = replace(CELL, concurrency=2)
RATE = replace(CELL, arrival="constant", rate_per_s=10.0)


def at(start_ms: float, found: Request, due_ms: float | None = None) -> Request:
    """The request as if it had been sent at `start_ms`."""
    shift = round(start_ms * MS)
    chunks = tuple(
        Chunk(c.wire_ns + shift, None if c.delivered_ns is None else c.delivered_ns + shift, c.tokens)
        for c in found.chunks
    )
    due = shift if due_ms is None else round(due_ms * MS)
    return replace(found, scheduled_ns=due, sent_ns=shift, ended_ns=found.ended_ns + shift, chunks=chunks)


def two_streams(begin_ms: float = 0) -> list[Request]:
    """Each request takes 400 ms, a token each 100 ms; the streams are half a request apart."""
    one = request([100, 200, 300, 400], cell=STREAMS)
    return [at(begin_ms + start, one) for start in (0, 200, 400, 600, 800, 1000)]


def test_throughput_is_that_of_the_time_when_all_streams_were_busy() -> None:
    figures = load_figures(STREAMS, two_streams(), Slo())
    assert figures is not None
    # From 200 ms (the second stream begins) to 1,200 ms (the first has nothing left): ends at 400, 600, ... 1,400.
    # Tokens in it: 2 of the first, 4 of four, 2 of the last.
    assert figures.output_tokens_per_s == pytest.approx(20 / 1.0)
    assert figures.delivered_per_s == pytest.approx(5 / 1.0)
    assert figures.ttft_p50_s == pytest.approx(0.1)
    assert figures.e2e_p50_s == pytest.approx(0.4)
    assert (figures.requested_per_s, figures.ttft_p90_s, figures.saturated) == (None, None, None)


def test_two_visits_are_two_loads_and_the_time_between_them_is_nobodys() -> None:
    again = [replace(found, repeat=1) for found in two_streams(60_000)]
    once, twice = (load_figures(STREAMS, part, Slo()) for part in (two_streams(), two_streams() + again))
    assert once is not None
    assert twice is not None
    assert twice.output_tokens_per_s == pytest.approx(once.output_tokens_per_s)


def test_a_cell_of_one_stream_has_no_load_figures() -> None:
    assert load_figures(CELL, [request([100])], Slo()) is None


def test_goodput_counts_requests_within_the_limits_and_time_from_when_they_were_due() -> None:
    one = request([50, 60, 70], cell=RATE)
    found = [at(start, one) for start in (0, 100, 200)] + [at(380, one, due_ms=300)]
    figures = load_figures(RATE, found, Slo(ttft_s=0.1, tpot_s=0.02))
    assert figures is not None
    # Three of four within 100 ms of their due instant, of 10 a second.
    assert figures.goodput_per_s == pytest.approx(7.5)
    assert load_figures(RATE, found, Slo(tpot_s=0.005)).goodput_per_s == 0  # type: ignore[union-attr]
    assert load_figures(RATE, found, Slo()).goodput_per_s is None  # type: ignore[union-attr]


def open_load(late_ms: float = 0.0, count: int = 40, service_ms: float = 20.0) -> list[Request]:
    return [
        at(index * 100 + late_ms, request([service_ms, service_ms + 5], cell=RATE), due_ms=index * 100)
        for index in range(count)
    ]


def word(requests: list[Request], failed: int = 0) -> tuple[str, str]:
    good = [found for found in requests if found.error is None]
    verdict = cell_verdict(good, failed, load=load_figures(RATE, requests, Slo()))
    return verdict.word, " ".join(verdict.reasons)


def test_a_load_that_was_served_as_asked_is_valid() -> None:
    assert word(open_load()) == ("VALID", "")


@pytest.mark.parametrize("count", [5, 10, 20])
def test_a_short_load_whose_last_answer_took_a_little_longer_is_not_degraded(count: int) -> None:
    requests = open_load(count=count)
    last = at((count - 1) * 100, request([60, 65], cell=RATE), due_ms=(count - 1) * 100)
    assert word([*requests[:-1], last])[0] != "DEGRADED LOAD"


def test_a_load_of_which_some_failed_is_degraded() -> None:
    requests = open_load()
    failed = [replace(found, error="HTTP 500", chunks=()) for found in requests[1:-1:8]]
    rest = [found for index, found in enumerate(requests) if index not in range(1, 39, 8)]
    found = word(rest + failed, failed=len(failed))
    assert found[0] == "DEGRADED LOAD"
    assert "10.00 requests/s were asked, 8.72 delivered, 5 requests failed" in found[1]


def test_a_client_that_sends_late_is_told_apart_from_a_slow_server() -> None:
    found = word(open_load(late_ms=30, count=120))
    assert found[0] == "CLIENT-BOUND"
    assert "up to 30 ms (p99) after they were due: lower --rate" in found[1]


def test_requests_that_were_given_up_make_the_load_saturated() -> None:
    requests = open_load()
    lost = [replace(found, error=f"{GIVEN_UP}: the server is saturated") for found in requests[-3:]]
    assert word(requests[:-3] + lost, failed=3) == (
        "SATURATED", "3 requests were given up when the server fell behind: lower --rate"
    )  # fmt: skip


def test_a_server_that_falls_behind_is_saturated_by_the_record_alone() -> None:
    # Ten a second are due, five a second end.
    requests = [
        replace(at(index * 100, request([5], cell=RATE)), ended_ns=(index + 1) * 200 * MS) for index in range(600)
    ]
    assert word(requests)[0] == "SATURATED"


def test_the_clients_figures_are_lateness_cpu_a_chunk_and_claims_that_differ() -> None:
    found = [
        replace(request([10, 20], late_ms=2), cpu_s=(float(index), index + 0.004), claimed=Usage(64, 2 + index % 2))
        for index in range(4)
    ]
    figures = client_figures([replace(r, repeat=index) for index, r in enumerate(found)])
    assert figures.lateness_p50_s == pytest.approx(0.002)
    assert figures.cpu_per_chunk_s == pytest.approx(0.002)
    assert (figures.claims, figures.claimed_off) == (4, 2)


def chunked(sizes: list[int], gap_ns: int, letters: int) -> Request:
    """An answer of words of one length in chunks of `sizes` tokens, each there when its last token is ready."""
    chunks, done = [], 0
    for size in sizes:
        done += size
        chunks.append(Chunk(10**9 + done * gap_ns, None, None, size * letters))
    return replace(request([]), chunks=tuple(chunks), usage=Usage(64, done))


@given(
    st.lists(st.integers(1, 8), min_size=2, max_size=40),
    st.integers(1000, 10**9),
    st.integers(1, 12),
    st.integers(2, 9),
)
def test_tpot_is_the_gap_between_tokens_however_they_are_chunked_and_scales_with_time(
    sizes: list[int], gap_ns: int, letters: int, factor: int
) -> None:
    found = chunked(sizes, gap_ns, letters)
    assert first_tokens(found) == pytest.approx(sizes[0])
    assert tpot_s(found) == pytest.approx(gap_ns * 1e-9, rel=0.01)
    slower = chunked(sizes, gap_ns * factor, letters)
    assert tpot_s(slower) == pytest.approx((tpot_s(found) or 0) * factor)


def bursts(count: int, streams: int = 32) -> list[Request]:
    """Requests of exactly 0.5 s, sent `streams` at a time as a closed load does."""
    cell = replace(CELL, concurrency=streams)
    return [at(500 * (number // streams), request([250, 500], cell=cell)) for number in range(count)]


@pytest.mark.parametrize("count", [64, 80, 96, 192, 200])
def test_rates_of_a_closed_load_are_those_of_full_streams_whatever_its_last_round_holds(count: int) -> None:
    found = bursts(count)
    figures = load_figures(found[0].cell, found, Slo(ttft_s=1.0))
    assert figures is not None
    assert figures.delivered_per_s == pytest.approx(64)
    assert figures.goodput_per_s == pytest.approx(64)
