"""The answer: calibrated arithmetic by hand, intervals, fallbacks and warnings."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator import predict
from estimator.catalog import models
from estimator.coefficients import Coefficients, FittedMachine, HeldOut, speed_coefficient
from estimator.errors import EstimatorError
from estimator.plain import to_plain
from estimator.prices import Prices
from estimator.render import answer_text, duration, models_text, size
from estimator.specs import Hardware, ModelFile, Workload
from estimator.tensors import MIXTURES, model_file
from estimator.theory.roofline import prefill_time_s, time_per_token_s
from tests.estimator.examples import FILE, HARDWARE, MODEL, WORK, coefficients

# 512 prompt tokens in one micro-batch: 8 x 9 / 2 tiles of 64 x 64 in 8 heads of 256 FLOP.
PREFILL_S = (
    2 * 1_000_000 * 512 * 1e-11
    + 2 * 100_000 * 512 * 2e-11
    + 210_000 * 2e-10
    + 8 * 36 * 64 * 64 * 256 * 1e-11
    + 2 * 1e-5
    + 1e-4
    + 1e-2
)
# 128 steps at 513 to 640 positions: 576.5 on average, in 8 heads.
WEIGHTS_S = 562_500 * 1e-10 + (82_031 + 210_000) * 2e-10
ATTENTION_S = 8 * 576.5 * 1e-9
STEP_S = WEIGHTS_S + ATTENTION_S + 2 * 1e-5 + 1e-4


def test_calibrated_times_are_prices_times_amounts() -> None:
    speed = predict(FILE, WORK, HARDWARE, coefficients()).speed
    assert speed["ttft_s"].value == pytest.approx(PREFILL_S)
    assert speed["time_per_token_s"].value == pytest.approx(STEP_S)
    assert speed["end_to_end_s"].value == pytest.approx(PREFILL_S + 128 * STEP_S)
    assert speed["prefill_tokens_per_s"].value == pytest.approx(512 / PREFILL_S)
    assert speed["decode_tokens_per_s"].value == pytest.approx(1 / STEP_S)
    assert {quantity.basis for quantity in speed.values()} == {"calibrated"}
    assert "throughput_tokens_per_s" not in speed


def test_theory_stands_beside_the_calibrated_value() -> None:
    speed = predict(FILE, WORK, HARDWARE, coefficients()).speed
    assert speed["ttft_s"].theory == pytest.approx(prefill_time_s(FILE, WORK, 10e9, 100e9))
    assert speed["time_per_token_s"].theory == pytest.approx(time_per_token_s(FILE, WORK, 10e9, 100e9))


def test_intervals_come_from_held_out_errors_and_turn_around_for_rates() -> None:
    speed = predict(FILE, WORK, HARDWARE, coefficients()).speed
    time, rate = speed["time_per_token_s"], speed["decode_tokens_per_s"]
    assert [time.low, time.high] == pytest.approx([0.9 * STEP_S, 1.2 * STEP_S])
    assert [rate.low, rate.high] == pytest.approx([1 / (1.2 * STEP_S), 1 / (0.9 * STEP_S)])
    assert speed["end_to_end_s"].high == pytest.approx(1.2 * (PREFILL_S + 128 * STEP_S))


def test_without_held_out_errors_there_is_no_interval_and_the_answer_says_why() -> None:
    answer = predict(FILE, WORK, HARDWARE, coefficients(held_out={"decode": HeldOut(0.1, 0.2, 2)}))
    assert answer.speed["time_per_token_s"].low is None
    assert any(
        warning.startswith("no interval for prefill, decode, memory_anonymous, memory_file")
        for warning in answer.warnings
    )


def test_memory_is_the_buffers_plus_what_calibration_found_beyond_them() -> None:
    answer = predict(FILE, WORK, HARDWARE, coefficients())
    memory = answer.memory
    assert memory["weights_bytes"].value == FILE.weight_bytes
    assert memory["repacked_bytes"].value == 562_500
    assert memory["kv_cache_bytes"].value == 768 * 2 * 512
    # Beyond theory: constant, 1000 entries, 21 tensors, 512 rows; theory: scratch of 512 rows of the feed-forward,
    # 12,000 bytes of candidates, and 16,000 bytes that lie in room which the loader freed.
    fitted = 20e6 + 100 * 1000 + 1000 * 21 + 10 * 512
    assert memory["runtime_bytes"].value == fitted + 512 * 512 * 34 / 32 + 12_000 - 16_000
    assert memory["compute_bytes"].theory == (memory["compute_bytes"].value or 0) + 2 * 4 * 512 * MODEL.hidden
    assert memory["runtime_bytes"].theory is None
    anonymous, total = memory["anonymous_bytes"], memory["total_bytes"]
    assert anonymous.value == sum(
        memory[f"{name}_bytes"].value or 0 for name in ("repacked", "kv_cache", "compute", "output", "runtime")
    )
    assert total.value == anonymous.value + FILE.weight_bytes + 10e6
    assert anonymous.high == pytest.approx(1.05 * anonymous.value)
    assert total.high == pytest.approx(1.05 * total.value)
    # The verdict stands on what is planned, with a row of activations and 64 MiB for what its allocator leaves free.
    planned = anonymous.value - (memory["compute_bytes"].value or 0) + (memory["compute_bytes"].theory or 0)
    assert answer.fit.anonymous_bytes == planned + 4 * 512 * MODEL.hidden + 64 * 2**20 > 1.05 * anonymous.value


def test_without_coefficients_the_answer_is_theory_and_says_so() -> None:
    answer = predict(FILE, WORK, HARDWARE)
    assert {quantity.basis for quantity in answer.speed.values()} == {"theory"}
    assert answer.speed["ttft_s"].value == answer.speed["ttft_s"].theory
    assert answer.calibration is None
    assert answer.warnings[0].startswith("no coefficients: theory only")


def test_without_rates_theory_is_unknown_rather_than_guessed() -> None:
    unknown = replace(HARDWARE, bandwidth_bytes_per_s=None, compute_flop_per_s=None)
    answer = predict(FILE, WORK, unknown)
    assert {(quantity.value, quantity.basis) for quantity in answer.speed.values()} == {(None, "unknown")}
    assert any("--bandwidth 25GB/s" in warning for warning in answer.warnings)
    only_bandwidth = predict(FILE, WORK, replace(unknown, bandwidth_bytes_per_s=1e10)).speed
    assert only_bandwidth["ttft_s"].value is None
    assert only_bandwidth["time_per_token_s"].value is not None


def test_a_weight_type_that_was_never_measured_falls_back_to_theory_by_phase() -> None:
    speed = {name: price for name, price in coefficients().speed.items() if name != "matmul.Q6_K"}
    answer = predict(FILE, WORK, HARDWARE, coefficients(speed=speed))
    assert answer.speed["ttft_s"].basis == "theory"
    assert answer.speed["ttft_s"].low is None
    assert answer.speed["time_per_token_s"].basis == "calibrated"
    assert answer.speed["end_to_end_s"].basis == "theory"
    assert answer.warnings[0].startswith("never measured: matmul.Q6_K; ")


def test_an_attention_kernel_that_was_never_measured_falls_back_too() -> None:
    answer = predict(FILE, Workload(48, 10), HARDWARE, coefficients())
    assert answer.speed["ttft_s"].basis == "theory"
    assert "attention.row" in answer.warnings[0]


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (Workload(2000, 10), "2,000 prompt tokens, measured were 64 to 1,024"),
        (Workload(100, 10, depth_tokens=3000), "3,110 tokens in the cache, measured were 0 to 2,048"),
        (Workload(100, 10, concurrency=2), "2 concurrent requests, measured were 1 to 1"),
    ],
)
def test_a_question_outside_what_was_measured_is_warned_about(work: Workload, what: str) -> None:
    warnings = predict(FILE, work, HARDWARE, coefficients()).warnings
    assert f"extrapolated: {what}" in warnings


def test_other_circumstances_than_the_measured_ones_are_warned_about() -> None:
    other = coefficients(machine=FittedMachine("Other CPU", 8, 2**35))
    work = replace(WORK, kv_type="Q8_0", flash_attention=False, context_tokens=8192)
    text = "\n".join(predict(FILE, work, HARDWARE, other).warnings)
    for expected in ("another machine (Other CPU)", "with Q8_0 attention differs", "without it", "exceed the 4,096"):
        assert expected in text


def test_a_question_inside_what_was_measured_has_no_warning() -> None:
    assert predict(FILE, WORK, HARDWARE, coefficients()).warnings == ()


def test_a_batch_of_sequences_shares_the_weights_but_not_the_attention() -> None:
    answer = predict(FILE, replace(WORK, concurrency=2), HARDWARE, coefficients())
    # Two rows of Q4_K: 562,500 bytes take 56 µs, 4 MFLOP 40 µs; of Q6_K: bytes 58 µs, 1.424 MFLOP 28 µs.
    step = WEIGHTS_S + 2 * ATTENTION_S + 2 * 1e-5 + 1e-4
    assert answer.speed["time_per_token_s"].value == pytest.approx(step)
    assert answer.speed["throughput_tokens_per_s"].value == pytest.approx(2 / step)
    assert answer.speed["ttft_s"].value == pytest.approx(2 * PREFILL_S)


def test_a_large_batch_is_bound_by_its_products() -> None:
    answer = predict(FILE, replace(WORK, concurrency=32), HARDWARE, coefficients())
    products = 32 * (2 * 1_000_000 * 1e-11 + 2 * 356_000 * 2e-11)
    step = products + 32 * ATTENTION_S + 2 * 1e-5 + 1e-4
    assert answer.speed["time_per_token_s"].value == pytest.approx(step)


def test_rows_of_a_batch_after_blocks_of_16_have_the_price_of_the_rest() -> None:
    rest = {f"matmul_rest.{kind}": speed_coefficient(f"matmul_rest.{kind}", 1e-10) for kind in ("Q4_K", "Q6_K")}
    fitted = coefficients(speed=coefficients().speed | rest)
    step = predict(FILE, replace(WORK, concurrency=37), HARDWARE, fitted).speed["time_per_token_s"].value
    products = 2 * 1_000_000 * (32 * 1e-11 + 5 * 1e-10) + 2 * 356_000 * (32 * 2e-11 + 5 * 1e-10)
    assert step == pytest.approx(products + 37 * ATTENTION_S + 2 * 1e-5 + 1e-4)


def test_costs_follow_from_stated_prices() -> None:
    answer = predict(FILE, WORK, HARDWARE, coefficients(), prices=Prices(3.6, 100.0, 0.36))
    busy_s = PREFILL_S + 128 * STEP_S
    assert answer.cost["rented_usd"].value == pytest.approx(busy_s * 0.001)
    assert answer.cost["electricity_usd"].value == pytest.approx(busy_s * 1e-5)
    assert answer.cost["rented_per_million_output_tokens_usd"].value == pytest.approx(busy_s * 0.001 / 129 * 1e6)
    assert predict(FILE, WORK, HARDWARE).cost == {}


@pytest.mark.parametrize("prices", [Prices(rent_usd_per_hour=-1.0), Prices(power_w=100.0)])
def test_prices_that_make_no_sense_are_refused(prices: Prices) -> None:
    with pytest.raises(EstimatorError):
        predict(FILE, WORK, HARDWARE, prices=prices)


def test_the_textbook_answers_with_its_own_formulas_and_a_warning() -> None:
    answer = predict(replace(FILE, quant="Q4_0"), WORK, HARDWARE, coefficients(), formulas="textbook")
    assert answer.memory["weights_bytes"].value == 5e6
    assert answer.memory["kv_cache_bytes"].value == 2 * 2 * 4 * 64 * 641 * 2
    assert answer.memory["total_bytes"].value == pytest.approx(1.2 * (5e6 + 2 * 2 * 4 * 64 * 641 * 2))
    assert answer.speed["ttft_s"].value == pytest.approx(2 * 1e7 * 512 / 100e9 + 5e6 / 10e9)
    assert answer.warnings[0].startswith("textbook formulas")


def test_the_textbook_multiplies_the_cache_and_the_work_with_the_batch_and_knows_other_caches() -> None:
    work = replace(WORK, concurrency=8, context_tokens=1000, kv_type="Q8_0")
    answer = predict(replace(FILE, quant="Q4_0"), work, HARDWARE, formulas="textbook")
    assert answer.memory["kv_cache_bytes"].value == 2 * 2 * 4 * 64 * 1000 * 8 * 1
    accessed = 5e6 + 2 * 2 * 4 * 64 * 641 * 8 * 1
    step = 2 * 1e7 * 8 / 100e9 + accessed / 10e9
    assert answer.speed["time_per_token_s"].value == pytest.approx(step)
    assert answer.speed["throughput_tokens_per_s"].value == pytest.approx(8 / step)


@pytest.mark.parametrize(
    "work",
    [Workload(0, 1), Workload(1, 0), Workload(1, 1, -1), Workload(1, 1, 0, 0), Workload(10, 10, context_tokens=19)],
)
def test_a_workload_that_makes_no_sense_is_refused(work: Workload) -> None:
    with pytest.raises(EstimatorError):
        predict(FILE, work, HARDWARE)


_WORKLOADS = st.builds(
    Workload,
    prompt_tokens=st.integers(1, 5000),
    output_tokens=st.integers(1, 2000),
    depth_tokens=st.integers(0, 5000),
    concurrency=st.integers(1, 40),
    flash_attention=st.booleans(),
)
_FILES = st.builds(model_file, st.sampled_from(models()), st.sampled_from(sorted(MIXTURES)))
_PRICES = Prices(1.0, 200.0, 0.3)


@given(file=_FILES, work=_WORKLOADS, known=st.none() | st.just(coefficients()))
@settings(max_examples=50)
def test_every_answer_fits_80_columns_and_goes_to_json(
    file: ModelFile, work: Workload, known: Coefficients | None
) -> None:
    answer = predict(file, work, HARDWARE, known, prices=_PRICES)
    assert max(map(len, answer_text(answer).splitlines())) <= 80
    assert json.loads(json.dumps(to_plain(answer), allow_nan=False))["model"] == file.model.name


@given(file=_FILES, work=_WORKLOADS)
@settings(max_examples=50)
def test_every_interval_encloses_its_value(file: ModelFile, work: Workload) -> None:
    answer = predict(file, work, HARDWARE, coefficients(), prices=_PRICES)
    for quantity in (*answer.speed.values(), *answer.memory.values(), *answer.cost.values()):
        assert quantity.value is not None
        assert quantity.value >= 0
        if quantity.low is not None and quantity.high is not None:
            assert quantity.low <= quantity.value <= quantity.high


def test_the_table_shows_theory_calibrated_value_interval_and_basis() -> None:
    lines = answer_text(predict(FILE, WORK, HARDWARE, coefficients())).splitlines()
    row = next(line for line in lines if line.startswith("time per output token"))
    assert row.split()[-1] == "calibrated"
    assert duration(STEP_S) in row
    assert f"{duration(0.9 * STEP_S)} .. {duration(1.2 * STEP_S)}" in row
    assert any(line.startswith("fits: yes") for line in lines)


def test_a_machine_that_is_too_small_is_told_so() -> None:
    tiny = Hardware("Test CPU", 2**20, 2**20, None, None, "stated")
    text = answer_text(predict(FILE, WORK, tiny, coefficients()))
    assert "fits: no; memory that cannot be evicted exceeds" in text


def test_sizes_and_durations_read_well() -> None:
    assert (size(2**30), size(2**29), size(-(2**31))) == ("1.00 GiB", "512 MiB", "-2.00 GiB")
    assert (duration(0.0123), duration(12.345), duration(1234.5)) == ("12.3 ms", "12.35 s", "1,234 s")


def test_the_catalogue_is_one_line_a_model() -> None:
    assert len(models_text(models()).splitlines()) == 1 + len(models())
