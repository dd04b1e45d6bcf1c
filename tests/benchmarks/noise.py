"""Verdicts on quiet and on disturbed runs of the simulated engine, on this machine.

`python -m tests.benchmarks.noise [QUIET] [DISTURBED]`: so many quiet runs, of which none should be called NOISY; then
runs in which a busy process on each core goes on whenever one of three cells is measured, and stands still otherwise.
What else runs on the machine is noise too, and is named.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from harness.host import this_host
from harness.journal import Journal
from harness.plan import Plan, Shape
from harness.record import Cell, Phase
from harness.simulated.law import Law
from harness.summary import Row, rows
from harness.target import Door
from harness.watch import Watcher
from tests.benchmarks.against import say
from tests.harness.making import header, run_plan

LAW = Law(prefill_fixed_s=0.1, decode_s_per_token=0.02)
SHAPES = (Shape(16, 16), Shape(32, 16), Shape(64, 16))
BURNT = 32
REPEATS = 8
PLAN = Plan(("simulated",), ("mistral:7b",), shapes=SHAPES, repeats=REPEATS)


class Burner(Watcher):
    """Busy processes that run during visits to one cell."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def visiting(self, cell: Cell, repeat: int, phase: Phase) -> None:
        """Goes on at the burnt cell, stops at any other."""
        told = signal.SIGCONT if cell.prompt_tokens == BURNT and phase == "counted" else signal.SIGSTOP
        for process in self._processes:
            process.send_signal(told)


@contextmanager
def burner() -> Iterator[Burner]:
    """A busy process for each core, standing still."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield Burner(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measured(watcher: Watcher) -> list[Row]:
    """The cells of one run."""
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder)) as journal:
            journal.append(replace(header(), host=this_host()))
        return rows(asyncio.run(run_plan(Path(folder), PLAN, Door(law=LAW.to_json()), watcher)))


def told(row: Row) -> str:
    """A cell in a line."""
    return f"prompt {row.cell.prompt_tokens}: {row.verdict.word} {'; '.join(row.verdict.reasons)}"


def main() -> None:
    """Prints every alarm and the counts."""
    quiet, disturbed = (int(text) for text in (sys.argv[1:] + ["20", "5"][len(sys.argv) - 1 :]))
    alarms = 0
    for number in range(quiet):
        doubted = [row for row in measured(Watcher()) if row.verdict.word != "VALID"]
        alarms += bool(doubted)
        for row in doubted:
            say(f"quiet run {number + 1}, {told(row)}")
    say(f"{alarms} of {quiet} quiet runs raised an alarm ({REPEATS} requests in each of {len(SHAPES)} cells)")
    found = elsewhere = 0
    for number in range(disturbed):
        with burner() as watcher:
            listed = measured(watcher)
        for row in listed:
            say(f"disturbed run {number + 1}, {told(row)}")
            if row.cell.prompt_tokens == BURNT:
                found += row.verdict.word == "NOISY"
            else:
                elsewhere += row.verdict.word == "NOISY"
    say(f"NOISY: {found} of {disturbed} burnt cells, {elsewhere} of {2 * disturbed} others")


if __name__ == "__main__":
    main()
