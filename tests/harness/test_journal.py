"""Journals: whole lines or none, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import BadResults
from harness.journal import JOURNAL, Journal, find_journals, is_one_run, read_record, read_records
from harness.record import FORMAT, RunEnd, Sample, Samples
from harness.summary import rows
from tests.harness.making import header, request, subject

ROOT = Path(__file__).parents[2]


def write(folder: Path) -> Path:
    with Journal(folder) as journal:
        journal.append(header())
        journal.append(subject())
        journal.append(request([100, 110]))
        journal.append(Samples("0.0", (Sample(5, 100, 60, 40, None, 0.5),), 0.01))
        journal.append(RunEnd("done"))
    return folder / JOURNAL


def test_what_was_written_is_read_back_equal(tmp_path: Path) -> None:
    write(tmp_path)
    record = read_record(tmp_path)
    assert record.header == header()
    assert record.subjects == (subject(),)
    assert record.requests == (request([100, 110]),)
    assert record.samples[0].samples[0].anonymous_bytes == 40
    assert record.ends == (RunEnd("done"),)
    assert record.torn_lines == 0


def test_a_torn_last_line_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    file = write(tmp_path)
    whole = len(file.read_bytes())
    with file.open("ab") as end:
        end.write(b'{"kind":"request","subj')
    record = read_record(tmp_path)
    assert record.torn_lines == 1
    assert len(record.requests) == 1
    with Journal(tmp_path):
        pass
    assert len(file.read_bytes()) == whole, "opening for more cuts the torn line off"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_cut_anywhere_loses_at_most_the_line_that_was_being_written(tmp_path: Path, cut: int) -> None:
    file = write(tmp_path)
    os.truncate(file, len(file.read_bytes()) - cut)
    record = read_record(tmp_path)
    assert len(record.requests) == 1
    with Journal(tmp_path) as journal:
        journal.append(request([200, 210]))
    assert len(read_record(tmp_path).requests) == 2


def test_a_full_disk_is_one_clear_line_and_what_stood_before_stays_readable(tmp_path: Path) -> None:
    write(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Journal(tmp_path, sync=full) as journal, pytest.raises(BadResults, match="the disk is full.*--resume"):
        journal.append(request([300]))
    record = read_record(tmp_path)
    assert len(record.requests) == 1
    assert record.torn_lines == 0


LIMITED = """
import resource, sys
from pathlib import Path
from harness.errors import BadResults
from harness.journal import Journal
from tests.harness.making import header, request
folder = Path(sys.argv[1])
with Journal(folder) as journal:
    journal.append(header())
    size = journal.path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
    try:
        journal.append(request([100, 110]))
    except BadResults as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append(request([200, 210]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits there")
def test_a_write_that_the_system_cuts_short_leaves_no_half_line_and_later_lines_are_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "cannot add to" in done.stdout
    record = read_record(tmp_path)
    assert [r.chunks[0].wire_ns for r in record.requests] == [200_000_000]
    assert record.torn_lines == 0


def test_a_newer_format_is_refused_with_the_number(tmp_path: Path) -> None:
    file = write(tmp_path)
    lines = file.read_text().splitlines()
    first = json.loads(lines[0]) | {"format": FORMAT + 1, "invented_later": True}
    file.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    with pytest.raises(BadResults, match=f"has format {FORMAT + 1}, this version reads up to {FORMAT}"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "4"}, "its format is '4'"),
        ({"format": None}, "its format is 'None'"),
        ({"format": [1]}, "no whole number"),
        ({"settings": {"plan": [1]}}, "settings.plan"),
        ({"settings": {"door": "here"}}, "settings.door"),
        ({"settings": {"door": {"base_urls": [1]}}}, "base_urls are objects"),
        ({"settings": {"plan": {"slo_ttft_s": "1s"}}}, "slo_ttft_s is a number"),
        ({"settings": [1]}, "validation error"),
    ],
)
def test_a_header_whose_fields_are_of_another_kind_is_no_journal_line(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    file = write(tmp_path)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([json.dumps(json.loads(lines[0]) | change), *lines[1:]]) + "\n")
    with pytest.raises(BadResults, match=f"line 1 is not a journal line .*{re.escape(said)}"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["[" * 200_000, "[" * 200_000 + "]" * 200_000, '{"a":' * 200_000])
def test_a_line_nested_without_end_is_no_journal_line(tmp_path: Path, text: str) -> None:
    file = write(tmp_path)
    file.write_text(file.read_text() + text + "\n")
    with pytest.raises(BadResults, match="line 6 is not a journal line"):
        read_record(tmp_path)


