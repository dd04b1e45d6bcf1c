"""docs/ci.md: its workflows are YAML, and its steps do what the page says, on simulated engines.

Steps are run as the runner runs them, `bash -e` on their text, in a folder whose `.venv/bin/python` is this Python; for
the machine of one's own it is one that lets `harness run` ask a simulated engine.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "ci.md"
LAW = '{"prefill_fixed_s": 0.04, "prefill_s_per_token": 0.0001, "decode_s_per_token": %s}'


def workflows() -> list[dict[str, Any]]:
    yaml = importlib.import_module("yaml")
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)]


def commands(workflow: dict[str, Any]) -> Iterator[list[str]]:
    """The commands of ours, as words."""
    for job in workflow["jobs"].values():
        for text in steps(job):
            yield from (shlex.split(line) for line in text.splitlines() if "python -m" in line)


def steps(job: dict[str, Any]) -> Iterator[str]:
    """The texts of a job's steps that run something of ours; `make setup` would build the environment again."""
    yield from (step["run"] for step in job["steps"] if "python -m" in step.get("run", ""))


def checkout(folder: Path, more: dict[str, str] | None = None) -> Path:
    """A folder in which steps can run, with `more` options for some commands ("harness run")."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    added = [f'test "$2 $3" = "{command}" && set -- "$@" {options}' for command, options in (more or {}).items()]
    python.write_text("\n".join(["#!/bin/sh", *added, f'exec {shlex.quote(sys.executable)} "$@"', ""]), "utf-8")
    python.chmod(0o755)
    return folder


def done(text: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A step as GitHub's runner runs it."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    whole = {**os.environ, "HOME": str(folder / "home"), **env}
    return subprocess.run(command, cwd=folder, env=whole, capture_output=True, text=True, timeout=280, check=False)


def test_both_workflows_are_yaml_with_steps_that_check() -> None:
    simulated, real = workflows()
    assert [["check" in words for words in commands(w)].count(True) for w in (simulated, real)] == [2, 1]
    assert real["jobs"]["check"]["runs-on"] == ["self-hosted", "yardstick"]


@pytest.mark.slow
def test_the_simulated_workflow_passes_the_same_engine_and_stops_a_slower_one(tmp_path: Path) -> None:
    job = workflows()[0]["jobs"]["simulated"]
    folder = checkout(tmp_path)
    ran = [done(text, folder, job["env"]) for text in steps(job)]
    assert [one.returncode for one in ran] == [0, 0, 0], "\n".join(one.stdout + one.stderr for one in ran)
    assert "check: OK" in ran[1].stdout
    assert "engine slower: decode: " in ran[2].stdout
    assert "check: FAILED" in ran[2].stdout


@pytest.mark.slow
def test_the_workflow_of_ones_own_machine_fits_passes_the_same_engine_and_stops_a_slower_one(tmp_path: Path) -> None:
    def engine(token_s: float) -> dict[str, str]:
        # Three requests a cell; this engine waits, so that noise of the machine is none of its own.
        run = f"--backend simulated --output-tokens 8 --repeats 3 --law {shlex.quote(LAW % token_s)}"
        return {"harness run": run, "calibration fit": "--include-noisy", "calibration check": "--include-noisy"}

    jobs = workflows()[1]["jobs"]
    fit, same, slower = (
        checkout(tmp_path / name, engine(s)) for name, s in (("a", 0.005), ("b", 0.005), ("c", 0.0065))
    )
    home = {"HOME": str(tmp_path / "home")}
    fitted = [done(text, fit, home) for text in steps(jobs["fit"])]
    assert [one.returncode for one in fitted] == [0], fitted[0].stdout + fitted[0].stderr
    assert (tmp_path / "home" / "yardstick" / "coefficients.json").exists()
    (passed,), (failed,) = ([done(text, at, home) for text in steps(jobs["check"])] for at in (same, slower))
    assert (passed.returncode, failed.returncode) == (0, 1), passed.stdout + passed.stderr + failed.stdout
    assert "engine slower: decode: " in failed.stdout
