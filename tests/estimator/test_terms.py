"""The physical terms, counted by hand on the toy of examples.py."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.specs import Workload
from estimator.theory.terms import (
    TERMS,
    attended_positions,
    attention_tiles,
    decode_terms,
    prefill_terms,
    shown,
    step_terms,
    term,
    windowed_layers,
)
from tests.estimator.examples import FILE, MODEL, WINDOWED


def test_a_single_token_reads_matrices_and_head_but_not_the_embedding() -> None:
    terms = step_terms(FILE, 1, 99)
    assert terms["weights.Q4_K"] == 562_500
    assert terms["weights.Q6_K"] == 82_031 + 210_000
    assert not [name for name in terms if name.startswith("matmul")]


def test_a_batch_multiplies_matrices_in_blocks_of_16_rows_and_reads_the_head_once() -> None:
    terms = step_terms(FILE, 35, 0)
    assert terms["matmul.Q4_K"] == 2 * 1_000_000 * 32
    assert terms["matmul_rest.Q4_K"] == 2 * 1_000_000 * 3
    assert terms["matmul.Q6_K"] == 2 * 100_000 * 32
    assert terms["weights.Q6_K"] == 210_000
    assert "weights.Q4_K" not in terms


def test_a_pass_without_output_leaves_the_head_alone() -> None:
    assert "weights.Q6_K" not in step_terms(FILE, 35, 0, output=False)


def test_decode_attention_counts_every_position_of_every_head_and_layer() -> None:
    terms = step_terms(FILE, 1, 99)
    assert terms["attention.decode"] == 2 * 4 * 100
    assert terms["attention.decode_flop"] == 2 * 4 * 100 * 2 * (64 + 64)


def test_a_short_batch_attends_causally_row_by_row() -> None:
    # past 10, three queries: 11 + 12 + 13 positions.
    assert step_terms(FILE, 3, 10)["attention.row"] == 2 * 4 * 36


def test_a_long_batch_attends_in_tiles_of_64_and_skips_what_is_masked() -> None:
    # 128 queries without past: the first 64 see one tile, the others two.
    assert step_terms(FILE, 128, 0)["attention.tiled_flop"] == 2 * 4 * 3 * 64 * 64 * 2 * (64 + 64)
    # 100 queries after 10: positions up to 74 are two tiles, up to 110 are two.
    assert attention_tiles(100, 10) == 4


def test_what_does_not_depend_on_weights_is_counted_per_pass() -> None:
    terms = step_terms(FILE, 5, 0)
    assert (terms["vector"], terms["layer"], terms["step"]) == (2 * 256 * 5, 2, 1)


def test_a_prompt_is_the_sum_of_its_micro_batches_with_one_head_row_and_one_request() -> None:
    terms = prefill_terms(FILE, Workload(prompt_tokens=600, output_tokens=1, depth_tokens=50))
    first, second = step_terms(FILE, 512, 50, output=False), step_terms(FILE, 88, 562)
    assert terms == {
        "request": 1.0,
        **{name: first.get(name, 0.0) + second.get(name, 0.0) for name in first | second},
    }
    assert terms["step"] == 2
    assert terms["weights.Q6_K"] == 210_000


@given(depth=st.integers(0, 3000), prompt=st.integers(1, 3000), output=st.integers(2, 200), windowed=st.booleans())
def test_decode_is_the_mean_of_the_steps_after_the_first_token(
    depth: int, prompt: int, output: int, windowed: bool
) -> None:
    file = replace(FILE, model=WINDOWED if windowed else MODEL)
    steps = [step_terms(file, 1, depth + prompt + step) for step in range(output - 1)]
    found = decode_terms(file, Workload(prompt, output, depth))
    assert found == pytest.approx({name: sum(step[name] for step in steps) / len(steps) for name in steps[0]})


def test_one_output_token_is_answered_as_if_a_second_followed() -> None:
    assert decode_terms(FILE, Workload(10, 1)) == decode_terms(FILE, Workload(10, 2)) == step_terms(FILE, 1, 10)


def test_windowed_layers_are_those_that_the_period_leaves() -> None:
    assert windowed_layers(MODEL) == 0
    assert windowed_layers(WINDOWED) == 2  # layers 0 and 2 of three, period 2


@given(batch=st.integers(1, 300), past=st.integers(0, 500), window=st.none() | st.integers(1, 400))
def test_attended_positions_are_the_sum_over_queries(batch: int, past: int, window: int | None) -> None:
    each = [past + query if window is None else min(past + query, window) for query in range(1, batch + 1)]
    assert attended_positions(batch, past, window) == sum(each)


@given(batch=st.integers(64, 600), past=st.integers(0, 700), window=st.none() | st.integers(1, 400))
def test_tiles_are_those_that_hold_a_pair_which_is_not_masked(batch: int, past: int, window: int | None) -> None:
    reach = 10**9 if window is None else window
    tiles = {
        (query // 64, position // 64)
        for query in range(batch)
        for position in {past + query, max(0, past + query + 1 - reach)}
    }
    full = {
        (row, column)
        for row in {row for row, _ in tiles}
        for column in range(
            min(column for r, column in tiles if r == row), 1 + max(column for r, column in tiles if r == row)
        )
    }
    assert attention_tiles(batch, past, window) == len(full)


@pytest.mark.parametrize(
    ("name", "seconds_per_unit", "expected"),
    [
        ("weights.Q4_K", 5e-11, "20 GB/s"),
        ("matmul.Q6_K", 1e-11, "100 GFLOP/s"),
        ("layer", 4.1e-6, "4.1 µs"),
        ("attention.decode", 2e-9, "2 ns"),
        ("vector", 0.0, "free"),
    ],
)
def test_a_coefficient_is_shown_as_people_think_of_it(name: str, seconds_per_unit: float, expected: str) -> None:
    assert shown(name, seconds_per_unit) == expected


def test_each_counted_term_has_its_row_in_the_table() -> None:
    counted = set(prefill_terms(FILE, Workload(515, 1))) | set(step_terms(FILE, 7, 0)) | set(step_terms(FILE, 1, 0))
    assert {term(name).name for name in counted} == {row.name for row in TERMS}


def test_a_term_that_nobody_counts_has_no_row() -> None:
    with pytest.raises(KeyError):
        term("magic")
