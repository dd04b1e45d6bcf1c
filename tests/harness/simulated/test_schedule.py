"""The instants that the engine waits for before it sends, read from its clock: no real time passes."""

from __future__ import annotations

import pytest

from harness.simulated.law import Faults, Law
from tests.harness.simulated.client import InstantClock, instant, run, streamed, whole

LAW = Law(prefill_fixed_s=0.1, prefill_s_per_token=0.02, decode_s_per_token=0.05, decode_s_per_context_token=0.001)


def waited_s(law: Law, faults: Faults | None = None, stream: bool = True, **ask: object) -> list[float]:
    """What the engine waited for, load and one request."""

    async def story() -> list[float]:
        clock = InstantClock()
        async with instant(law, faults or Faults(), clock=clock) as url:
            await (streamed(url, **ask) if stream else whole(url, **ask))
        return clock.waited_s

    return run(story())


def test_each_event_is_due_at_the_instant_of_the_law() -> None:
    # Five prompt tokens: prefill 0.2 s; steps at contexts 5, 6, 7.
    assert waited_s(LAW)[1:] == pytest.approx([0.2, 0.255, 0.311, 0.368])


def test_a_chunk_of_four_is_due_with_its_fourth_token() -> None:
    law = Law(prefill_fixed_s=1, decode_s_per_token=0.1, chunk_tokens=4)
    assert waited_s(law, n_predict=10)[1:] == pytest.approx([1.3, 1.7, 1.9])


def test_a_chunk_of_four_holds_four_tokens_and_the_last_one_the_rest() -> None:
    async def story() -> None:
        async with instant(Law(chunk_tokens=4)) as url:
            *chunks, _ = await streamed(url, n_predict=10)
        assert [len(chunk["tokens"]) for chunk in chunks] == [4, 4, 2]
        assert [len(chunk["content"].split()) for chunk in chunks] == [4, 4, 2]
        assert [chunk["tokens_predicted"] for chunk in chunks] == [4, 8, 10]

    run(story())


def test_an_answer_in_one_piece_is_due_with_its_last_token() -> None:
    assert waited_s(LAW, stream=False)[1:] == pytest.approx([0.368])


def test_loading_comes_before_listening() -> None:
    assert waited_s(Law(load_s=7, prefill_fixed_s=0.5), n_predict=1) == pytest.approx([7, 7.5])


def test_the_engine_reports_the_planted_durations_as_its_own() -> None:
    async def story() -> None:
        async with instant(LAW) as url:
            timings = (await streamed(url))[-1]["timings"]
        assert timings["prompt_ms"] == pytest.approx(200)
        assert timings["prompt_per_token_ms"] == pytest.approx(40)
        assert timings["prompt_per_second"] == pytest.approx(25)
        # From the first token to the last: three steps for four tokens.
        assert timings["predicted_ms"] == pytest.approx(168)
        assert timings["predicted_per_token_ms"] == pytest.approx(56)
        assert timings["predicted_per_second"] == pytest.approx(3 / 0.168)

    run(story())


def test_one_token_has_no_decode_time_but_the_real_engines_microsecond() -> None:
    async def story() -> None:
        async with instant(LAW) as url:
            timings = (await whole(url, n_predict=1))["timings"]
        assert timings["predicted_ms"] == 0.001
        assert timings["predicted_per_token_ms"] == timings["predicted_per_second"] == 0

    run(story())


def test_stalls_run_on_from_request_to_request() -> None:
    async def story() -> None:
        law = Law(decode_s_per_token=0.01, stall_share=0.01, stall_factor=2)
        async with instant(law) as url:
            took_ms = [(await whole(url, n_predict=51))["timings"]["predicted_ms"] for _ in range(20)]
        # 20 × 50 gaps of 10 ms, ten of them twice as long.
        assert sum(took_ms) == pytest.approx(10_000 + 100)

    run(story())


def test_a_slow_header_comes_before_the_work_and_is_not_in_the_engines_timings() -> None:
    faults = Faults(slow_header_s=3)
    assert waited_s(LAW, faults)[1:] == pytest.approx([3, 3.2, 3.255, 3.311, 3.368])

    async def story() -> float:
        async with instant(LAW, faults) as url:
            prompt_ms: float = (await whole(url))["timings"]["prompt_ms"]
            return prompt_ms

    assert run(story()) == pytest.approx(200)
