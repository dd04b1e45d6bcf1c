"""Whole runs against the simulated engine: what is journaled, what a fault does, what a resumed run adds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from calibration.dataset import dataset
from harness.errors import HarnessError
from harness.journal import JOURNAL, read_record
from harness.metrics import itl_s, percentile, tpot_s, ttft_s
from harness.plan import Plan, Shape
from harness.record import Cell, Phase, Record
from harness.simulated.law import NO_FAULTS, Faults, Law
from harness.simulated.serving import serving
from harness.summary import rows
from harness.target import Door
from harness.watch import Watcher
from tests.harness.making import counted, ran, run_plan

pytestmark = pytest.mark.slow

LAW = Law(prefill_fixed_s=0.002, prefill_s_per_token=0.0002, decode_s_per_token=0.004)
SHAPES = (Shape(16, 8), Shape(32, 8), Shape(16, 8, depth_tokens=64))


def measure(
    folder: Path,
    law: Law = LAW,
    faults: Faults = NO_FAULTS,
    watcher: Watcher | None = None,
    shapes: tuple[Shape, ...] = SHAPES,
    repeats: int = 3,
) -> Record:
    """Runs (or resumes) a plan in `folder` against an engine of this law."""
    plan = Plan(("simulated",), ("mistral:7b",), shapes=shapes, repeats=repeats)

    async def run() -> None:
        streams = max(shape.concurrency for shape in shapes)
        async with serving(law, faults, slots=streams + 1) as url:
            await run_plan(folder, plan, Door(base_urls={"simulated": url}), watcher)

    asyncio.run(run())
    return read_record(folder)


def test_every_cell_is_measured_as_often_as_asked_after_a_warm_up(tmp_path: Path) -> None:
    record = measure(tmp_path)
    assert [len(group) for group in counted(record).values()] == [3, 3, 3]
    assert record.requests[0].phase == "warmup"
    assert [r.phase for r in record.requests].count("prime") == 1, "a context is cached once and kept"
    assert record.ends[-1].reason == "done"


def test_an_engine_was_loaded_before_its_sampler_began(tmp_path: Path) -> None:
    plan = Plan(("simulated",), ("mistral:7b",), shapes=(Shape(16, 8),), repeats=1)
    record = ran(tmp_path, plan)
    ((line, *_), (engine,)) = record.samples, record.subjects
    assert engine.ready_ns < line.samples[0].at_ns


def test_cells_at_a_depth_find_their_context_cached_and_others_nothing(tmp_path: Path) -> None:
    for (_, cell), group in counted(measure(tmp_path)).items():
        assert {r.usage.cached_tokens for r in group} == {cell.depth_tokens}
        assert {r.usage.prompt_tokens for r in group} == {cell.depth_tokens + cell.prompt_tokens}


def test_the_first_request_of_a_round_is_the_anchor_and_the_rest_are_shuffled_by_the_seed(tmp_path: Path) -> None:
    first, second = measure(tmp_path / "1"), measure(tmp_path / "2")
    order = [[r.cell for r in record.requests if r.phase == "counted"] for record in (first, second)]
    assert order[0] == order[1]
    assert order[0][0] == order[0][3] == order[0][6]


@pytest.mark.slow
def test_chunks_of_four_tokens_do_not_make_decoding_look_faster(tmp_path: Path) -> None:
    law = Law(prefill_fixed_s=0.002, decode_s_per_token=0.005, chunk_tokens=4)
    for (_, _), group in counted(measure(tmp_path, law, shapes=(Shape(16, 24),))).items():
        for found in group:
            assert [chunk.tokens for chunk in found.chunks] == [4] * 6
            assert tpot_s(found) == pytest.approx(0.005, rel=0.08)


@pytest.mark.slow
def test_a_stall_in_one_percent_of_gaps_shows_in_the_99th_percentile_of_itl(tmp_path: Path) -> None:
    law = Law(decode_s_per_token=0.010, stall_share=0.01, stall_factor=2)
    record = measure(tmp_path, law, shapes=(Shape(16, 101),), repeats=4)
    gaps = itl_s(r for r in record.requests if r.phase == "counted")
    assert percentile(gaps, 0.5) == pytest.approx(0.010, rel=0.1)
    assert percentile(gaps, 0.99) == pytest.approx(0.020, rel=0.15)


def test_a_server_that_dies_mid_stream_leaves_its_requests_with_their_chunks_and_an_error(tmp_path: Path) -> None:
    record = measure(tmp_path, faults=Faults(die_after_tokens=3))
    assert {len(r.chunks) for r in record.requests if r.phase == "counted"} == {3}
    assert all(r.error for r in record.requests if r.phase == "counted")
    assert all(row.verdict.word == "FAILED" for row in rows(record))
    assert record.ends[-1].reason == "failed"


def test_a_fault_now_and_then_is_recorded_and_the_run_goes_on_to_its_count(tmp_path: Path) -> None:
    record = measure(tmp_path, faults=Faults(http_status=500, fail_every=4))
    assert [len(group) for group in counted(record).values()] == [3, 3, 3]
    failed = [r for r in record.requests if r.error]
    assert failed
    assert all("HTTP 500" in (r.error or "") for r in failed)


def test_an_answer_of_the_wrong_length_does_not_count(tmp_path: Path) -> None:
    record = measure(tmp_path, faults=Faults(wrong_usage=True))
    assert all(r.error and "tokens where" in r.error for r in record.requests)


def test_broken_json_in_the_stream_is_an_error_of_that_request(tmp_path: Path) -> None:
    record = measure(tmp_path, faults=Faults(broken_json=True))
    assert all(r.error and "not JSON" in r.error for r in record.requests if r.phase == "counted")


def test_a_server_without_timings_is_measured_by_the_client_alone(tmp_path: Path) -> None:
    record = measure(tmp_path, faults=Faults(missing_timings=True))
    done = [r for r in record.requests if r.phase == "counted"]
    assert all(r.timings.prefill_s is None and ttft_s(r) is not None for r in done)


class StopsAfter(Watcher):
    """Cancels the run at the n-th counted visit, as Ctrl-C does."""

    def __init__(self, visits: int) -> None:
        self.left = visits

    def visiting(self, cell: Cell, repeat: int, phase: Phase) -> None:
        if phase == "counted":
            self.left -= 1
            if self.left < 0:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()


def test_a_run_that_is_interrupted_loses_nothing_and_resuming_measures_only_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(asyncio.CancelledError):
        measure(tmp_path, watcher=StopsAfter(4))
    before = read_record(tmp_path)
    assert before.ends[-1].reason == "interrupted"
    assert sum(len(group) for group in counted(before).values()) == 4
    after = measure(tmp_path)
    assert [r.reason for r in after.ends] == ["interrupted", "done"]
    assert {row.requests for row in rows(after)} == {3}
    assert after.requests[: len(before.requests)] == before.requests


def test_a_run_that_was_killed_resumes_as_a_new_sitting_and_counts_nothing_twice(tmp_path: Path) -> None:
    with pytest.raises(asyncio.CancelledError):
        measure(tmp_path, watcher=StopsAfter(4))
    journal = tmp_path / JOURNAL
    *kept, end = journal.read_text().splitlines()
    assert '"kind":"end"' in end
    journal.write_text("\n".join(kept) + "\n")
    after = measure(tmp_path)
    assert [s.subject_id for s in after.subjects] == ["0.0", "0.1"]
    assert {row.requests for row in rows(after)} == {3}
    # Whatever else the machine was doing: noise is not what is asked here.
    assert {o.requests for o in dataset([after], include_noisy=True).observations} == {3}


def test_resuming_a_finished_run_measures_nothing(tmp_path: Path) -> None:
    before = measure(tmp_path)
    after = measure(tmp_path)
    assert after.requests == before.requests


@pytest.mark.slow
def test_streams_at_once_share_the_engine_and_are_all_recorded(tmp_path: Path) -> None:
    record = measure(tmp_path, shapes=(Shape(16, 8, concurrency=3),), repeats=6)
    (group,) = counted(record).values()
    assert len(group) == 6
    assert group[0].sent_ns < group[1].ended_ns
    assert group[1].sent_ns < group[0].ended_ns


def test_a_server_with_too_few_slots_is_named(tmp_path: Path) -> None:
    plan = Plan(("simulated",), ("mistral:7b",), shapes=(Shape(16, 8, concurrency=3),), repeats=1)

    async def run() -> None:
        async with serving(LAW, slots=1) as url:
            await run_plan(tmp_path, plan, Door(base_urls={"simulated": url}))

    with pytest.raises(HarnessError, match="has 1 slots, 3 streams were asked"):
        asyncio.run(run())
    assert read_record(tmp_path).ends[-1].reason == "failed"


def test_a_context_too_small_for_the_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="holds 4096 tokens a slot, the plan needs 5008"):
        measure(tmp_path, shapes=(Shape(5000, 8),))


def test_a_port_where_nobody_listens_is_one_clear_line(tmp_path: Path) -> None:
    plan = Plan(("simulated",), ("mistral:7b",), repeats=1)
    with pytest.raises(HarnessError, match="127.0.0.1:9/props: ConnectError"):
        ran(tmp_path, plan, Door(base_urls={"simulated": "http://127.0.0.1:9"}))
