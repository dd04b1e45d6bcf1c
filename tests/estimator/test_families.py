"""Experts, latent attention and windows of every period against numbers computed by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.catalog import find_model
from estimator.specs import ModelFile, WeightGroup, Workload
from estimator.speed import step_time_s
from estimator.tensors import model_file, model_tensors
from estimator.theory.buffers import compute_buffer_bytes
from estimator.theory.kv_cache import kv_bytes_per_cell, kv_cache_bytes, windowed_cells_per_sequence
from estimator.theory.resident import scratch_bytes
from estimator.theory.roofline import attended_cells, attention_flop, decode_bytes, decode_flop, prefill_time_s
from estimator.theory.terms import attention_tiles, chunked_positions, decode_terms, step_terms, windowed_layers
from estimator.theory.weights import (
    active_parameters,
    bytes_read_per_step,
    flop_per_row_by_type,
    matrix_flop_per_token,
    repacked_bytes,
    touched_experts,
)
from tests.estimator.examples import FILE, GROUPS, MODEL, coefficients

MIB = 2**20
# Eight experts of which a token uses two; all eight together 800,000 elements of Q4_K.
SPARSE = ModelFile(
    replace(MODEL, experts=8, experts_used=2, expert_ffn=128),
    "Q4_K_M",
    (*GROUPS, WeightGroup("expert", "Q4_K", 800_000, 450_000, 6)),
)


def test_a_batch_touches_each_expert_unless_none_of_its_rows_chose_it() -> None:
    # 8·(1 - (3/4)^rows): 2, 3.5, 4.625, ...
    assert [touched_experts(SPARSE.model, rows) for rows in (0, 1, 2, 3)] == pytest.approx([0, 2, 3.5, 4.625])
    # Qwen3 30B: 128·(1 - (15/16)^16), and (15/16)^16 is 0.35607.
    assert touched_experts(find_model("qwen3:30b"), 16) == pytest.approx(128 * (1 - 0.35607), abs=0.01)


@given(rows=st.integers(1, 10_000), more=st.integers(1, 10_000))
def test_more_rows_never_touch_fewer_experts_and_never_more_than_there_are(rows: int, more: int) -> None:
    model = find_model("deepseek-v3")
    assert touched_experts(model, rows) + 1e-9 >= 8
    assert touched_experts(model, rows) <= touched_experts(model, rows + more) <= 256


def test_a_step_reads_the_experts_that_it_touches_and_multiplies_those_that_it_chose() -> None:
    dense = 562_500 + 82_031 + 210_000
    assert bytes_read_per_step(SPARSE) == dense + 450_000 / 4
    assert bytes_read_per_step(SPARSE, 2) == dense + 450_000 * 3.5 / 8
    assert bytes_read_per_step(SPARSE, 1000) == pytest.approx(dense + 450_000)
    assert matrix_flop_per_token(SPARSE) == 2 * (1_100_000 + 200_000)
    assert flop_per_row_by_type(SPARSE) == {"Q6_K": 2 * 356_000, "Q4_K": 2 * 1_200_000}
    assert repacked_bytes(SPARSE) == 562_500 + 450_000


def test_decode_of_a_mixture_reads_more_experts_with_more_sequences() -> None:
    one, three = Workload(10, 2), Workload(10, 2, concurrency=3)
    assert decode_bytes(SPARSE, one, 11) == decode_bytes(FILE, one, 11) + 450_000 * 2 / 8
    assert decode_bytes(SPARSE, three, 11) == decode_bytes(FILE, three, 11) + 450_000 * 4.625 / 8
    assert decode_flop(SPARSE, three, 11) == decode_flop(FILE, three, 11) + 3 * 400_000
    sparse_flop, dense_flop = (prefill_time_s(file, one, math.inf, 1.0) for file in (SPARSE, FILE))
    assert sparse_flop == dense_flop + 10 * 400_000


def test_the_terms_of_a_pass_count_the_share_of_experts_that_a_token_uses() -> None:
    assert step_terms(SPARSE, 1, 0)["weights.Q4_K"] == 562_500 + 112_500
    # 37 rows: two blocks of 16 and five left over.
    terms = step_terms(SPARSE, 37, 0)
    assert terms["matmul.Q4_K"] == 2 * 1_200_000 * 32
    assert terms["matmul_rest.Q4_K"] == 2 * 1_200_000 * 5


def test_a_calibrated_step_of_several_sequences_reads_the_experts_that_they_touch() -> None:
    speed = coefficients().speed
    terms = decode_terms(SPARSE, Workload(10, 2, concurrency=2))
    extra = step_time_s(SPARSE, terms, 2, speed) - step_time_s(FILE, decode_terms(FILE, Workload(10, 2)), 2, speed)
    # 1e-10 s a byte for reading, 1e-11 s a FLOP for two rows of 2.4 MFLOP: reading is 75.9 µs, multiplying 48 µs.
    assert extra == pytest.approx(max(759_375e-10, 48e-6) - max(562_500e-10, 40e-6))


@pytest.mark.parametrize(
    ("name", "active"),
    [
        # All but six of eight experts: 46,702,792,704 - 6 experts x 32 layers x 3 x 4096 x 14336.
        ("mixtral", 46_702_792_704 - 6 * 32 * 3 * 4096 * 14336),
        # 30,532,122,624 - 120 experts x 48 layers x 3 x 2048 x 768.
        ("qwen3:30b", 30_532_122_624 - 120 * 48 * 3 * 2048 * 768),
    ],
)
def test_active_parameters_leave_out_the_experts_that_a_token_does_not_choose(name: str, active: int) -> None:
    assert active_parameters(model_file(find_model(name), "F16")) == active


@pytest.mark.parametrize(
    ("name", "billions"), [("mixtral", 12.9), ("mixtral:8x22b", 39.1), ("qwen3:30b", 3.35), ("qwen3:235b", 22.2)]
)
def test_active_parameters_are_those_that_the_publishers_quote(name: str, billions: float) -> None:
    assert active_parameters(model_file(find_model(name), "F16")) / 1e9 == pytest.approx(billions, abs=0.06)


def test_the_latent_of_deepseek_v3_takes_1152_bytes_a_token_and_layer_whatever_its_heads() -> None:
    model = find_model("deepseek-v3")
    assert kv_bytes_per_cell(model) == (512 + 64) * 2
    assert kv_cache_bytes(model, Workload(1, 1, context_tokens=8192)) == 61 * 8192 * 1152
    assert kv_bytes_per_cell(model, "Q8_0") == 576 * 34 / 32
    # As multi-head attention it would be 128 x (192 + 128) x 2 bytes.
    unpacked = replace(model, kv_lora_rank=0, rope_length=0)
    assert kv_bytes_per_cell(unpacked) == 81_920


def test_queries_meet_the_latent_itself_in_deepseek() -> None:
    model = find_model("deepseek-v2")
    # 27 layers x 16 heads x 2 x (576 + 512) FLOP x (10 x 20 + 55) positions.
    assert attention_flop(model, 10, 20) == 27 * 16 * 2 * 1088 * 255


def test_deepseek_v3_has_three_dense_layers_and_a_shared_expert_in_each_of_the_rest() -> None:
    model = find_model("deepseek-v3")
    assert (model.expert_layers, model.has_experts(2), model.has_experts(3)) == (58, False, True)
    shapes = {tensor.name: tensor.shape for tensor in model_tensors(model, "F16")}
    assert shapes["blk.2.ffn_down.weight"] == (18432, 7168)
    assert shapes["blk.3.ffn_down_exps.weight"] == (2048, 7168, 256)
    assert shapes["blk.3.ffn_down_shexp.weight"] == (2048, 7168)
    assert shapes["blk.3.attn_k_b.weight"] == (128, 512, 128)


def test_every_other_layer_of_llama_4_maverick_is_a_mixture() -> None:
    model = find_model("llama4:maverick")
    assert [model.has_experts(layer) for layer in range(4)] == [False, True, False, True]
    assert model.expert_layers == 24


@pytest.mark.parametrize(
    ("name", "windowed", "cells", "mebibytes"),
    [
        # Gemma 3 4B: 29 of 34 layers of 1024 + 512 cells; 4 heads x 512 x 2 bytes. Dry run: 334 MiB.
        ("gemma3:4b", 29, 1536, (5 * 8192 + 29 * 1536) * 4096 / MIB),
        # gpt-oss 20B: 12 of 24 layers of 128 + 512 cells, rounded up to 768; 8 x 128 x 2 bytes. Dry run: 210 MiB.
        ("gpt-oss:20b", 12, 768, (12 * 8192 + 12 * 768) * 2048 / MIB),
        # Command R7B: 24 of 32 layers of 4096 + 512 cells; 8 x 256 x 2 bytes. Dry run: 688 MiB.
        ("command-r7b", 24, 4608, (8 * 8192 + 24 * 4608) * 4096 / MIB),
    ],
)
def test_windowed_layers_keep_their_window_in_every_period(
    name: str, windowed: int, cells: int, mebibytes: float
) -> None:
    model, work = find_model(name), Workload(1, 1, context_tokens=8192)
    assert windowed_layers(model) == windowed
    assert windowed_cells_per_sequence(model, work) == cells
    assert kv_cache_bytes(model, work) / MIB == mebibytes
    assert mebibytes in (334, 210, 688)


def test_a_chunk_sees_nothing_of_the_chunks_before_it() -> None:
    # Chunks of 4: positions 0, 1, 2, ... see 1, 2, 3, 4, 1, 2, 3, 4, 1, 2.
    assert chunked_positions(10, 0, 4) == 23
    assert chunked_positions(4, 3, 4) == 4 + 1 + 2 + 3
    # 12 of Scout's 48 layers see all 10,001 positions, 36 the 10,001 - 8,192 of their chunk.
    assert attended_cells(find_model("llama4:scout"), 1, 10_000) == 12 * 10_001 + 36 * 1809
    assert attention_tiles(64, 128, 128, chunked=True) == 1
    assert attention_tiles(64, 128, 128) == 3


@given(batch=st.integers(1, 500), past=st.integers(0, 500), chunk=st.integers(1, 300))
def test_chunks_attend_to_what_adding_up_one_by_one_gives(batch: int, past: int, chunk: int) -> None:
    assert chunked_positions(batch, past, chunk) == sum((past + row) % chunk + 1 for row in range(batch))


@pytest.mark.parametrize(
    ("name", "elements", "mebibytes"),
    [
        # Each: 5 x hidden + the widest, by 512 rows of 4 bytes; dry runs in MiB.
        ("mixtral", 5 * 4096 + 3 * 2 * 14336, 208.52),
        ("qwen3:30b", 5 * 2048 + (2 * 8 + 1) * 2048, 88.52),
        ("deepseek-v2", 5 * 2048 + 3 * 10944, 84.64),
        ("deepseek-v3", 5 * 7168 + 128 * (192 + 512 + 576 + 64), 406.51),
        ("falcon:40b", 5 * 8192 + 32768, 144.52),
    ],
)
def test_the_compute_buffer_is_the_widest_of_dense_experts_and_attention(
    name: str, elements: int, mebibytes: float
) -> None:
    expected = 512 * (4 * elements + 2 * 512 + 36)
    assert compute_buffer_bytes(find_model(name), Workload(1, 1, context_tokens=512)) == expected
    assert expected / MIB == pytest.approx(mebibytes, abs=0.011)


def test_the_experts_sum_waits_while_the_shared_expert_works() -> None:
    # Llama 4 Scout: 5·hidden + hidden + 3·shared; two masks of 512 cells. The dry run says 109.03 MiB.
    expected = 512 * (4 * (6 * 5120 + 3 * 8192) + 2 * (2 * 512 + 36))
    assert compute_buffer_bytes(find_model("llama4:scout"), Workload(1, 1, context_tokens=512)) == expected
    assert expected / MIB == pytest.approx(109.03, abs=0.01)


def test_the_scratch_holds_what_a_token_gives_its_experts() -> None:
    assert scratch_bytes(find_model("mixtral"), Workload(512, 1)) == 512 * 2 * 14336 * 34 / 32


def test_small_matrices_of_the_eight_expert_mixtral_keep_more_bits() -> None:
    kinds = {tensor.name: tensor.quant_type for tensor in model_tensors(find_model("mixtral"), "Q4_K_M")}
    assert kinds["blk.9.attn_k.weight"] == kinds["blk.9.attn_v.weight"] == "Q8_0"
    assert kinds["blk.9.attn_output.weight"] == "Q5_K"
    assert kinds["blk.9.ffn_gate_inp.weight"] == "F32"
    assert (kinds["blk.9.ffn_down_exps.weight"], kinds["blk.0.ffn_down_exps.weight"]) == ("Q6_K", "Q6_K")
    assert kinds["blk.4.ffn_down_exps.weight"] == "Q4_K"


def test_mxfp4_is_for_experts_and_everything_else_is_q8() -> None:
    kinds = {tensor.name: tensor.quant_type for tensor in model_tensors(find_model("gpt-oss"), "MXFP4_MOE")}
    assert kinds["blk.0.ffn_up_exps.weight"] == "MXFP4"
    assert kinds["blk.0.attn_q.weight"] == kinds["output.weight"] == kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.attn_sinks.weight"] == kinds["blk.0.ffn_up_exps.bias"] == "F32"


def test_falcon_keeps_its_head_at_q8_and_its_first_layers_at_q6() -> None:
    kinds = {tensor.name: tensor.quant_type for tensor in model_tensors(find_model("falcon:40b"), "Q4_K_M")}
    assert kinds["output.weight"] == "Q8_0"
    assert [kinds[f"blk.{layer}.ffn_down.weight"] for layer in (0, 3, 8, 9)] == ["Q6_K", "Q5_K", "Q4_K", "Q5_K"]
