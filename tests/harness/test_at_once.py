"""A server whose answers arrive whole: nothing was timed between their tokens, and every command says so."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from harness.journal import Journal, read_record
from harness.record import Record
from harness.render import show_run
from harness.report import write_report
from harness.sides import comparisons
from harness.summary import as_json
from tests.harness.making import request
from tests.harness.test_page import at, record


def whole(count: int, first_ms: float) -> Record:
    """Requests a second apart whose chunks came at one instant."""
    return record([at(k + 1, request([first_ms] * 9)) for k in range(count)])


def stored(folder: Path, told: Record) -> Path:
    with Journal(folder) as journal:
        journal.append(told.header, *told.subjects, *told.requests, *told.ends)
    return folder


@pytest.mark.parametrize("first_ms", [0, 100])
@pytest.mark.parametrize("count", [1, 3, 8, 12])
def test_a_run_whose_answers_came_at_one_instant_is_shown_reported_and_compared(
    tmp_path: Path, count: int, first_ms: float
) -> None:
    told = whole(count, first_ms)
    other = whole(count, first_ms)
    a = stored(tmp_path / "a", told)
    b = stored(tmp_path / "b", replace(other, header=replace(other.header, run_id="another")))
    out = Console(file=StringIO(), width=300)
    show_run(out, read_record(a))
    assert isinstance(out.file, StringIO)
    assert "answers arrived at one instant" in out.file.getvalue()
    (cell,) = as_json(read_record(a))["cells"]
    assert (cell["tpot_s"], cell["decode_tokens_per_s"]) == (None, None)
    assert write_report([a, b], tmp_path / "out.html").runs == 2
    assert len(comparisons(a, b, None, 0.05, anyway=False)) == 1
