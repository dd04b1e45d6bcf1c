"""docs/ci.md: its workflows are YAML, its commands exist, and the one on the simulated engine does what it says."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "ci.md"


def workflows() -> list[dict[str, Any]]:
    yaml = importlib.import_module("yaml")
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)]


def commands(workflow: dict[str, Any]) -> Iterator[list[str]]:
    """The commands of ours, as words; a leading ! stays."""
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            yield from (shlex.split(line) for line in step.get("run", "").splitlines() if "python -m" in line)


def test_both_workflows_are_yaml_with_steps_that_check() -> None:
    simulated, real = workflows()
    assert [["check" in words for words in commands(w)].count(True) for w in (simulated, real)] == [2, 1]
    assert real["jobs"]["check"]["runs-on"] == ["self-hosted", "yardstick"]


@pytest.mark.slow
def test_every_command_and_option_of_the_page_exists() -> None:
    asked = {tuple(words[words.index("-m") + 1 :][:2]): set[str]() for w in workflows() for words in commands(w)}
    for workflow in workflows():
        for words in commands(workflow):
            told = words[words.index("-m") + 1 :]
            asked[told[0], told[1]] |= {word for word in told if word.startswith("--")}
    for (package, command), options in asked.items():
        done = subprocess.run(
            [sys.executable, "-m", package, command, "--help"],
            capture_output=True, text=True, check=True, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        )  # fmt: skip
        assert {option for option in options if option not in done.stdout} == set(), (package, command)


@pytest.mark.slow
def test_the_simulated_workflow_passes_the_same_engine_and_stops_a_slower_one(tmp_path: Path) -> None:
    said = []
    for words in commands(workflows()[0]):
        fails = words[0] == "!"
        arguments = [sys.executable, *words[2:]] if fails else [sys.executable, *words[1:]]
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == (1 if fails else 0), done.stdout + done.stderr
        said.append(done.stdout)
    assert "check: OK" in said[-3]
    assert "engine slower: decode: " in said[-1]
    assert "check: FAILED" in said[-1]
