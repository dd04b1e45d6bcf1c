"""The command line as people use it: whole processes, their output, their exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from estimator.catalog import models
from estimator.coefficients import FittedMachine, write_coefficients
from estimator.errors import EstimatorError
from estimator.machine import identity, rate_per_s, this_machine
from estimator.processor import cpu_name
from tests.estimator.examples import coefficients
from tests.estimator.header_only import write_header_only

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m estimator` in an empty working directory, so that no coefficients lie about."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "estimator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_a_plain_predict_answers_for_mistral_7b(tmp_path: Path) -> None:
    done = run(tmp_path, "predict")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Mistral 7B v0.1/v0.2, Q4_K_M"
    assert "512 prompt + 128 output tokens" in lines[1]
    assert any(line.startswith("weights (file-backed)     4.07 GiB") for line in lines)
    assert any("no coefficients: theory only" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_stated_rates_give_theory_times(tmp_path: Path) -> None:
    done = run(tmp_path, "predict", "--bandwidth", "20GB/s", "--compute", "150 GFLOP/s", "--json")
    speed = json.loads(done.stdout)["speed"]
    assert speed["time_per_token_s"]["basis"] == "theory"
    assert speed["time_per_token_s"]["value"] == pytest.approx(0.218, abs=0.001)


def test_coefficients_in_results_are_found_and_used(tmp_path: Path) -> None:
    write_coefficients(tmp_path / "results" / "coefficients.json", coefficients())
    answer = json.loads(run(tmp_path, "predict", "--json", "--anyway").stdout)
    assert answer["calibration"].startswith("engine 1 on Test CPU")
    assert answer["speed"]["time_per_token_s"]["basis"] == "calibrated"
    named = run(tmp_path, "predict", "--json", "--anyway", "--coefficients", "results/coefficients.json")
    assert json.loads(named.stdout)["speed"] == answer["speed"]


def test_coefficients_of_another_machine_are_refused_in_one_line_that_says_what_differs(tmp_path: Path) -> None:
    write_coefficients(tmp_path / "results" / "coefficients.json", coefficients())
    done = run(tmp_path, "predict")
    assert (done.returncode, done.stdout) == (10, "")
    assert "results/coefficients.json belongs elsewhere: CPU Test CPU, not" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "--anyway" in done.stderr


def test_coefficients_of_this_machine_are_used_without_asking(tmp_path: Path) -> None:
    cpu, cores, memory_bytes = identity()
    write_coefficients(
        tmp_path / "results" / "coefficients.json", coefficients(machine=FittedMachine(cpu, cores, memory_bytes))
    )
    assert run(tmp_path, "predict").returncode == 0


def test_a_model_file_is_predicted_by_its_path(tmp_path: Path) -> None:
    write_header_only(tmp_path / "small.gguf", next(m for m in models() if m.name == "qwen2.5:0.5b"), "Q8_0")
    done = run(tmp_path, "predict", "--model", "small.gguf")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "small, Q8_0")


def test_the_textbook_is_available(tmp_path: Path) -> None:
    done = run(tmp_path, "predict", "--formulas", "textbook", "--quant", "q4_0", "--context", "8192")
    assert "KV cache                  4.00 GiB" in done.stdout
    assert "safety margin (20 %)" in done.stdout


def test_models_lists_the_catalogue(tmp_path: Path) -> None:
    done = run(tmp_path, "models")
    assert done.returncode == 0
    assert all(model.name in done.stdout for model in models())


def test_hardware_and_clouds_list_their_catalogues_in_80_columns(tmp_path: Path) -> None:
    for command, expected in (("hardware", "NVIDIA GeForce RTX 4090"), ("clouds", "g5.xlarge")):
        done = run(tmp_path, command)
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_few_rows_are_told_with_their_sources(tmp_path: Path) -> None:
    assert "techpowerup.com/gpu-specs/geforce-rtx-4090" in run(tmp_path, "hardware", "rtx", "4090").stdout
    assert "us-east-1; price: AWS price list" in run(tmp_path, "clouds", "g4dn.xlarge").stdout
    assert "unknown" in run(tmp_path, "clouds", "p5e").stdout
    assert "no instance of that name" in run(tmp_path, "clouds", "abacus").stdout
    assert "no hardware of that name" in run(tmp_path, "hardware", "abacus").stdout


def test_the_catalogues_go_to_json(tmp_path: Path) -> None:
    (row,) = json.loads(run(tmp_path, "hardware", "tesla", "p40", "--json").stdout)
    assert (row["names"][0], row["bandwidth_bytes_per_s"], row["memory_bytes"]) == (
        "NVIDIA Tesla P40",
        345.6e9,
        24 * 2**30,
    )
    (row,) = json.loads(run(tmp_path, "clouds", "p3.2xlarge", "--json").stdout)
    assert (row["usd_per_hour"], row["part"]) == (3.06, "NVIDIA Tesla V100 SXM2 16GB")


def test_hardware_of_the_catalogue_is_predicted_by_its_name_with_the_reference_and_no_coefficients(
    tmp_path: Path,
) -> None:
    write_coefficients(tmp_path / "results" / "coefficients.json", coefficients())
    answer = json.loads(run(tmp_path, "predict", "--hardware", "rtx-4090", "--json").stdout)
    assert answer["hardware"]["name"] == "NVIDIA GeForce RTX 4090"
    assert answer["speed"]["time_per_token_s"]["basis"] == "reference"
    assert answer["calibration"].startswith("the reference fit to published llama.cpp speeds of 45 machines with CUDA")
    assert answer["cost"] == {}


def test_an_instance_brings_its_gpus_and_its_price(tmp_path: Path) -> None:
    done = run(tmp_path, "predict", "--instance", "g4dn.12xlarge", "--utilisation", "0.25")
    assert (done.returncode, done.stderr) == (0, "")
    assert "AWS g4dn.12xlarge: 4 x NVIDIA T4" in done.stdout
    assert "$3.912 an hour, AWS g4dn.12xlarge on demand in us-east-1, 2025-03-02" in " ".join(done.stdout.split())
    assert "busy 0.25 of the time" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_an_instance_of_unknown_price_says_so_and_takes_a_stated_one(tmp_path: Path) -> None:
    unknown = json.loads(run(tmp_path, "predict", "--instance", "p5e.48xlarge", "--json").stdout)
    assert unknown["cost"] == {}
    assert unknown["cost_basis"].startswith("unknown: no price of AWS p5e.48xlarge is known")
    arguments = ("predict", "--instance", "p5e.48xlarge", "--usd-per-hour", "70", "--json")
    assert json.loads(run(tmp_path, *arguments).stdout)["cost"]["rented_per_month_usd"]["value"] == 70 * 730


@pytest.mark.parametrize("arguments", [(), ("--help",), ("predict", "--help")])
def test_help_is_shown_where_it_is_asked_for_or_nothing_is(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m estimator")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("predict --model mistrul:7b", 3, "unknown model 'mistrul:7b'; did you mean mistral:7b"),
        ("predict --quant q4_k", 3, "unknown weight type 'q4_k'; did you mean q4_k_m"),
        ("predict --kv-type q6", 3, "no KV cache of type 'Q6': choose one of F16, Q8_0, Q4_0"),
        ("predict --model none.gguf", 4, "cannot read none.gguf: No such file or directory"),
        ("predict --model none.gguf --quant q4_0", 2, "states its own weight type"),
        ("predict --coefficients none.json", 4, "cannot read coefficients none.json: No such file or directory"),
        ("predict --coefficients .", 4, "cannot read coefficients .: Is a directory"),
        ("predict --context 100", 2, "a context of 100 tokens cannot hold depth + prompt + output = 640"),
        ("predict --output-tokens 0", 2, "must be at least 1"),
        ("predict --prompt-tokens many", 2, "invalid int value: 'many'"),
        ("predict --bandwidth fast", 2, "cannot read the rate 'fast': write it like 25GB/s"),
        ("predict --compute -3GFLOP/s", 2, "cannot read the rate"),
        ("predict --formulas magic", 2, "invalid choice: 'magic'"),
        ("predict --formulas textbook --quant q6_k", 2, "no bytes per parameter for Q6_K"),
        ("predict --watts 100", 2, "electricity costs need both"),
        ("predict --usd-per-hour -1", 2, "must be at least 0"),
        ("predict --hardware rtx4099", 3, "unknown hardware 'rtx4099'; did you mean rtx 4090"),
        ("predict --instance g5.xxlarge", 3, "unknown instance 'g5.xxlarge'; did you mean g5.xlarge"),
        ("predict --hardware rtx4090 --instance g5.xlarge", 2, "leave out --hardware or --instance"),
        ("predict --hardware rtx4090 --coefficients x.json", 2, "belong to the machine that they were fitted on"),
        ("predict --hardware m2max --memory much", 2, "cannot read the size 'much': write it like 64GiB"),
        ("predict --instance g5.xlarge --memory 64GiB", 2, "--memory goes with --hardware"),
        ("predict --memory 64GiB", 2, "--memory goes with --hardware"),
        ("predict --instance g5.xlarge --utilisation 2", 2, "above 0 and at most 1"),
        ("predict --utilisation 0.5", 2, "state one with --instance or --usd-per-hour"),
        ("predict --usd-per-hour nan", 2, "must be at least 0"),
        ("predict --usd-per-hour inf", 2, "must be at least 0"),
        ("predict --watts nan --usd-per-kwh 0.3", 2, "must be at least 0"),
        ("predict --usd-per-hour 1 --utilisation 1e-320", 2, "a millionth at least"),
        ("predict --bandwidth 1e400GB/s", 2, "cannot read the rate '1e400GB/s'"),
        ("predict --bandwidth 1e-320", 2, "cannot read the rate '1e-320'"),
        ("predict --compute 1e308TFLOP/s", 2, "cannot read the rate '1e308TFLOP/s'"),
        ("predict --prompt-tokens 1000000000000 --hardware T4", 2, "at most 100,000,000"),
        (f"predict --depth 1{'0' * 40}", 2, "at most 100,000,000"),
        ("predict --concurrency 100000000000000000", 2, "and 65,536 can be asked for"),
        ("predict --colour blue", 2, "unrecognized arguments: --colour blue"),
        ("foretell", 2, "invalid choice: 'foretell'"),
    ],
)
def test_a_bad_input_is_told_in_one_line_with_its_exit_status(
    arguments: str, status: int, message: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *arguments.replace(" -3", "=-3").split())
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_debug_shows_where_an_error_arose(tmp_path: Path) -> None:
    done = run(tmp_path, "predict", "--model", "nobody", "--debug")
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: unknown model")


def test_predicting_loads_no_heavy_library(tmp_path: Path) -> None:
    code = "import sys; from estimator.__main__ import main; main(['predict']); print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "estimator" in loaded
    heavy = {"numpy", "pandas", "sklearn", "pydantic", "gguf", "httpx", "typer", "rich", "harness", "calibration"}
    assert not loaded & heavy


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [("25GB/s", "B/s", 25e9), ("1.5 TB/s", "B/s", 1.5e12), ("20GiB/s", "B/s", 20 * 2**30), ("2e11", "FLOP/s", 2e11)],
)
def test_rates_are_read_as_people_write_them(text: str, unit: str, expected: float) -> None:
    assert rate_per_s(text, unit) == expected


@pytest.mark.parametrize("text", ["", "GB/s", "25 GFLOP/s", "-1GB/s", "0", "1..2GB/s", "25Pi"])
def test_a_rate_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(EstimatorError, match="cannot read the rate"):
        rate_per_s(text, "B/s")


def test_rates_are_never_guessed_but_taken_from_probes_of_the_same_cpu() -> None:
    assert this_machine().bandwidth_bytes_per_s is None
    assert this_machine(coefficients=coefficients()).bandwidth_bytes_per_s is None
    known = coefficients()
    same = coefficients(machine=type(known.machine)(cpu_name(), 2, 2**34, 12e9, 130e9))
    probed = this_machine(coefficients=same)
    assert (probed.bandwidth_bytes_per_s, probed.compute_flop_per_s) == (12e9, 130e9)
    stated = this_machine(20e9, None, same)
    assert (stated.bandwidth_bytes_per_s, stated.compute_flop_per_s) == (20e9, 130e9)


def test_this_machine_has_memory() -> None:
    machine = this_machine()
    assert machine.memory_free_bytes is not None
    assert machine.memory_total_bytes is not None
    assert 0 < machine.memory_free_bytes <= machine.memory_total_bytes
    assert (machine.kind, machine.catalogued, machine.assumptions) == ("cpu", False, ())
