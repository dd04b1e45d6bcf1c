"""`harness report`: where the page goes, what is refused, and that a real browser draws it."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BadResults
from harness.journal import Journal
from harness.report import write_report
from tests.harness.drawn import NAMES, browser, drawn
from tests.harness.making import header, request, subject
from tests.harness.test_cli import harness, refused
from tests.harness.test_page import HOSTILE, run_of

REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "epyc-7003-2-cores"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    told = run_of(3)
    with Journal(tmp_path / "run") as journal:
        journal.append(told.header, *told.subjects, *told.requests, *told.ends)
    return tmp_path / "run"


def test_the_page_replaces_the_one_before_and_leaves_nothing_beside(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.html"
    target.write_text("<!doctype html>\nold")
    done = write_report([run], target)
    assert target.read_text("utf-8").startswith("<!doctype html>")
    assert (done.runs, done.size_bytes) == (1, target.stat().st_size)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "run"]


def test_the_page_asks_nothing_of_any_network(run: Path, tmp_path: Path) -> None:
    write_report([run], tmp_path / "out.html")
    text = (tmp_path / "out.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert " src=" not in text.split("<script>")[0]
    assert "<link" not in text.split("<script>")[0]


def test_no_journal_is_replaced_by_a_page_be_it_of_this_report_or_of_another(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "journal.jsonl"
    other.write_bytes((run / "journal.jsonl").read_bytes())
    (tmp_path / "page.html").symlink_to(other)
    for target in (run / "journal.jsonl", other, tmp_path / "not-there-yet.jsonl", tmp_path / "page.html"):
        with pytest.raises(BadResults, match="that is the name of a journal"):
            write_report([run], target)
    assert other.read_bytes() == (run / "journal.jsonl").read_bytes()


def test_a_file_that_is_no_page_is_not_replaced_and_an_empty_one_is(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "thesis.txt"
    target.write_text("years of work")
    with pytest.raises(BadResults, match="no page of runs; name another file with --html"):
        write_report([run], target)
    assert target.read_text() == "years of work"
    target.write_text("")
    assert write_report([run], target).runs == 1


def test_a_folder_or_a_missing_folder_as_target_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadResults, match="it is no file"):
        write_report([run], run)
    with pytest.raises(BadResults, match="there is no folder"):
        write_report([run], tmp_path / "nowhere" / "out.html")
    with pytest.raises(BadResults, match="cannot write the page"):
        write_report([run], tmp_path / ("long" * 100))
    with pytest.raises(BadResults, match="too long"):
        write_report([run], tmp_path / ("x" * 250))


def test_a_run_that_cannot_be_read_is_named_on_the_page_of_the_others(run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "journal.jsonl").write_text("no journal\n")
    done = write_report([tmp_path], tmp_path / "out.html")
    assert done.runs == 1
    assert "line 1 is not a journal line" in done.unreadable[0]
    assert "not read: " in (tmp_path / "out.html").read_text("utf-8")


@pytest.mark.slow
def test_the_command_says_what_it_wrote_and_refuses_in_one_line(run: Path, tmp_path: Path) -> None:
    done = harness("report", "run", "--html", "out.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("page: out.html (1 run, ")
    refused("report", "run", "--html", "no/out.html", cwd=tmp_path, status=7, said="there is no folder no")
    refused("report", "gone", "--html", "out.html", cwd=tmp_path, status=7, said="no results at gone")


@pytest.mark.slow
def test_a_run_of_20000_requests_makes_a_page_that_can_be_sent_around(tmp_path: Path) -> None:
    told = run_of(20_000)
    with Journal(tmp_path / "run", sync=lambda _: None) as journal:
        journal.append(told.header, *told.subjects, *told.requests)
    assert write_report([tmp_path / "run"], tmp_path / "out.html").size_bytes < 10e6


@pytest.fixture
def chromium() -> str:
    found = browser()
    if found is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(NAMES)}): the page was not drawn")
    return found


@pytest.mark.slow
def test_chromium_draws_every_chart_of_a_real_run_without_an_error(chromium: str, tmp_path: Path) -> None:
    (journal,) = REFERENCE.glob("20261123-163216-*.jsonl")
    write_report([journal], tmp_path / "out.html")
    document, complaints = drawn(chromium, tmp_path / "out.html")
    assert complaints == []
    assert document.count('class="main-svg"') >= 3
    body = document.split("</script>")[-1] + document
    for words in ("file-backed", "anonymous", "memory", "cores", "TTFT, s", "tokens of context at the middle", "NOISY"):
        assert words in body
    assert document.count('<g class="point">') >= 40


@pytest.mark.slow
def test_chromium_draws_of_several_runs_the_one_that_is_named(chromium: str, tmp_path: Path) -> None:
    journals = sorted(REFERENCE.glob("*.jsonl"))[:3]
    write_report(journals, tmp_path / "out.html")
    assert 'data-drawn="yes"' not in drawn(chromium, tmp_path / "out.html")[0]
    document, complaints = drawn(chromium, tmp_path / "out.html", "#run-1")
    assert complaints == []
    assert document.count('data-drawn="yes"') == 3


@pytest.mark.slow
def test_chromium_shows_a_hostile_model_name_as_text(chromium: str, tmp_path: Path) -> None:
    name = HOSTILE.removesuffix("\ud800")
    cell = replace(request([]).cell, model=name)
    with Journal(tmp_path / "run") as journal:
        journal.append(header(), replace(subject(), model_name=name), request([100, 110], cell=cell))
        journal.append(request([], cell=cell, error=name))
    write_report([tmp_path / "run"], tmp_path / "out.html")
    document, complaints = drawn(chromium, tmp_path / "out.html")
    assert complaints == []
    assert "<title>20261123-120000-simulated - yardstick</title>" in document
    assert "<img" not in document
    assert html.escape(name, quote=False) in document
