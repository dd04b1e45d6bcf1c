"""What the benchmarks against planted truth share: a simulated server with its log, a run of the harness, a table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.journal import read_record
from harness.record import Record
from harness.simulated.law import Law

# The simulated server writes its log once a second.
LOG_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Truth:
    """A simulated server that runs: its URL without a path, its law, its log."""

    url: str
    law: Law
    log: Path

    def entries(self) -> list[dict[str, Any]]:
        """The log's lines in the order in which requests ended; instants are of `time.perf_counter`, in seconds."""
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]


@contextmanager
def planted(law: Law, slots: int, folder: Path) -> Iterator[Truth]:
    """A simulated server as a process of its own, with `slots` requests at once; ended on leaving."""
    log = folder / "queue.jsonl"
    command = [sys.executable, "-m", "harness.simulated", "--law", law.to_json(), "--slots", str(slots)]
    process = subprocess.Popen(
        [*command, "--log", str(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield Truth(json.loads(process.stdout.readline())["url"], law, log)
    finally:
        process.stdin.close()
        process.wait()


def harness_run(truth: Truth, backend: str, results: Path, *options: str) -> Record:
    """`harness run` as a process of its own against the server; what it recorded. Raises SystemExit with its words."""
    path = "" if backend == "ollama" else "/v1"
    done = subprocess.run(
        [
            sys.executable, "-m", "harness", "run", "--backend", backend, "--base-url", f"{backend}={truth.url}{path}",
            "--results", str(results), *options,
        ],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return read_record(max(results.iterdir(), key=lambda folder: folder.stat().st_mtime_ns))


def middle(values: Sequence[float]) -> float:
    """The median, NaN of nothing."""
    return median(values) if values else float("nan")


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, columns aligned to the right."""
    listed = [list(names), *map(list, rows)]
    widths = [max(len(row[at]) for row in listed) for at in range(len(names))]
    for number, row in enumerate(listed):
        say("| " + " | ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) + " |")
        if not number:
            say("|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")


def say(text: str) -> None:
    """A line for people, at once."""
    print(text, flush=True)  # noqa: T201
