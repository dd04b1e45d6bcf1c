"""Whether a fit to many machines' records stays within a minute and a gigabyte, and grows linearly.

`python -m tests.benchmarks.machines [MACHINES ...]` (default 125 250 500 1000): simulated machines, each a run of five
models x 20 cells of 3 requests with 12 chunks, each machine of its own speed with noise of 2 %. Their engine is called
that of the shipped prior, which the newest other machines move. Time is from the start of the process to its end,
memory its highest resident size.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
from pydantic_core import to_json

from estimator.facts import model_file_facts
from estimator.specs import Workload
from estimator.theory.terms import decode_terms, prefill_terms
from harness.journal import JOURNAL
from harness.record import Cell, Chunk, Line, Request, RunEnd, ServerTimings, Subject, Usage
from tests.benchmarks.against import print_table
from tests.harness.making import header
from tests.planted import MIXTURE, MODELS, file_of, seconds

WORKS = tuple(Workload(prompt, 12, depth) for prompt in (16, 32, 48, 64) for depth in (0, 200, 400, 800, 1200))
REPEATS, NOISE = 3, 0.02
ENGINE = "llama.cpp (planted)"
Times = dict[tuple[str, Workload], tuple[float, float]]


def times() -> Times:
    """Seconds of prefill and of a token for each cell on the planted machine."""
    return {
        (name, work): (seconds(prefill_terms(file_of(name), work)), seconds(decode_terms(file_of(name), work)))
        for name in MODELS[:5]
        for work in WORKS
    }


def lines(number: int, known: Times) -> Iterator[Line]:
    """The journal of one machine."""
    rng = random.Random(number)
    slower = rng.lognormvariate(0, 0.5)
    head = header()
    host = replace(head.host, cpu=f"Test CPU {number}")
    yield replace(head, host=host, run_id=f"run-{number}", started_at=f"2026-11-23T{number:08d}")
    options = {"slots": 1, "context_tokens": 1280, "ubatch_tokens": 512, "flash_attention": "auto"}
    for at, name in enumerate(MODELS[:5]):
        facts = model_file_facts(file_of(name))
        yield Subject(str(at), "simulated", name, MIXTURE, ENGINE, "1", "", options, facts, {}, 0, 1)
    for (name, work), (prefill, token) in known.items():
        for repeat in range(REPEATS):
            first, gap = (round(1e9 * slower * t * rng.lognormvariate(0, NOISE)) for t in (prefill, token))
            chunks = tuple(Chunk(first + gap * i, first + gap * i, 1) for i in range(work.output_tokens))
            cell = Cell("simulated", name, MIXTURE, work.prompt_tokens, work.output_tokens, work.depth_tokens)
            usage = Usage(work.depth_tokens + work.prompt_tokens, work.output_tokens, work.depth_tokens)
            yield Request(
                str(MODELS.index(name)), cell, repeat, "counted", 0, 0, chunks[-1].wire_ns, chunks, usage,
                ServerTimings(),
            )  # fmt: skip
    yield RunEnd("done")


def written(folder: Path, machines: range, known: Times) -> None:
    """Journals, without the syncs of a real one."""
    for number in machines:
        place = folder / f"{number:05d}"
        place.mkdir()
        (place / JOURNAL).write_bytes(b"".join(to_json(line) + b"\n" for line in lines(number, known)))


def measured(folder: Path) -> tuple[float, float, str]:
    """Seconds and highest resident bytes of `calibration fit`, and what it said of other machines."""
    command = [sys.executable, "-m", "calibration", "fit", str(folder), "--output", str(folder / "c.json")]
    begun_s, highest = time.perf_counter(), 0
    process = psutil.Popen(command, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            highest = max(highest, process.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    words, _ = process.communicate()
    if process.returncode:
        raise SystemExit(words)
    said = next((line for line in words.splitlines() if "other machines in all" in line), "")
    return time.perf_counter() - begun_s, highest, said


def main() -> None:
    """Prints the table."""
    counts = sorted(map(int, sys.argv[1:])) or [125, 250, 500, 1000]
    known, rows, done = times(), [], 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for count in counts:
            written(folder, range(done, count), known)
            done = count
            spent_s, highest, said = measured(folder)
            size = sum(path.stat().st_size for path in folder.rglob(JOURNAL))
            rows.append([
                str(count), str(count * len(known)), f"{size / 1e6:.0f}", f"{spent_s:.1f}",
                f"{1e3 * spent_s / count / len(known):.3f}", f"{highest / 1e6:.0f}", said.removeprefix("left out: "),
            ])  # fmt: skip
    print_table(("machines", "cells", "journals MB", "time s", "ms/cell", "memory MB", "left out"), rows)


if __name__ == "__main__":
    main()
