"""`calibration report`: which evidence is given, the page, what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest

from calibration.__main__ import report
from calibration.errors import CalibrationError
from calibration.evidence import evidence_of
from calibration.fitters import fit_speed
from calibration.fitting import fit
from calibration.local.curve import ALL, DRAWS
from calibration.local.curve import drawn as drawn_cells
from calibration.local.leaving import of_phase, sizes_of
from calibration.local.report import evidence_for
from calibration.local.stored import Stored
from calibration.shown.page import Evidence, evidence_page, write_page
from harness.errors import BadResults
from harness.report import require_place
from tests.calibration.making import observations, planted_run
from tests.calibration.test_cli import run
from tests.harness.drawn import NAMES, browser, drawn
from tests.planted import MODELS

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>document.title='taken'</script><img src=x>%{x}"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Elements(HTMLParser):
    """Which elements stand open; each must be closed by its own end."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    fitted = fit([planted_run(tmp_path_factory.mktemp("planted") / "run")], prior=None)
    file = fitted.observations[0].file
    hostile = replace(file, model=replace(file.model, names=(HOSTILE,)))
    cells = [replace(o, file=hostile) if o.file.model == file.model else o for o in observations(noise=0.05)]
    prices = {name: c.seconds_per_unit for name, c in fitted.coefficients.speed.items()}
    found = replace(fitted, observations=tuple(cells), prices=prices, refit=partial(fit_speed, prior=prices))
    return evidence_for(Stored(found, fitted.coefficients, 0), draws=2)


@pytest.fixture(scope="module")
def page(evidence: Evidence) -> str:
    return evidence_page(evidence, "/* charts */")


def test_the_page_parses_and_asks_nothing_of_any_network(page: str) -> None:
    elements = Elements()
    elements.feed(page)
    assert elements.open == []
    assert "default-src 'none'" in page
    assert [tag for tag, told in elements.seen if tag == "link" or "src" in told or "href" in told] == []
    assert [tag for tag, _ in elements.seen].count("img") == 0


def test_every_chart_has_its_place_and_is_one_that_plotly_accepts(page: str, evidence: Evidence) -> None:
    figures = dict(re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page))
    assert list(figures) == [
        f"{what}-{phase}" for what in ("predicted", "residual", "curve") for phase in ("decode", "prefill")
    ]
    for name, figure in figures.items():
        assert page.count(f'data-figure="{name}"') == 1
        go.Figure(json.loads(figure))
    by_model = json.loads(figures["predicted-decode"])["data"][1:]
    assert len(by_model) == len(MODELS)
    told = [text for trace in by_model for text in (trace["name"], *trace["hovertext"])]
    assert not [text for text in told if re.search(r"<(?!br>)|%\{", text)]
    assert all(len(trace["x"]) == len(trace["error_y"]["array"]) == 4 for trace in by_model)
    assert all(value is not None for trace in by_model for value in trace["error_y"]["array"])
    assert [trace["x"] for trace in json.loads(figures["curve-decode"])["data"]][2][0] == "0"


def test_the_tables_are_all_there_in_words(evidence: Evidence) -> None:
    titles = " ".join(table.title for table in evidence.tables)
    for word in (
        "What was left out",
        "Each model",
        "Each weight type",
        "Memory",
        "90 % intervals",
        "Learning curve",
        "Ablation",
        "worst 10",
    ):
        assert word in titles
    for table in evidence.tables:
        assert {len(row) for row in table.rows} <= {len(table.heads)}


def test_runs_and_published_measurements_are_not_mixed(tmp_path: Path) -> None:
    published = ROOT / "results/reference/published"
    with pytest.raises(CalibrationError, match="name it alone"):
        evidence_of([published, tmp_path])
    with pytest.raises(CalibrationError, match="--include-noisy is of runs"):
        evidence_of([published], include_noisy=True)


def test_a_page_never_replaces_what_is_no_page(tmp_path: Path, evidence: Evidence) -> None:
    (tmp_path / "journal.html").write_text("mine")
    with pytest.raises(BadResults, match="no page of runs"):
        report([ROOT], html=tmp_path / "journal.html")
    write_page(evidence, tmp_path / "out.html")
    require_place(tmp_path / "out.html")
    assert (tmp_path / "out.html").read_text("utf-8").startswith("<!doctype html>")


@pytest.mark.slow
def test_the_command_prints_the_tables_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([planted_run(tmp_path / "run", models=MODELS[:2])], html=tmp_path / "out.html")
    told = capsys.readouterr().out
    assert "### Learning curve" in told
    assert "page: " in told
    assert (tmp_path / "out.html").read_text("utf-8").count('class="chart"') == 6


@pytest.mark.slow
def test_the_command_refuses_one_model_in_one_line(tmp_path: Path) -> None:
    planted_run(tmp_path / "alone", models=MODELS[:1])
    refused = run("calibration", "report", "alone", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (8, 1)
    assert "no model can be left out" in refused.stderr


@pytest.mark.slow
def test_the_readme_tells_the_learning_curve_that_the_stored_campaign_gives() -> None:
    told = re.search(r"off in decode by (.*?) after all", " ".join((ROOT / "README.md").read_text("utf-8").split()))
    assert told is not None
    observations = fit([ROOT / "results/reference/epyc-7003-2-cores"], prior=None).observations
    points = drawn_cells(observations, fit_speed, DRAWS)
    sizes = [sizes_of(of_phase(points[count], "decode")) for count in ("3", "10", "20", ALL)]
    assert re.findall(r"([\d.]+) %", told[1]) == [f"{100 * size.median:.1f}" for size in sizes if size]


@pytest.mark.slow
def test_chromium_draws_every_chart_and_shows_a_hostile_name_as_text(evidence: Evidence, tmp_path: Path) -> None:
    found = browser()
    if found is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(NAMES)}): the page was not drawn")
    write_page(evidence, tmp_path / "out.html")
    document, complaints = drawn(found, tmp_path / "out.html")
    assert complaints == []
    assert document.count('data-drawn="yes"') == 6
    assert "<title>Calibration" in document
