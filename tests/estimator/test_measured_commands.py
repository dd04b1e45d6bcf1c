"""`predict --measured FILE`: what a user sees who measured a card with llama-bench."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.estimator.test_command import run
from tests.estimator.test_measured import DECODE, written


def predicted(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "predict", "--model", "llama3.1:8b", "--quant", "q4_k_m", *arguments)


def test_a_user_asks_for_another_model_on_a_card_that_was_measured(tmp_path: Path) -> None:
    path = written(tmp_path, {}, DECODE)
    plain, moved = (
        predicted(tmp_path, "--hardware", "RTX 4080", "--json", *more) for more in ((), ("--measured", str(path)))
    )
    assert (moved.returncode, moved.stderr) == (0, "")
    before, after = (json.loads(done.stdout)["speed"]["time_per_token_s"] for done in (plain, moved))
    assert (before["basis"], after["basis"]) == ("reference", "moved")
    assert after["high"] / after["low"] < before["high"] / before["low"]
    shown = predicted(tmp_path, "--hardware", "RTX 4080", "--measured", str(path)).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "decode moved by 1 cell measured on it" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--measured", "bench.json"), 2, "--measured goes with --hardware NAME"),
        (("--measured", "bench.json", "--hardware", "2x RTX 4080"), 2, "goes with one device"),
        (("--measured", "bench.json", "--hardware", "RTX 3090"), 10, "not on NVIDIA GeForce RTX 3090"),
        (("--measured", "bench.json", "--hardware", "RTX 4080", "--formulas", "textbook"), 2, "do not use"),
        (("--measured", "none.json", "--hardware", "RTX 4080"), 4, "cannot read none.json"),
        (("--measured", "bench.json", "--api", "openai:gpt-4"), 2, "--measured is of models on a machine"),
    ],
)
def test_questions_that_make_no_sense_are_one_line_and_their_status(
    tmp_path: Path, arguments: tuple[str, ...], status: int, words: str
) -> None:
    written(tmp_path, {})
    done = run(tmp_path, "predict", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
