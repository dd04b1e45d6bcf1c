"""Cells whose client was late: a fit uses them where the engine's own clock says what the wire's does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration.dataset import Dataset, dataset
from harness.journal import Journal, read_record
from harness.record import Record, Request, ServerTimings
from harness.summary import rows
from tests.calibration.making import MODELS, planted_run

COPIES = 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run of one planted model, with enough requests of each cell to tell a late client from."""
    record = read_record(planted_run(tmp_path_factory.mktemp("source"), models=MODELS[:1]))
    copies = [replace(r, repeat=r.repeat + 4 * copy) for copy in range(COPIES) for r in record.requests]
    return replace(record, requests=tuple(copies))


def told(request: Request, factor: float = 1.0, prefill: float = 0.999) -> Request:
    """The request with the engine's own times of it, `factor` and `prefill` times as long as on the wire."""
    first, last = request.chunks[0].wire_ns * 1e-9, request.chunks[-1].wire_ns * 1e-9
    return replace(request, timings=ServerTimings(prefill_s=first * prefill, decode_s=(last - first) * factor))


def late(request: Request, late_s: float = 0.3) -> Request:
    """The request with chunks that the client took up so long after they had come."""
    chunks = tuple(chunk._replace(delivered_ns=chunk.wire_ns + round(late_s * 1e9)) for chunk in request.chunks)
    return replace(request, chunks=chunks)


def read(folder: Path, source: Record, requests: list[Request], include_noisy: bool = True) -> Dataset:
    with Journal(folder, sync=lambda _: None) as journal:
        journal.append(source.header, *source.subjects, *requests, *source.samples)
    stored = read_record(folder)
    assert {row.verdict.word for row in rows(stored)} == {"CLIENT-BOUND"}, "what a reader is told stays"
    return dataset([stored], include_noisy)


def test_a_cell_whose_client_was_late_is_used_if_the_engine_confirms_the_wire_and_that_is_said(
    source: Record, tmp_path: Path
) -> None:
    seen = read(tmp_path, source, [late(told(r)) for r in source.requests])
    assert len(seen.observations) == 8
    assert seen.left_out == ()
    assert len(seen.late) == 4
    assert "the engine's own clock confirms" in seen.late[0]


def test_the_times_of_such_a_cell_are_those_of_the_wire(source: Record, tmp_path: Path) -> None:
    seen = {
        (o.phase, o.work): o.seconds
        for o in read(tmp_path, source, [late(told(r)) for r in source.requests]).observations
    }
    prompt = {(r.cell.prompt_tokens, r.cell.depth_tokens): r.chunks[0].wire_ns * 1e-9 for r in source.requests}
    for (phase, work), seconds in seen.items():
        if phase == "prefill":
            assert seconds == pytest.approx(prompt[work.prompt_tokens, work.depth_tokens])


@pytest.mark.parametrize(("factor", "prefill"), [(0.9, 0.999), (1.1, 0.999), (1.0, 0.9), (1.0, 1.1)])
def test_an_engine_that_says_otherwise_leaves_the_cell_out(
    source: Record, tmp_path: Path, factor: float, prefill: float
) -> None:
    seen = read(tmp_path, source, [late(told(r, factor, prefill)) for r in source.requests])
    assert seen.observations == ()
    assert len(seen.left_out) == 4


def test_an_engine_that_says_nothing_confirms_nothing(source: Record, tmp_path: Path) -> None:
    seen = read(tmp_path, source, [late(r) for r in source.requests])
    assert seen.observations == ()
    assert "CLIENT-BOUND" in seen.left_out[0]


def test_a_late_client_does_not_hide_that_the_times_scatter(source: Record, tmp_path: Path) -> None:
    scattered = [
        replace(r, chunks=tuple(c._replace(wire_ns=round(c.wire_ns * (1 + 0.4 * (r.repeat % 3)))) for c in r.chunks))
        for r in source.requests
    ]
    seen = read(tmp_path, source, [late(told(r)) for r in scattered])
    assert len(seen.observations) == 8
    assert len(seen.noisy) == 4
    assert "varies by" in seen.noisy[0]


def test_without_being_asked_no_cell_with_a_late_client_is_used(source: Record, tmp_path: Path) -> None:
    seen = read(tmp_path, source, [late(told(r)) for r in source.requests], include_noisy=False)
    assert seen.observations == ()
    assert len(seen.left_out) == 4


def test_a_noisy_load_is_left_out_and_not_named_as_used(source: Record, tmp_path: Path) -> None:
    scattered = [
        replace(r, cell=replace(r.cell, concurrency=2),
                chunks=tuple(c._replace(wire_ns=round(c.wire_ns * (1 + 0.4 * (r.repeat % 3)))) for c in r.chunks))
        for r in source.requests
    ]  # fmt: skip
    seen = read(tmp_path, source, [late(told(r)) for r in scattered])
    assert (seen.observations, seen.noisy, seen.late) == ((), (), ())
    assert len(seen.left_out) == 4
