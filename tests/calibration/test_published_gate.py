"""The physics gate of published measurements: what cannot be true or placed is left out, by name and with a reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration.errors import UnreadableResults
from calibration.published.gate import CONTRADICTED, IMPOSSIBLE, SWAPPED, gated
from calibration.published.report import gate_text
from calibration.published.rows import Row, published_rows
from estimator import catalog
from estimator.tensors import model_file
from tests.calibration.published_rows import MACHINE, row

GIB = 2**30


def reason(rows: list[Row]) -> list[str]:
    return [why for _, why in gated(rows).left_out]


def test_a_rate_within_the_roofline_is_kept() -> None:
    assert gated([row(), row("prefill", tokens_per_s=2000.0)]).left_out == []


def test_a_rate_that_reads_faster_than_the_memory_is_left_out_by_name() -> None:
    """3.75 GB of weights a token from 1 TB/s: 266.6 tokens a second at most."""
    gate = gated([row(tokens_per_s=260.0), row(tokens_per_s=275.0)])
    assert [entry.tokens_per_s for entry, _ in gate.left_out] == [275.0]
    assert "A card, CUDA, Llama-2-7B Q4_0, tg128, 275 tok/s: reads faster than its memory" in gate_text(gate)


def test_a_prefill_beyond_the_arithmetic_units_is_left_out() -> None:
    """13 GFLOP a token at 100 TFLOP/s: 7,721 tokens a second, a tenth more for clocks."""
    assert reason([row("prefill", tokens_per_s=8200.0)]) == []
    assert reason([row("prefill", tokens_per_s=8500.0)]) == [IMPOSSIBLE[1]]


def test_quantised_prefill_may_run_on_8_bit_integers_where_there_are_no_matrix_units() -> None:
    old = replace(MACHINE, matrix_units=False, compute_flop_per_s=1e13, fp32_flop_per_s=1e13)
    assert reason([row("prefill", "Q4_0", 2500.0, old)]) == []
    assert reason([row("prefill", "F16", 2500.0, old)]) == [IMPOSSIBLE[1]]


def test_f16_prefill_far_below_the_quantised_one_contradicts_it() -> None:
    assert reason([row("prefill", "Q4_0", 4000.0), row("prefill", "F16", 1900.0)]) == [CONTRADICTED]
    assert reason([row("prefill", "Q4_0", 4000.0), row("prefill", "F16", 2100.0)]) == []


def test_what_metal_cannot_keep_in_its_share_of_the_memory_swaps() -> None:
    apple = replace(MACHINE, back_end="Metal")
    assert reason([replace(row("prefill", "Q4_0", 900.0, apple), memory_bytes=4 * GIB)]) == [SWAPPED]
    assert reason([replace(row("prefill", "Q4_0", 900.0, apple), memory_bytes=8 * GIB)]) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"engine": "ik_llama.cpp (llama-bench)"}, "another engine"),
        ({"file": None}, "shape is in no catalogue"),
        ({"machine": None}, "figures are not known"),
        ({"machine": replace(MACHINE, fp32_flop_per_s=None)}, "FP32 rate nobody has published"),
        ({"machine_name": "A100 80GB (form factor unknown)"}, "one of several machines"),
        ({"back_end": "CPU", "threads": 2}, "not the whole CPU"),
        ({"quant": "4bit"}, "no GGUF file"),
    ],
)
def test_what_cannot_be_placed_is_left_out_with_the_reason(changed: dict[str, object], words: str) -> None:
    (why,) = reason([replace(row(), **changed)])  # type: ignore[arg-type]
    assert words in why


def test_mixtures_of_experts_are_kept_apart_for_a_test() -> None:
    experts = replace(row(tokens_per_s=50.0), file=model_file(catalog.find_model("mixtral:8x7b"), "Q4_0"))
    gate = gated([experts])
    assert (gate.kept, gate.mixtures, gate.left_out) == ([], [experts], [])


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnreadableResults, match="cannot read published measurements") as raised:
        published_rows(tmp_path)
    assert raised.value.exit_status == 7
    (tmp_path / "models.toml").write_text("model = []", "utf-8")
    (tmp_path / "throughput.csv").write_text("source,shape\na,\n", "utf-8")
    with pytest.raises(UnreadableResults, match="cannot read published measurements"):
        published_rows(tmp_path)
