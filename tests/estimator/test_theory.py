"""Roofline, textbook and costs against numbers computed by hand or quoted."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.catalog import find_model
from estimator.errors import EstimatorError, UnknownName
from estimator.specs import Workload
from estimator.tensors import model_file
from estimator.theory import cost, textbook
from estimator.theory.roofline import (
    attended_cells,
    attention_flop,
    decode_bytes,
    decode_flop,
    prefill_time_s,
    time_per_token_s,
)
from tests.estimator.examples import FILE, MODEL, WINDOWED

MISTRAL = find_model("mistral:7b")
GB = 1e9


def test_prefill_flop_is_two_per_weight_and_token_plus_the_head_once_plus_attention() -> None:
    # Attention: 2 layers x 4 heads x 256 FLOP x (10 x 20 + 10 x 11 / 2) positions.
    work = Workload(prompt_tokens=10, output_tokens=1, depth_tokens=20)
    flop = 2_200_000 * 10 + 512_000 + 2 * 4 * 256 * (200 + 55)
    assert prefill_time_s(FILE, work, math.inf, 1.0) == flop


def test_attention_flop_is_the_textbook_term_without_windows() -> None:
    past, new = 30, 40
    assert attention_flop(MODEL, new, past) == 4 * 2 * 4 * 64 * (past * new + new * (new + 1) // 2)


def test_a_windowed_layer_attends_within_its_window() -> None:
    # One layer of three sees all 1001 positions, two see 100.
    assert attended_cells(WINDOWED, 1, 1000) == 1001 + 2 * 100


def test_prefill_takes_the_larger_bound_of_each_micro_batch() -> None:
    work = Workload(prompt_tokens=600, output_tokens=1)
    flop = 2_200_000 * 600 + 512_000 + 2 * 4 * 256 * (600 * 601 // 2)
    assert prefill_time_s(FILE, work, 1e30, 1e9) == pytest.approx(flop / 1e9)
    # Bytes: matrices twice, head once, KV of 512 and of 600 positions (2 layers x 512 bytes each).
    read = 2 * (562_500 + 82_031) + 210_000 + (512 + 600) * 2 * 512
    assert prefill_time_s(FILE, work, 1e9, 1e30) == pytest.approx(read / 1e9)


def test_a_decode_step_reads_the_weights_once_and_the_cache_of_each_sequence() -> None:
    work = Workload(prompt_tokens=10, output_tokens=2, concurrency=3)
    assert decode_bytes(FILE, work, 11) == 854_531 + 3 * 11 * 2 * 512
    assert decode_flop(FILE, work, 11) == 3 * (2_200_000 + 512_000 + 2 * 4 * 256 * 11)
    assert time_per_token_s(FILE, work, 1e9, None) == pytest.approx(decode_bytes(FILE, work, 11) / 1e9)
    assert time_per_token_s(FILE, work, 1e9, 1e6) == pytest.approx(decode_flop(FILE, work, 11) / 1e6)


def test_decode_is_taken_at_the_mean_context() -> None:
    work = Workload(prompt_tokens=10, output_tokens=102)
    assert time_per_token_s(FILE, work, 1e9, None) == pytest.approx(decode_bytes(FILE, work, 61) / 1e9)


@given(depth=st.integers(0, 5000), more=st.integers(1, 5000), windowed=st.booleans())
def test_a_deeper_context_is_never_faster(depth: int, more: int, windowed: bool) -> None:
    file = replace(FILE, model=WINDOWED) if windowed else FILE
    near, far = (Workload(64, 16, depth_tokens=tokens) for tokens in (depth, depth + more))
    assert time_per_token_s(file, near, 1e10, 1e11) <= time_per_token_s(file, far, 1e10, 1e11)
    assert prefill_time_s(file, near, 1e10, 1e11) <= prefill_time_s(file, far, 1e10, 1e11)


@pytest.mark.parametrize(("precision", "expected_gb"), [("FP16", 14.6), ("INT8", 7.3), ("INT4", 3.65)])
def test_the_textbook_sizes_of_mistral_7b_are_reproduced(precision: str, expected_gb: float) -> None:
    assert textbook.model_bytes(7.3e9, precision) / GB == pytest.approx(expected_gb)


@pytest.mark.parametrize(("billions", "fp16_gb"), [(3, 6), (7, 14), (13, 26), (30, 60), (70, 140)])
def test_the_textbook_size_table_is_reproduced(billions: int, fp16_gb: int) -> None:
    parameters = billions * 1e9
    assert textbook.model_bytes(parameters, "FP32") == 2 * fp16_gb * GB
    assert textbook.model_bytes(parameters, "FP16") == fp16_gb * GB
    assert textbook.model_bytes(parameters, "INT8") == fp16_gb * GB / 2
    assert textbook.model_bytes(parameters, "INT4") == fp16_gb * GB / 4


def test_the_textbook_cache_of_mistral_counts_all_32_heads() -> None:
    assert (MISTRAL.layers, MISTRAL.heads, MISTRAL.key_length, MISTRAL.vocabulary) == (32, 32, 128, 32_000)
    assert textbook.kv_bytes(MISTRAL, 8192) == 2 * 32 * 32 * 128 * 8192 * 1 * 2 == 4 * 2**30
    assert textbook.kv_bytes(MISTRAL, 100, batch=3, bytes_per_element=1) == 2 * 32 * 32 * 128 * 100 * 3


def test_the_textbook_total_has_a_margin_of_a_fifth() -> None:
    assert textbook.total_bytes(14.6e9, 4.4e9) == pytest.approx(22.8e9)


def test_the_textbook_adds_compute_time_and_memory_time() -> None:
    assert textbook.local_latency_s(2e12, 1e12, 50e9, 25e9, overhead_s=0.5) == 2 + 2 + 0.5
    assert textbook.api_latency_s(0.2, 1.3) == 1.5
    file = model_file(MISTRAL, "F16")
    work = Workload(prompt_tokens=100, output_tokens=28)
    weights = 2 * 7_241_732_096
    assert textbook.prefill_latency_s(file, work, 1e10, 1e12) == pytest.approx(weights * 100 / 1e12 + weights / 1e10)
    accessed = weights + textbook.kv_bytes(MISTRAL, 128)
    assert textbook.token_latency_s(file, work, 1e10, 1e12) == pytest.approx(weights / 1e12 + accessed / 1e10)


def test_the_quoted_api_prices_are_reproduced() -> None:
    assert textbook.api_cost_usd("GPT-4", 1000, 0) == 0.03
    assert textbook.api_cost_usd("GPT-4", 0, 1000) == 0.06
    assert textbook.api_cost_usd("GPT-4 Turbo", 1000, 0) == 0.01
    assert textbook.api_cost_usd("GPT-4 Turbo", 0, 1000) == 0.03
    with pytest.raises(UnknownName, match="choose one of GPT-4, GPT-4 Turbo"):
        textbook.api_cost_usd("GPT-9", 1, 1)


def test_the_quoted_instance_prices_are_reproduced_with_their_source() -> None:
    tables = textbook.prices()
    assert tables["instance_usd_per_hour"] == {"g4dn.xlarge": 0.526, "g5.xlarge": 1.006, "p3.2xlarge": 3.06}
    assert tables["instance_usd_per_month"] == {"n1-standard-4 + T4": 200.0, "n1-standard-8 + V100": 1200.0}
    assert tables["source"] == "project brief"


def test_the_textbook_local_cost_is_wear_and_electricity() -> None:
    assert textbook.local_cost_usd(2000, 10_000, 5, 0.3, 0.2) == pytest.approx(2000 / 10_000 * 5 + 0.3 * 0.2 * 5)


def test_the_textbook_refuses_a_type_that_it_has_no_word_for() -> None:
    assert [textbook.precision_of(quant) for quant in ("F16", "Q8_0", "Q4_K_M")] == ["FP16", "INT8", "INT4"]
    with pytest.raises(EstimatorError, match="no bytes per parameter for Q6_K"):
        textbook.precision_of("Q6_K")
    with pytest.raises(UnknownName, match="no precision 'FP8'"):
        textbook.model_bytes(1, "FP8")


def test_renting_pays_for_idle_hours_too() -> None:
    assert cost.rented_usd(3.6, 10) == pytest.approx(0.01)
    assert cost.rented_usd(3.6, 10, utilisation=0.25) == pytest.approx(0.04)


def test_electricity_is_energy_times_its_price() -> None:
    assert cost.electricity_usd(500, 7200, 0.30) == pytest.approx(0.30)


def test_hardware_wears_by_the_hour() -> None:
    assert cost.hardware_usd(1000, 1e6, 500) == pytest.approx(0.5)


def test_a_price_per_million_tokens_and_the_load_that_breaks_even() -> None:
    assert cost.usd_per_million_tokens(0.002, 1000) == pytest.approx(2.0)
    assert cost.break_even_tokens_per_day(1.0, 10.0) == pytest.approx(2.4e6)
