"""Records of which no honest fit can be made, or none without a word: each has its documented answer (README)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from calibration.errors import NothingToFit
from calibration.fitting import Fitted, fit
from calibration.report import show_fit
from harness.errors import BadResults
from harness.journal import JOURNAL, Journal, read_heads, read_record
from harness.record import Line, Probes, Record
from tests.calibration.making import MODELS, PRICES, planted_run
from tests.calibration.noisy import noisy_run


def rewritten(folder: Path, record: Record) -> Path:
    """The record as a journal of its own."""
    lines: list[Line] = [record.header, *record.subjects, *record.requests, *record.samples, *record.ends]
    with Journal(folder, sync=lambda _: None) as journal:
        journal.append(*lines)
    return folder


def said(fitted: Fitted, words: str) -> list[str]:
    return [reason for reason in fitted.left_out if words in reason]


def test_cells_that_beat_the_roofline_are_left_out_by_name_and_nothing_else_is_no_fit(tmp_path: Path) -> None:
    record = read_record(planted_run(tmp_path / "run"))
    cpu = tuple(replace(s, system_info="CPU : AVX2 = 1 |") for s in record.subjects)

    def of_memory(bytes_per_s: float) -> Record:
        header = replace(record.header, probes=Probes(bytes_per_s, 1e12, None, 0.0, 0.0))
        return replace(record, header=header, subjects=cpu)

    impossible = of_memory(14e9)
    fitted = fit([rewritten(tmp_path / "fast", impossible)], prior=None)
    assert len(said(fitted, "where the machine reads 14")) == 4 * len(MODELS)
    assert not any(name.startswith("decode of") for name in fitted.coefficients.evidence.cells)
    with pytest.raises(NothingToFit, match=r"no possible cell: prefill of .*reads \d+ GB/s where the machine reads 1"):
        fit([rewritten(tmp_path / "faster", of_memory(1e9))], prior=None)
    first = (replace(record.requests[0], chunks=tuple(c._replace(wire_ns=0) for c in record.requests[0].chunks)),)
    nothing = replace(impossible, requests=first * 2, subjects=cpu[:1])
    timeless = rewritten(tmp_path / "none", nothing)
    with pytest.raises(NothingToFit, match=r"no usable cell: .*arrived no later than their requests were sent"):
        fit([timeless], prior=None)


def test_a_probe_that_other_work_disturbed_refuses_no_cell_and_is_no_rate_of_the_machine(tmp_path: Path) -> None:
    record = read_record(planted_run(tmp_path / "run"))
    cpu = tuple(replace(s, system_info="CPU : AVX2 = 1 |") for s in record.subjects)

    def beside(share: float | None, name: str) -> Fitted:
        probes = Probes(14e9, 1e12, None, 0.0, 0.0, others_share=share)
        header = replace(record.header, probes=probes)
        return fit([rewritten(tmp_path / name, replace(record, header=header, subjects=cpu))], prior=None)

    busy = beside(0.3, "busy")
    assert said(busy, "where the machine reads 14") == []
    assert busy.coefficients.machine.bandwidth_bytes_per_s is None
    for share, name in ((0.02, "quiet"), (None, "old")):
        told = beside(share, name)
        assert said(told, "where the machine reads 14")
        assert told.coefficients.machine.bandwidth_bytes_per_s == 14e9


def test_of_mixed_builds_the_newest_is_fitted_and_the_others_are_counted(tmp_path: Path) -> None:
    for number in range(8):
        planted_run(tmp_path / f"{number}", models=MODELS[:1], engine=f"engine {number}",
                    started_at=f"2026-11-2{number}T12:00:00+00:00")  # fmt: skip
    fitted = fit([tmp_path], prior=None)
    assert fitted.build.engine == "engine 7"
    assert len(said(fitted, "8 observations of another build: engine")) == 5
    assert said(fitted, "16 observations of 2 more builds (0 other machines in all)")


def test_one_machine_gives_coefficients_that_name_it(tmp_path: Path) -> None:
    machine = fit([planted_run(tmp_path / "run")], prior=None).coefficients.machine
    assert (machine.cpu, machine.physical_cores, machine.memory_total_bytes) == ("Test CPU", 2, 8 * 2**30)


def test_one_cell_alone_gives_no_interval_no_standard_error_and_says_what_it_cannot_tell(tmp_path: Path) -> None:
    record = read_record(planted_run(tmp_path / "run", models=MODELS[:1]))
    one = replace(record, requests=record.requests[:4])
    c = fit([rewritten(tmp_path / "one", one)], prior=None).coefficients
    assert c.records.cells == 1
    assert "decode" not in c.held_out
    assert {entry.standard_error for entry in c.speed.values()} == {None}
    assert c.evidence.error_method == "unknown: three models are needed that can be left out, there are none"
    assert {"weights.Q8_0", "layer", "step"} <= set(c.evidence.not_told_apart["decode"])


def test_a_price_that_these_cells_leave_open_is_said_to_be_and_not_a_rate_that_nothing_has(tmp_path: Path) -> None:
    record = read_record(planted_run(tmp_path / "run", models=MODELS[:1]))
    fitted = fit([rewritten(tmp_path / "two", replace(record, requests=record.requests[:8]))], prior=None)
    rows, text = shown(fitted)
    for name in ("attention.decode_flop", "weights.Q8_0", "step"):
        assert name in text[text.index("decode: cannot be told apart by these cells") :]
    assert not [row for row in rows.values() if "e+1" in row[0]]
    # What two cells leave open is shared out, not given to one term alone, which no other model's cells would bear.
    known = fitted.coefficients.speed
    assert [known[name].seconds_per_unit / PRICES[name] for name in ("weights.Q8_0", "layer")] == pytest.approx(
        [1, 1], abs=0.6
    )
    free = replace(known["weights.Q8_0"], seconds_per_unit=1e-30)
    nothing = replace(fitted.coefficients, speed=known | {"weights.Q8_0": free})
    assert shown(replace(fitted, coefficients=nothing))[0]["weights.Q8_0"][:3] == ["not", "determined", "-"]


def shown(fitted: Fitted) -> tuple[dict[str, list[str]], str]:
    """The words of each row of the printed table, and all of it on one line."""
    console = Console(width=100, record=True, file=StringIO())
    show_fit(console, fitted)
    text = console.export_text()
    return {words[0]: words[1:] for line in text.splitlines() if len(words := line.split()) > 4}, " ".join(text.split())


def test_terms_that_are_constant_in_all_cells_are_named_and_others_are_not(tmp_path: Path) -> None:
    one_model = fit([planted_run(tmp_path / "one", models=MODELS[:1])], prior=None).coefficients.evidence
    assert {"weights.Q8_0", "layer", "step", "vector"} <= set(one_model.not_told_apart["decode"])
    assert "request" in one_model.not_told_apart["prefill"]
    six = fit([planted_run(tmp_path / "six")], prior=None).coefficients.evidence
    assert not {"weights.Q8_0", "attention.decode"} & set(six.not_told_apart["decode"])


def test_runs_that_contradict_each_other_are_left_out_by_name_with_both_figures(tmp_path: Path) -> None:
    planted_run(tmp_path / "a")
    planted_run(tmp_path / "b", models=MODELS[:1], scale=lambda _: 1.5)
    fitted = fit([tmp_path], prior=None)
    told = said(fitted, "contradictory: ")
    assert len(told) == 8
    assert "ms in a, " in told[0]
    assert "ms in b, of the same build; measure again" in told[0]
    assert fitted.coefficients.records.models == len(MODELS) - 1


def test_a_noisy_run_says_nothing_against_a_valid_one_that_it_contradicts(tmp_path: Path) -> None:
    planted_run(tmp_path / "a")
    planted_run(tmp_path / "b", models=MODELS[:1], scale=lambda repeat: (1.5, 3.0)[repeat % 2])
    fitted, quiet = fit([tmp_path], prior=None), fit([tmp_path / "a"], prior=None)
    told = said(fitted, ", where runs contradict each other and a is VALID")
    assert len(told) == 4
    assert " in b: NOISY (TTFT varies by " in told[0]
    assert fitted.coefficients.records.models == len(MODELS)
    assert {o.seconds for o in fitted.observations} == {o.seconds for o in quiet.observations}


def test_a_copy_of_a_journal_is_counted_once_and_named(tmp_path: Path) -> None:
    original = planted_run(tmp_path / "a")
    shutil.copytree(original, tmp_path / "copy")
    fitted = fit([tmp_path], prior=None)
    assert fitted.coefficients.records.requests == 4 * 4 * len(MODELS)
    assert said(fitted, f"copy/{JOURNAL}: a copy of ")


def test_a_journal_that_cannot_be_read_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    planted_run(tmp_path / "a")
    broken = tmp_path / "b" / JOURNAL
    broken.parent.mkdir()
    text = (tmp_path / "a" / JOURNAL).read_text("utf-8").replace('"run_id":"a"', '"run_id":"b"')
    broken.write_text(text.replace('"phase":"counted"', '"phase":"no such"', 1), "utf-8")
    fitted = fit([tmp_path], prior=None)
    assert said(fitted, "is not a journal line")
    assert fitted.coefficients.records.journals == 1
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(BadResults, match=r"no run can be read: .*is not a journal line"):
        fit([tmp_path], prior=None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"slots": "x"}, "slots 'x', no whole number above 0"),
        ({"slots": None}, "slots 'None', no whole number above 0"),
        ({"slots": 0}, "slots '0', no"),
        ({"context_tokens": 1.5}, "context_tokens '1.5', no"),
        ({"ubatch_tokens": 0}, "ubatch_tokens '0', no"),
        ({"threads": "many"}, "threads 'many', no"),
    ],
)
def test_a_run_whose_engine_has_options_that_are_none_is_named_and_the_others_are_used(
    changed: dict[str, object], words: str, tmp_path: Path
) -> None:
    record = read_record(planted_run(tmp_path / "a"))
    odd = tuple(replace(s, options={**s.options, **changed}) for s in record.subjects)
    rewritten(tmp_path / "b", replace(record, header=replace(record.header, run_id="b"), subjects=odd))
    assert said(fit([tmp_path], prior=None), words)
    with pytest.raises(BadResults, match=words):
        fit([tmp_path / "b"], prior=None)


def test_a_head_that_cannot_be_read_is_named_by_its_line(tmp_path: Path) -> None:
    path = planted_run(tmp_path / "a") / JOURNAL
    lines = path.read_text("utf-8").splitlines(keepends=True)
    at = [number for number, line in enumerate(lines, 1) if '"kind":"subject"' in line][1]
    lines[at - 1] = lines[at - 1].replace('"subject_id":', '"no such":')
    path.write_text("".join(lines), "utf-8")
    with pytest.raises(BadResults, match=f"line {at} is not a journal line"):
        fit([path], prior=None)


def test_what_a_user_wrote_is_no_head_of_a_journal(tmp_path: Path) -> None:
    record = read_record(planted_run(tmp_path / "a"))
    words = '"kind":"subject" "kind":"run"'
    said_so = tuple(replace(r, error=words) for r in record.requests)
    told = tuple(replace(s, model={**s.model, "kind": "run"}, client=words) for s in record.subjects)
    there = rewritten(tmp_path / "b", replace(record, requests=said_so, subjects=told)) / JOURNAL
    head = read_heads(there)
    assert (head.header, head.subjects) == (record.header, told)


def test_standard_errors_hold_the_planted_prices_and_runs_are_known_to_differ(tmp_path: Path) -> None:
    runs = [noisy_run(tmp_path / str(day), day) for day in range(3)]
    c = fit(runs, prior=None).coefficients
    assert c.evidence.error_method == "jackknife over 6 models, each left out whole, and what runs differ by"
    for name in ("weights.Q8_0", "matmul.Q8_0", "attention.decode"):
        entry = c.speed[name]
        assert entry.standard_error is not None
        assert abs(entry.seconds_per_unit - PRICES[name]) < 4 * entry.standard_error
    spread = c.evidence.run_to_run["decode"]
    assert spread.runs == 3
    assert 0.005 < spread.relative_sd < 0.03
    assert set(c.evidence.libraries) == {"python", "llm-yardstick", "numpy", "scikit-learn", "scipy"}