@pytest.mark.parametrize("levels", [40, 900])
def test_what_a_server_says_nested_without_end_is_no_journal_line(tmp_path: Path, levels: int) -> None:
    file = write(tmp_path)
    lines = file.read_text().splitlines()
    lines[1] = lines[1].replace('"options":{}', '"options":{"a":' + "[" * levels + "]" * levels + "}")
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(BadResults, match="line 2 is not a journal line"):
        read_record(tmp_path)


def test_an_empty_journal_holds_no_run(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b"")
    with pytest.raises(BadResults, match="holds no run"):
        read_record(tmp_path)


def test_a_broken_line_in_the_middle_is_named_by_its_number(tmp_path: Path) -> None:
    file = write(tmp_path)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], "nonsense", *lines[2:]]) + "\n")
    with pytest.raises(BadResults, match="line 3 is not a journal line"):
        read_record(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(BadResults, match="cannot write results in .*--results"):
        Journal(tmp_path / "taken" / "run")


def test_journals_are_found_in_folders_and_a_folder_without_one_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path / "a")
    (tmp_path / "b").mkdir()
    assert find_journals([tmp_path, file]) == [file]
    with pytest.raises(BadResults, match="no results at"):
        find_journals([tmp_path / "b"])


def test_of_a_folder_of_runs_the_readable_ones_are_read_and_the_others_named(tmp_path: Path) -> None:
    file = write(tmp_path / "b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / JOURNAL).write_text("nonsense\n")
    records, unreadable = read_records([tmp_path])
    assert [record.path for record in records] == [str(file)]
    assert "line 1 is not a journal line" in unreadable[0]
    file.unlink()
    with pytest.raises(BadResults, match="no run can be read: .*line 1 is not a journal line"):
        read_records([tmp_path])


def test_a_runs_folder_and_its_journal_are_one_run_and_a_folder_above_them_is_not(tmp_path: Path) -> None:
    file = write(tmp_path / "a")
    assert [is_one_run(path) for path in (file, file.parent, tmp_path)] == [True, True, False]


def test_a_stored_record_of_format_1_is_still_read() -> None:
    record = read_record(ROOT / "tests" / "data" / "format-1.jsonl")
    assert record.requests
    assert record.samples
    assert {r.cell.arrival for r in record.requests} == {"closed"}
    assert {(r.status, r.claimed, r.cost_usd, r.chunks[0].characters) for r in record.requests} == {(None,) * 4}


def test_a_stored_record_of_format_2_is_read_with_all_that_it_has_beyond_format_1() -> None:
    record = read_record(ROOT / "tests" / "data" / "format-2.jsonl")
    assert record.header.format == 2
    assert {s.backend: s.client.split()[0] for s in record.subjects} == {"ollama": "ollama", "openai": "openai"}
    assert {(r.cell.arrival, r.cell.rate_per_s) for r in record.requests} == {("closed", None), ("constant", 20.0)}
    refused = [r for r in record.requests if r.status == 429]
    assert refused
    assert all(r.limits["retry-after"] == "0.01" for r in refused)
    good = [r for r in record.requests if r.error is None]
    assert {chunk.characters for r in good for chunk in r.chunks} == {5}
    assert all(r.claimed is not None and r.claimed.output_tokens == 4 and r.cpu_s is not None for r in good)
    assert {r.cell.backend for r in good if r.cost_usd is not None} == {"openai"}
    assert [r.cell.backend for r in record.requests if r.phase == "load"] == ["ollama"]
    assert record.requests[0].timings.load_s == pytest.approx(0.05, abs=0.01)


def test_a_stored_record_of_format_2_has_no_readings_of_the_machine_and_nobody_is_accused() -> None:
    record = read_record(ROOT / "tests" / "data" / "format-2.jsonl")
    assert record.header.machine is None
    assert {s.system for line in record.samples for s in line.samples} <= {None}
    assert {row.disturbances for row in rows(record)} == {()}


def test_a_stored_record_of_format_3_is_read_with_readings_of_the_machine() -> None:
    record = read_record(ROOT / "tests" / "data" / "format-3.jsonl")
    assert record.header.format == 3
    assert record.header.machine is not None
    assert record.header.machine.governor == "performance"
    assert record.header.probes.timer_resolution_s == 5e-8
    samples = [sample for line in record.samples for sample in line.samples]
    assert all(s.system is not None and s.system.busy_s is not None and s.threads for s in samples)
    assert len({line.pid for line in record.samples}) == 1
