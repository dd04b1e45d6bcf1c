"""The command line as a user meets it: what it prints, what it refuses, and with which exit status."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from estimator.probed import find_probed
from harness.journal import JOURNAL, Journal, read_record
from harness.record import FORMAT
from harness.weights.build import write_model
from tests.harness.alike import Noise, run
from tests.harness.making import header, request
from tests.harness.test_weights import TINY

pytestmark = pytest.mark.slow
LAW = '{"prefill_s_per_token": 0.0001, "decode_s_per_token": 0.002}'


def harness(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def refused(*arguments: str, cwd: Path, status: int, said: str) -> None:
    done = harness(*arguments, cwd=cwd)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == status, done.stderr
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in done.stderr + done.stdout


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_model(path, TINY, "Q4_0", seed=1)
    return path


def test_a_simulated_run_prints_a_table_and_stores_a_journal_that_show_prints_again(tmp_path: Path) -> None:
    done = harness("run", "--backend", "simulated", "--law", LAW, "--repeats", "2", "--prompt-tokens", "16,32",
                   "--output-tokens", "8", "--results", "out", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "VALID" in done.stdout or "NOISY" in done.stdout
    (folder,) = (tmp_path / "out").iterdir()
    assert f"results: out/{folder.name}" in done.stdout
    shown = harness("show", str(folder), cwd=tmp_path)
    table = done.stdout.split("results: ")[0]
    assert shown.stdout.strip() == table.strip()
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())


def test_json_holds_every_cell_with_units_in_its_names(tmp_path: Path) -> None:
    done = harness("run", "--backend", "simulated", "--law", LAW, "--repeats", "2", "--prompt-tokens", "16",
                   "--output-tokens", "8", "--results", "out", "--json", cwd=tmp_path)  # fmt: skip
    told = json.loads(done.stdout)
    (cell,) = told["cells"]
    assert cell["requests"] == 2
    assert cell["decode_tokens_per_s"] == pytest.approx(500, rel=0.3)


def test_an_interrupted_run_says_how_to_go_on_and_resuming_completes_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "run", "--backend", "simulated", "--repeats", "3", "--prompt-tokens",
               "64", "--output-tokens", "40", "--results", "out"]  # fmt: skip
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if "repeat 2" in line:
            running.terminate()
            break
    said = running.communicate(timeout=30)[1]
    assert running.returncode == 130
    (folder,) = (tmp_path / "out").iterdir()
    assert f"--resume out/{folder.name}" in said
    done = harness("run", "--resume", f"out/{folder.name}", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [cell["requests"] for cell in json.loads(done.stdout)["cells"]] == [3]
    assert read_record(folder).ends[-1].reason == "done"


def test_two_runs_that_begin_in_one_second_have_a_journal_each(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "run", "--backend", "simulated", "--law", LAW, "--repeats", "1",
               "--prompt-tokens", "16", "--output-tokens", "4", "--results", "out"]  # fmt: skip
    running = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in "12"]
    for each in running:
        each.communicate(timeout=60)
        assert each.returncode == 0
    folders = sorted((tmp_path / "out").iterdir())
    assert [read_record(folder).header.run_id for folder in folders] == [folder.name for folder in folders]
    assert [len(read_record(folder).ends) for folder in folders] == [1, 1]


def test_compare_prints_a_verdict_for_each_cell_and_refuses_another_engine_build_with_status_10(tmp_path: Path) -> None:
    for name, seed, slower in (("a", 1, 1.0), ("b", 2, 1.2)):
        record = run(Noise(), seed, slower)
        with Journal(tmp_path / name) as journal:
            journal.append(record.header, *record.subjects, *record.requests)
    done = harness("compare", "a", "b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sum("slower" in line for line in done.stdout.splitlines() if "TTFT s" in line or "TPOT ms" in line) == 8
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert json.loads(harness("compare", "a", "b", "--json", cwd=tmp_path).stdout)[0]["comparisons"] == 8
    with Journal(tmp_path / "c") as journal:
        journal.append(record.header, replace(record.subjects[0], engine_version="2"), *record.requests)
    refused("compare", "a", "c", cwd=tmp_path, status=10, said="engine build: simulated 1 | simulated 2")
    assert harness("compare", "a", "c", "--anyway", cwd=tmp_path).returncode == 0
    refused("compare", "a", cwd=tmp_path, status=2, said="one back end only")


def test_an_unknown_model_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    refused("run", "--model", "mistal:7b", cwd=tmp_path, status=3, said="did you mean mistral:7b")


def test_an_unknown_weight_type_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    refused("run", "--quant", "q4_k_x", "--model", "mistral", cwd=tmp_path, status=3, said="known: F16")


def test_a_model_without_a_name_is_not_whatever_is_planned(tmp_path: Path) -> None:
    refused("run", "--model", "", cwd=tmp_path, status=3, said="unknown model ''")


def test_a_cache_in_which_nobody_may_look_is_a_line_of_doctor_and_stops_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YARDSTICK_CACHE", str(tmp_path / ("x" * 300)))
    refused("run", cwd=tmp_path, status=2, said="set YARDSTICK_CACHE to another folder")
    done = harness("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model_files"].startswith("unknown: cannot look for ")
    assert found["a_run_would_measure"].startswith("nothing: cannot look for ")


def test_an_unknown_back_end_is_refused(tmp_path: Path) -> None:
    refused("run", "--backend", "vllm", cwd=tmp_path, status=2, said="choose from llamacpp, ollama")


def test_a_duration_that_is_none_is_refused(tmp_path: Path) -> None:
    refused("run", "--budget", "soon", cwd=tmp_path, status=2, said="is no duration")


def test_a_model_file_that_is_not_there_or_no_gguf_or_truncated_is_refused(tiny: Path, tmp_path: Path) -> None:
    refused("run", "--model", "nowhere.gguf", cwd=tmp_path, status=4, said="nowhere.gguf")
    (tmp_path / "text.gguf").write_text("not a model")
    refused("run", "--model", "text.gguf", cwd=tmp_path, status=4, said="text.gguf")
    (tmp_path / "half.gguf").write_bytes(tiny.read_bytes()[: tiny.stat().st_size // 2])
    refused("run", "--model", "half.gguf", cwd=tmp_path, status=4, said="half.gguf")


def test_a_model_that_memory_cannot_hold_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    refused("run", "--model", "llama2:70b", "--quant", "f16", cwd=tmp_path, status=5, said="llama2:70b F16")


def test_a_port_that_is_taken_is_refused(tiny: Path, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        refused("run", "--model", str(tiny), "--port", port, cwd=tmp_path, status=6, said=f"port {port} is taken")


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused("run", "--backend", "simulated", "--results", "file", cwd=tmp_path, status=7, said="cannot write results")


def test_results_that_are_not_there_or_empty_or_newer_are_refused(tmp_path: Path) -> None:
    refused("show", "nowhere", cwd=tmp_path, status=7, said="no results at nowhere")
    (tmp_path / JOURNAL).write_text("")
    refused("show", ".", cwd=tmp_path, status=7, said="holds no run")
    (tmp_path / JOURNAL).write_text(json.dumps({"kind": "run", "format": FORMAT + 1}) + "\n")
    refused("show", ".", cwd=tmp_path, status=7, said="update this program")


@pytest.mark.parametrize("command", [("show",), ("compare",), ("report", "--html", "page.html"), ("run", "--resume")])
def test_a_name_that_no_file_can_have_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    refused(*command, "a" * 300, cwd=tmp_path, status=7, said="File name too long")


def test_a_law_that_is_none_is_refused_with_the_simulated_engines_words(tmp_path: Path) -> None:
    refused("run", "--backend", "simulated", "--law", '{"speed": 9}', cwd=tmp_path, status=6, said="speed")


def test_a_traceback_is_shown_where_it_is_asked_for(tmp_path: Path) -> None:
    for words in (
        ("run", "--model", "mistal:7b", "--debug"),
        ("show", "nowhere", "--debug"),
        ("--debug", "show", "no"),
    ):
        assert "Traceback" in harness(*words, cwd=tmp_path).stderr


def test_failed_requests_are_shown_with_their_errors(tmp_path: Path) -> None:
    with Journal(tmp_path / "run") as journal:
        journal.append(header())
        journal.append(request([], error="HTTP 500: out of memory"))
    done = harness("show", "run", "--errors", cwd=tmp_path)
    assert "FAILED" in done.stdout
    assert "HTTP 500: out of memory" in done.stdout


def test_a_folder_of_runs_is_shown_as_one_json_array_and_a_run_of_it_as_an_object(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with Journal(tmp_path / "runs" / name) as journal:
            journal.append(header(), request([100, 110]))
    (tmp_path / "runs" / "0").mkdir()
    (tmp_path / "runs" / "0" / JOURNAL).write_text("nonsense\n")
    done = harness("show", "runs", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 2
    assert "not read: runs/0/journal.jsonl line 1 is not a journal line" in done.stderr
    assert json.loads(harness("show", "runs/a", "--json", cwd=tmp_path).stdout)["cells"]
    assert harness("show", "runs", cwd=tmp_path).stdout.count("Test CPU") == 2


def test_doctor_as_json_has_the_machine_and_the_probes_of_a_runs_header_and_says_what_is_unknown(
    tmp_path: Path,
) -> None:
    done = harness("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["probes"]["client_overhead_s"] > 0
    assert 0 < found["probes"]["timer_resolution_s"] < 0.02
    assert {"flags", "sockets", "numa_nodes", "governor", "virtualisation", "gpus"} <= set(found["machine"])
    for name in ("frequency_governor", "virtualisation", "temperature", "gpus"):
        assert found[name], "unknown is said in words"
    kept = find_probed(tmp_path / "results" / "machine.json")
    if kept is None:
        assert "not kept" in found["kept"], "the machine that tests run on is busy"
    else:
        assert kept.read_bytes_per_s == found["probes"]["read_bytes_per_s"]
