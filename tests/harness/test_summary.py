"""What a summary says beside its figures: drift of the anchor, and why there is no interval."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from harness.page.names import names_of
from harness.page.tables import verdicts
from harness.record import Record
from harness.render import show_run
from harness.summary import drifts, rows
from tests.harness.making import header, request, subject


def ran(*lasted_ms: float) -> Record:
    """A run of one cell whose requests lasted so long."""
    requests = tuple(replace(request([100, last]), repeat=at) for at, last in enumerate(lasted_ms))
    return Record(header(), (subject(),), requests)


def said(record: Record) -> str:
    out = StringIO()
    show_run(Console(file=out, width=80), record)
    return " ".join(out.getvalue().split())


def test_four_requests_whose_halves_differ_are_no_drift_of_the_anchor() -> None:
    few = ran(1000, 1010, 1300, 1310)
    assert drifts(few, rows(few)) == []
    assert "drift:" not in said(few)


def test_twelve_requests_of_which_the_second_half_all_took_longer_are_drift_of_the_anchor() -> None:
    slower = ran(*(1000 + at for at in range(6)), *(1200 + at for at in range(6)))
    ((cell, shift),) = drifts(slower, rows(slower))
    assert cell == slower.requests[0].cell
    assert shift == pytest.approx(0.2, abs=0.01)
    assert "took 20% longer in the second half of the run" in said(slower)


def test_many_values_that_depend_on_each_other_have_no_interval_and_the_reason_is_that() -> None:
    trend = ran(*(1000 + 50 * at for at in range(10)))
    (row,) = rows(trend)
    assert row.tpot_s is not None
    assert (row.tpot_s.count, row.tpot_s.interval) == (10, None)
    assert "(interval unknown: too few independent values)" in str(verdicts(trend, rows(trend), names_of(trend)))
    assert "?: too few independent values" in said(trend)


def test_a_server_that_ran_already_is_not_said_to_have_been_loaded() -> None:
    own = ran(1000)
    served = replace(own, subjects=(replace(subject(), options={"base_url": "http://127.0.0.1:8080"}),))
    assert "loaded in" in said(own)
    assert "loaded in" not in said(served)
