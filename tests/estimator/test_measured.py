"""A user's llama-bench results: read in all its formats, compared only where they can be, refused in one line."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estimator.belonging import Elsewhere
from estimator.errors import EstimatorError, UnreadableFile
from estimator.hardware import find_part
from estimator.reference.file import shipped_reference
from estimator.reference.machine import machine_of_part
from estimator.reference.measured import NoUsableCell, own_measurements
from estimator.reference.speed import Published, reference_answer

CARD = find_part("RTX 4080")
# As llama-bench prints it, with the fields that are read and some that are not.
RESULT = {
    "build_commit": "8cf427ff", "build_number": 5163, "cpu_info": "AMD Ryzen 7 7800X3D 8-Core Processor",
    "gpu_info": "NVIDIA GeForce RTX 4080", "backends": "CUDA", "model_filename": "models/Qwen2.5-7B-Q4_K_M.gguf",
    "model_type": "qwen2 7B Q4_K - Medium", "model_size": 4677120000, "model_n_params": 7615616512, "n_batch": 2048,
    "n_ubatch": 512, "n_threads": 8, "type_k": "f16", "type_v": "f16", "n_gpu_layers": -1, "n_cpu_moe": 0,
    "split_mode": "layer", "main_gpu": 0, "no_kv_offload": False, "flash_attn": -1, "devices": "auto",
    "tensor_buft_overrides": "none", "embeddings": False, "n_prompt": 512, "n_gen": 0, "n_depth": 0,
    "test_time": "2025-04-24T11:58:50Z", "avg_ns": 72135640, "avg_ts": 7100.0, "stddev_ts": 140.3,
    "samples_ts": [6863.1, 7147.55],
}  # fmt: skip
DECODE: dict[str, object] = {"n_prompt": 0, "n_gen": 128, "avg_ts": 120.0}


def written(folder: Path, *changes: dict[str, object]) -> Path:
    """A JSON file of results that differ from RESULT by each of `changes`."""
    path = folder / "bench.json"
    path.write_text(json.dumps([{**RESULT, **change} for change in changes]), "utf-8")
    return path


def test_a_prompt_and_a_generation_become_seconds_of_the_prompt_and_of_a_token(tmp_path: Path) -> None:
    found = own_measurements(written(tmp_path, {"n_depth": 1024}, DECODE), CARD)
    prefill, decode = found.cells
    assert (found.back_end, found.left_out) == ("CUDA", {})
    assert (prefill.phase, prefill.work.prompt_tokens, prefill.work.depth_tokens) == ("prefill", 512, 1024)
    assert prefill.seconds == pytest.approx(512 / 7100)
    assert (decode.phase, decode.work.output_tokens) == ("decode", 128)
    assert decode.seconds == pytest.approx(1 / 120)
    assert (decode.file.model.parameters, decode.file.quant) == (7615616512, "Q4_K_M")


def test_csv_and_lines_of_json_say_the_same_as_json(tmp_path: Path) -> None:
    whole = own_measurements(written(tmp_path, {}, DECODE), CARD)
    rows = [RESULT, {**RESULT, **DECODE}]
    lines, table = tmp_path / "bench.jsonl", tmp_path / "bench.csv"
    lines.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(RESULT), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows({**row, "no_kv_offload": 0, "embeddings": 0} for row in rows)
    assert own_measurements(lines, CARD).cells == whole.cells
    assert own_measurements(table, CARD).cells == whole.cells


@pytest.mark.parametrize(
    ("model_type", "parameters", "size", "model", "quant"),
    [
        ("llama 7B mostly Q4_0", 6738415616, 3_825_065_984, "llama2:7b", "Q4_0"),
        ("llama 1B Q8_0", 1235814432, 1_313_250_432, "llama3.2:1b", "Q8_0"),
        ("llama 8B Q3_K - Large", 8030261312, 4_321_956_864, "llama3.1:8b", "Q3_K_L"),
        ("llama 8B IQ4_XS - 4.25 bpw", 8030261312, 4_447_663_104, "llama3.1:8b", "IQ4_XS"),
        ("llama 7B all F16", 6738415616, 13_477_000_000, "llama2:7b", "F16"),
        ("gpt-oss 20B MXFP4 MoE", 20914757184, 12_100_000_000, "gpt-oss:20b", "MXFP4_MOE"),
    ],
)
def test_models_and_weight_types_are_known_by_what_the_engine_calls_them(
    tmp_path: Path, model_type: str, parameters: int, size: int, model: str, quant: str
) -> None:
    change = {"model_type": model_type, "model_n_params": parameters, "model_size": size}
    (cell,) = own_measurements(written(tmp_path, change), CARD).cells
    assert cell.file.quant == quant
    assert cell.file.model.parameters == pytest.approx(parameters, rel=1e-3)
    assert model in cell.file.model.names or cell.file.model.layers == 32
    assert cell.file.weight_bytes == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_gen": 128}, "timed together"),
        ({"n_prompt": 0}, "timed together"),
        ({"avg_ts": 0}, "no speed"),
        ({"n_depth": -5}, "negative tokens"),
        ({"avg_ts": 1e-300}, "no speed"),
        ({"model_type": "qwen2 7B Q3_K - Large", "model_size": 100}, "of that size is not known"),
        ({"n_prompt": 10**12}, "more tokens"),
        ({"n_ubatch": 0}, "no micro-batch"),
        ({"embeddings": True}, "embeddings"),
        ({"gpu_info": "NVIDIA GeForce RTX 4080, NVIDIA GeForce RTX 4080"}, "several devices"),
        ({"model_n_params": 7}, "no model of the catalogue"),
        ({"n_gpu_layers": 20}, "not whole on the device"),
        ({"n_cpu_moe": 4}, "not whole on the device"),
        ({"no_kv_offload": True}, "not whole on the device"),
        ({"type_v": "q8_0"}, "not F16"),
        ({"model_type": "qwen2 7B XQ9_Z"}, "weight type 'XQ9_Z' of that size is not known"),
    ],
)
def test_what_cannot_be_compared_is_left_out_and_counted_with_the_reason(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    found = own_measurements(written(tmp_path, {}, change, change), CARD)
    assert len(found.cells) == 1
    ((reason, count),) = found.left_out.items()
    assert words in reason
    assert count == 2
    with pytest.raises(NoUsableCell, match="can move the reference: 1: "):
        own_measurements(written(tmp_path, change), CARD)


def test_one_of_several_devices_counts_where_the_engine_was_told_to_use_one(tmp_path: Path) -> None:
    two = {"gpu_info": "Intel UHD, NVIDIA GeForce RTX 4080"}
    for told in ({"devices": "CUDA0"}, {"split_mode": "none"}):
        assert own_measurements(written(tmp_path, {**two, **told}), CARD).cells


def test_of_two_cards_that_differ_it_is_not_taken_for_told_which_one_computed(tmp_path: Path) -> None:
    path = written(tmp_path, {"gpu_info": "NVIDIA GeForce RTX 3090, NVIDIA GeForce RTX 4080", "devices": "CUDA0"})
    with pytest.raises(Elsewhere, match="RTX 3090, NVIDIA GeForce RTX 4080, not on NVIDIA GeForce RTX 4080"):
        own_measurements(path, CARD)
    assert own_measurements(path, CARD, anyway=True).cells


def test_results_of_another_card_are_refused_unless_they_are_wanted(tmp_path: Path) -> None:
    path = written(tmp_path, {}, {"gpu_info": "NVIDIA GeForce RTX 3090"})
    with pytest.raises(Elsewhere, match="measured on NVIDIA GeForce RTX 3090, not on NVIDIA GeForce RTX 4080"):
        own_measurements(path, CARD)
    wanted = own_measurements(path, CARD, anyway=True)
    assert len(wanted.cells) == 2
    cell = wanted.cells[0]
    answer = reference_answer(cell.file, cell.work, Published(shipped_reference(), machine_of_part(CARD), own=wanted))
    assert f"{path} was measured on NVIDIA GeForce RTX 3090" in answer.warnings


@pytest.mark.parametrize(
    ("shown", "backends", "part"),
    [
        ("Apple M2 Max", "Metal,BLAS", "M2 Max 38c"),
        ("Apple M2 Max", "MTL,BLAS", "M2 Max 30c"),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "Vulkan", "RX 7900 XTX"),
        ("AMD Radeon RX 7900 XTX", "ROCm,RPC", "RX 7900 XTX"),
    ],
)
def test_the_engines_names_of_devices_and_back_ends_are_understood(
    tmp_path: Path, shown: str, backends: str, part: str
) -> None:
    found = own_measurements(written(tmp_path, {"gpu_info": shown, "backends": backends}), find_part(part))
    assert found.back_end in ("Metal", "Vulkan", "ROCm")


def test_a_smaller_chip_of_the_same_make_is_another(tmp_path: Path) -> None:
    with pytest.raises(Elsewhere, match="measured on Apple M2, not on Apple M2 Max"):
        own_measurements(written(tmp_path, {"gpu_info": "Apple M2", "backends": "Metal"}), find_part("M2 Max 38c"))


def test_a_processor_is_known_by_its_own_name(tmp_path: Path) -> None:
    change = {"cpu_info": "AMD Ryzen 9 7950X 16-Core Processor", "gpu_info": "", "backends": "BLAS"}
    assert own_measurements(written(tmp_path, {**change, **DECODE}), find_part("Ryzen 9 7950X")).back_end == "CPU"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (({"backends": "SYCL"},), "nothing was published for 'SYCL'"),
        (({}, {"backends": "Vulkan"}), "holds results of CUDA and Vulkan"),
        (({"backends": "CPU"},), "measured on the processor"),
    ],
)
def test_back_ends_without_a_reference_are_one_line(
    tmp_path: Path, changes: tuple[dict[str, object], ...], words: str
) -> None:
    with pytest.raises(NoUsableCell, match=words):
        own_measurements(written(tmp_path, *changes), CARD)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no result"),
        ("[]", "holds no result"),
        ("[1]", "result 1 is no object"),
        ("[" * 100_000, "neither JSON nor CSV"),
        ('{"a": 1}', "result 1 lacks cpu_info"),
        ("| model | size |\n| --- | --- |\n", "lacks cpu_info"),
        (json.dumps([{**RESULT, "avg_ts": "fast"}]), "avg_ts is 'fast', which is no number"),
        (json.dumps([{**RESULT, "avg_ts": float("nan")}]), "avg_ts is 'nan', which is no number"),
        (json.dumps([{**RESULT, "n_prompt": 1.5}]), "n_prompt is '1.5', which is no number"),
        (json.dumps([{**RESULT, "n_prompt": [1]}]), "n_prompt is '\\[1\\]', which is no number"),
        (json.dumps([{**RESULT, "n_prompt": 10**400}]), "n_prompt is '1000"),
        ("\x00\x01", "lacks cpu_info|neither JSON nor CSV|holds no result"),
    ],
)
def test_what_is_no_output_of_llama_bench_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "bench"
    path.write_text(content, "utf-8")
    with pytest.raises(UnreadableFile, match=words) as caught:
        own_measurements(path, CARD)
    assert "\n" not in str(caught.value)


ODD = st.one_of(st.none(), st.booleans(), st.integers(-9, 10**9), st.floats(), st.text(max_size=9), st.just([]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(RESULT)), ODD, max_size=4))
def test_whatever_a_field_holds_the_answer_is_a_number_or_an_error_of_ours(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = written(tmp_path, change)
    try:
        own = own_measurements(path, CARD, anyway=True)
    except EstimatorError:
        return
    published = Published(shipped_reference(), machine_of_part(CARD, own.back_end), own=own)
    answer = reference_answer(own.cells[0].file, own.cells[0].work, published)
    assert all(found is None or math.isfinite(found.value or 0.0) for found in (answer.prefill, answer.step))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_whatever_bytes_a_file_has_it_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bench").write_bytes(content)
    with pytest.raises(EstimatorError) as caught:
        own_measurements(tmp_path / "bench", CARD)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_binary_or_huge_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "huge").write_bytes(b" " * (17 * 2**20))
    for name in ("none", "binary", "huge", "."):
        with pytest.raises(UnreadableFile):
            own_measurements(tmp_path / name, CARD)


def test_messages_of_the_loader_before_the_results_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, {}, DECODE)
    whole = own_measurements(path, CARD).cells
    path.write_text(f"ggml_cuda_init: found 1 CUDA devices:\n[0] RTX 4080\n{path.read_text('utf-8')}\ndone\n", "utf-8")
    assert own_measurements(path, CARD).cells == whole


@pytest.mark.parametrize(
    ("shown", "part"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM 80GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "RTX 4060 Laptop"),
        ("Intel(R) Arc(tm) A770 Graphics (DG2)", "Arc A770"),
        ("NVIDIA GB10", "GB10"),
    ],
)
def test_names_that_drivers_print_are_those_of_the_catalogue(tmp_path: Path, shown: str, part: str) -> None:
    assert own_measurements(written(tmp_path, {"gpu_info": shown}), find_part(part)).cells


def test_every_error_of_measurements_is_an_error_of_the_estimator() -> None:
    assert issubclass(NoUsableCell, EstimatorError)
    assert NoUsableCell.exit_status == 8
