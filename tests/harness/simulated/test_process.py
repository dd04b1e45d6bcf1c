"""`python -m harness.simulated` as its parent sees it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from harness.simulated.law import Faults, Law

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "harness.simulated"]
# Starts an engine, says where, and is killed: whoever reads its output learns whether the engine lives on.
PARENT = f"""
import subprocess, sys, time
engine = subprocess.Popen({COMMAND!r}, stdin=subprocess.PIPE, stdout=sys.stdout)
time.sleep(100)
"""


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def url_of(engine: subprocess.Popen[str]) -> str:
    assert engine.stdout is not None
    url: str = json.loads(engine.stdout.readline())["url"]
    return url


def test_it_says_where_it_listens_and_what_it_was_told() -> None:
    with started("--slots", "3", "--context", "512", "--law", Law(load_s=0.1).to_json()) as engine:
        props = httpx.get(url_of(engine) + "/props", trust_env=False).json()
        engine.communicate(timeout=10)
    assert props["total_slots"] == 3
    assert props["default_generation_settings"]["n_ctx"] == 512


def test_it_serves_the_models_at_the_rate_and_with_the_log_that_it_was_told(tmp_path: Path) -> None:
    log = tmp_path / "queue.jsonl"
    arguments = ["--models", "one,two:7b", "--load-on-request", "--requests-per-minute", "1", "--log", str(log)]
    with started(*arguments) as engine:
        url = url_of(engine)
        tags = httpx.get(url + "/api/tags", trust_env=False).json()
        ask = {"model": "two:7b", "prompt": "a", "max_tokens": 2}
        answers = [httpx.post(url + "/v1/completions", json=ask, trust_env=False) for _ in range(2)]
        engine.communicate(timeout=10)
    assert [model["name"] for model in tags["models"]] == ["one:latest", "two:7b"]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [200, 429]


def test_it_ends_with_its_standard_input() -> None:
    with started() as engine:
        url_of(engine)
        _, said = engine.communicate(timeout=10)
    assert (engine.returncode, said) == (0, "")


def test_it_ends_with_its_standard_input_while_it_loads() -> None:
    with started("--law", '{"load_s": 100}') as engine:
        printed, said = engine.communicate(timeout=10)
    assert (engine.returncode, printed, said) == (0, "", "")


def test_it_ends_on_sigterm() -> None:
    with started() as engine:
        url_of(engine)
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(timeout=10) == 0


def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        url_of(parent)
        parent.kill()
        # The output ends when the last process that could write to it has ended.
        parent.communicate(timeout=10)


@pytest.mark.parametrize(
    ("arguments", "line", "status"),
    [
        (["--faults", Faults(refuse_load=True).to_json()], "error loading model", 6),
        (["--law", '{"jitter": -1}'], "law: jitter is -1, must be a number of at least 0", 2),
        (["--faults", '{"http_status": 7}'], "faults: http_status is 7", 2),
        (["--slots", "0"], "0 slots", 2),
    ],
)
def test_what_is_wrong_is_one_line_on_standard_error(arguments: list[str], line: str, status: int) -> None:
    with started(*arguments) as engine:
        printed, said = engine.communicate(timeout=10)
    assert (engine.returncode, printed) == (status, "")
    assert line in said
    assert said.count("\n") == 1
