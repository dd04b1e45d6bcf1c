"""What of the buffers is resident, and what lies in room that the loader freed, against numbers computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.catalog import find_model, models
from estimator.specs import Model, Workload
from estimator.tensors import model_file
from estimator.theory.buffers import compute_buffer_bytes
from estimator.theory.memory import memory_need, resident_need
from estimator.theory.resident import candidate_bytes, reused_heap_bytes, scratch_bytes, touched_compute_bytes
from tests.estimator.examples import FILE

MIB = 2**20
TINYLLAMA = find_model("tinyllama:1.1b")
LLAMA = find_model("llama3.2:1b")
# Hidden 896, 24 layers, 2 KV heads of 64: 12 KiB of cache a token.
QWEN = find_model("qwen2.5:0.5b")
SHORT = Workload(1, 1, context_tokens=256, ubatch_tokens=28)


def test_two_rows_of_hidden_in_five_are_never_touched() -> None:
    work = Workload(1, 1, context_tokens=1024)
    # 512 rows: 4 x 3 x 2048 + 4 x 3 x 5632 + 2 x 1024 + 36 bytes; the page map says 45.53 MiB with half the mask.
    expected = 512 * (12 * 2048 + 12 * 5632 + 2 * 1024 + 36)
    assert touched_compute_bytes(TINYLLAMA, work) == expected
    assert expected - 512 * 2 * 512 == pytest.approx(45.53 * MIB, abs=0.02 * MIB)
    assert compute_buffer_bytes(TINYLLAMA, work) - expected == 2 * 4 * 512 * 2048


def test_logits_lie_apart_where_rows_are_few() -> None:
    # 28 rows: as above with 256 cells, and 4 x 128,256 bytes of logits less the row of hidden that covers them.
    rows = 28 * (12 * 2048 + 12 * 8192 + 2 * 256 + 36)
    assert touched_compute_bytes(LLAMA, SHORT) == rows + 4 * 128_256 - 4 * 28 * 2048
    # The page map says 3.73 MiB.
    assert touched_compute_bytes(LLAMA, SHORT) == pytest.approx(3.73 * MIB, abs=0.2 * MIB)


def test_the_scratch_is_the_widest_input_in_blocks_of_8_bits() -> None:
    # The page map says 2.93 MiB.
    assert scratch_bytes(TINYLLAMA, Workload(1, 1, context_tokens=1024)) == 512 * 5632 * 34 / 32
    assert scratch_bytes(TINYLLAMA, SHORT) == 28 * 5632 * 34 / 32


def test_a_candidate_takes_12_bytes() -> None:
    assert candidate_bytes(LLAMA) == 12 * 128_256


def test_a_small_cache_lies_in_the_room_of_the_token_list() -> None:
    # 32 x 151,936 = 4,861,952 bytes of room: the cache 3,145,728, the logits 607,744; candidates (1,823,232) no
    # longer fit, the scratch (28 x 4864 x 34 / 32 = 144,704) does.
    assert reused_heap_bytes(QWEN, SHORT) == 3_145_728 + 607_744 + 144_704


def test_a_cache_that_outgrows_the_room_still_uses_all_of_it() -> None:
    # 512 cells: 6,291,456 bytes, over the room and under 45 x 151,936 = 6,837,120. Nothing is left for the others.
    assert reused_heap_bytes(QWEN, replace(SHORT, context_tokens=512)) == 4_861_952


def test_a_large_cache_is_mapped_apart_and_leaves_the_room_to_others() -> None:
    # 768 cells: 9,437,184 bytes of cache, over 45 x 151,936.
    work = replace(SHORT, context_tokens=768)
    assert reused_heap_bytes(QWEN, work) == 607_744 + 1_823_232 + 144_704


def test_of_three_sequences_one_finds_room_for_its_candidates() -> None:
    # Llama 3.2 1B: 4,104,192 bytes of room, logits 3 x 513,024, candidates 1,539,072 each; 28 rows round up to 30,
    # scratch 30 x 8192 x 34 / 32 = 261,120.
    work = replace(SHORT, context_tokens=1024, concurrency=3)
    assert reused_heap_bytes(LLAMA, work) == 1_539_072 + 1_539_072 + 261_120


def test_resident_need_is_the_need_with_touched_pages_and_the_runtime() -> None:
    work = Workload(1, 1, context_tokens=768)
    planned = memory_need(FILE, work, frozenset({"Q4_K"}))
    found = resident_need(FILE, work, frozenset({"Q4_K"}), 1e6, 2e6)
    assert found.compute_bytes == touched_compute_bytes(FILE.model, work)
    # 1000 entries: 32,000 bytes of room hold logits (4000) and candidates (12,000), not the scratch of 512 rows.
    assert found.runtime_bytes == round(1e6 + scratch_bytes(FILE.model, work) + 12_000 - 16_000)
    assert found.libraries_bytes == 2_000_000
    assert replace(found, compute_bytes=planned.compute_bytes, runtime_bytes=0, libraries_bytes=0) == planned


@given(
    model=st.sampled_from(models()),
    context=st.integers(1, 40_000),
    rows=st.integers(1, 512),
    sequences=st.integers(1, 8),
)
def test_what_is_reused_is_never_more_than_the_room_and_what_is_touched_is_some(
    model: Model, context: int, rows: int, sequences: int
) -> None:
    work = Workload(1, 1, context_tokens=context, ubatch_tokens=rows, concurrency=sequences)
    assert 0 <= reused_heap_bytes(model, work) <= 32 * model.vocabulary
    assert touched_compute_bytes(model, work) > 0
    need = resident_need(model_file(model, "Q4_0"), work, frozenset())
    assert need.anonymous_bytes > need.kv_cache_bytes - 45 * model.vocabulary
