"""Weights, KV cache and buffers against numbers computed by hand, and what must hold for all of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.catalog import find_model, models
from estimator.errors import UnknownName
from estimator.specs import Model, Workload
from estimator.tensors import MIXTURES, model_file
from estimator.theory.buffers import compute_buffer_bytes, output_buffer_bytes
from estimator.theory.kv_cache import cells_per_sequence, kv_bytes_per_cell, kv_cache_bytes, windowed_cells_per_sequence
from estimator.theory.memory import MemoryNeed, memory_need
from estimator.theory.weights import (
    X86_AVX2_REPACKED_TYPES,
    bytes_read_per_step,
    head_flop_per_token,
    mapped_bytes,
    matrix_flop_per_token,
    repacked_bytes,
)
from estimator.verdict import fit_verdict
from tests.estimator.examples import FILE, MODEL

MIB = 2**20
MISTRAL = find_model("mistral:7b")
GEMMA = find_model("gemma2:2b")


def test_a_token_reads_and_multiplies_matrices_and_head() -> None:
    assert bytes_read_per_step(FILE) == 562_500 + 82_031 + 210_000
    assert matrix_flop_per_token(FILE) == 2 * 1_100_000
    assert head_flop_per_token(FILE) == 2 * 256_000


def test_only_matrices_of_repacked_types_are_copied() -> None:
    assert repacked_bytes(FILE) == 562_500
    assert repacked_bytes(FILE, frozenset({"Q6_K"})) == 82_031 + 210_000
    assert repacked_bytes(FILE, frozenset()) == 0
    assert mapped_bytes(FILE) == FILE.weight_bytes == 144_000 + 210_000 + 562_500 + 82_031 + 5120


def test_mistral_keeps_128_kib_a_token_and_one_gib_at_8192() -> None:
    assert MISTRAL.layers * kv_bytes_per_cell(MISTRAL) == 128 * 1024
    assert kv_cache_bytes(MISTRAL, Workload(1, 1, context_tokens=8192)) == 2**30


def test_a_quantised_cache_takes_its_block_size() -> None:
    work = Workload(1, 1, context_tokens=8192, kv_type="Q8_0")
    assert kv_cache_bytes(MISTRAL, work) == 2**30 * 34 / 64
    assert kv_cache_bytes(MISTRAL, replace(work, kv_type="Q4_0")) == 2**30 * 18 / 64


def test_a_cache_of_a_type_that_none_can_have_is_refused() -> None:
    with pytest.raises(UnknownName, match="choose one of F16, Q8_0, Q4_0"):
        kv_cache_bytes(MISTRAL, Workload(1, 1, kv_type="Q6_K"))


def test_cells_are_padded_to_256_for_each_sequence() -> None:
    assert cells_per_sequence(Workload(200, 56)) == 256
    assert cells_per_sequence(Workload(200, 57)) == 512
    assert kv_cache_bytes(MODEL, Workload(200, 57, concurrency=3)) == 3 * 512 * 2 * 2 * 128 * 2


def test_a_windowed_layer_keeps_the_window_and_one_micro_batch() -> None:
    work = Workload(1, 1, context_tokens=8192)
    assert windowed_cells_per_sequence(GEMMA, work) == 4096 + 512
    # 13 of 26 layers are windowed; 4 KV heads x 512 elements x 2 bytes. The engine's dry run says 650 MiB.
    assert kv_cache_bytes(GEMMA, work) == 13 * (8192 + 4608) * 4096 == 650 * MIB


def test_the_compute_buffer_is_the_feed_forward_where_attention_is_flash() -> None:
    # 512 rows: 4 x 5 x 4096 + 4 x 3 x 14336 + 2 x 4096 cells + 36 bytes a row. The dry run says 128.02 MiB.
    expected = 512 * (20 * 4096 + 12 * 14336 + 2 * 4096 + 36)
    assert compute_buffer_bytes(MISTRAL, Workload(1, 1, context_tokens=4096)) == expected
    assert expected == pytest.approx(128.02 * MIB, abs=0.01 * MIB)


def test_the_compute_buffer_is_the_scores_where_attention_is_not_flash() -> None:
    # 4 x (4096 cells x 32 heads + 4096 queries), transposed V 8 x 1024, F32 mask. The dry run says 316.01 MiB.
    expected = 512 * (20 * 4096 + 4 * (4096 * 32 + 4096) + 4 * 4096 + 8 * 1024 + 36)
    work = Workload(1, 1, context_tokens=4096, flash_attention=False)
    assert compute_buffer_bytes(MISTRAL, work) == expected
    assert expected == pytest.approx(316.01 * MIB, abs=0.01 * MIB)


def test_the_output_buffer_holds_one_row_of_logits_a_sequence() -> None:
    assert output_buffer_bytes(MISTRAL, Workload(1, 1, concurrency=4)) == 4 * 4 * 32000


_CONTEXTS = st.integers(1, 40_000)


@given(
    model=st.sampled_from(models()),
    contexts=st.tuples(_CONTEXTS, _CONTEXTS),
    flash=st.booleans(),
    sequences=st.integers(1, 8),
)
def test_more_context_never_needs_less_memory(
    model: Model, contexts: tuple[int, int], flash: bool, sequences: int
) -> None:
    file = model_file(model, "Q4_0")
    less, more = (
        memory_need(
            file,
            Workload(1, 1, context_tokens=context, flash_attention=flash, concurrency=sequences),
            X86_AVX2_REPACKED_TYPES,
        )
        for context in sorted(contexts)
    )
    assert less.total_bytes <= more.total_bytes
    assert less.anonymous_bytes <= more.anonymous_bytes


@given(model=st.sampled_from(models()), context=_CONTEXTS, sequences=st.integers(1, 7))
def test_one_more_sequence_never_needs_less_memory(model: Model, context: int, sequences: int) -> None:
    file = model_file(model, "Q4_0")
    work = Workload(1, 1, context_tokens=context, concurrency=sequences)
    more = replace(work, concurrency=sequences + 1)
    assert kv_cache_bytes(model, work) < kv_cache_bytes(model, more)
    one, two = (memory_need(file, each, X86_AVX2_REPACKED_TYPES).total_bytes for each in (work, more))
    assert one < two


@given(model=st.sampled_from(models()))
def test_a_smaller_weight_type_never_has_a_larger_file(model: Model) -> None:
    sizes = [model_file(model, mixture).weight_bytes for mixture in ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")]
    assert sizes == sorted(sizes, reverse=True)
    assert set(MIXTURES) == {"F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "MXFP4_MOE"}


NEED = MemoryNeed(
    weights_bytes=1000,
    repacked_bytes=600,
    kv_cache_bytes=100,
    compute_bytes=50,
    output_bytes=5,
    runtime_bytes=45,
    libraries_bytes=20,
)


def test_a_need_is_split_into_what_can_be_evicted_and_what_cannot() -> None:
    assert NEED.total_bytes == 1820
    assert NEED.anonymous_bytes == 600 + 100 + 50 + 5 + 45
    assert NEED.file_bytes == 1020
    assert NEED.hot_file_bytes == 20 + 400


@pytest.mark.parametrize(("available", "fits"), [(1220, "yes"), (1219, "tight"), (800, "tight"), (799, "no")])
def test_the_verdict_turns_where_hot_pages_and_where_anonymous_memory_no_longer_fit(available: int, fits: str) -> None:
    verdict = fit_verdict(NEED, available)
    assert verdict.fits == fits
    assert verdict.margin_bytes == available - 1220


def test_a_yes_holds_at_the_upper_bound() -> None:
    verdict = fit_verdict(NEED, 1300, anonymous_factor=1.1, file_factor=1.05)
    assert (verdict.anonymous_bytes, verdict.needed_bytes) == (880, 880 + 441)
    assert verdict.fits == "tight"
