"""The page of stored runs, from records alone: what is drawn, what is said to be unknown, what is left out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest

from harness.page.depths import depths
from harness.page.document import page, script_json
from harness.page.instants import Axis
from harness.page.latencies import latencies
from harness.page.markup import chart_label
from harness.page.names import FAILURE, names_of
from harness.page.thinning import BARS, DOTS
from harness.page.timeline import timeline
from harness.record import Cell, Record, Request, RunEnd, Sample, Samples
from harness.samples import GpuPower
from harness.summary import rows
from tests.harness.making import CELL, MS, header, request, subject

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">%{x}\ud800"
S = 1_000 * MS


def at(begin_s: float, made: Request) -> Request:
    """The request, sent at `begin_s`."""
    shift = round(begin_s * S)
    chunks = tuple(
        chunk._replace(wire_ns=chunk.wire_ns + shift, delivered_ns=(chunk.delivered_ns or 0) + shift)
        for chunk in made.chunks
    )
    return replace(made, scheduled_ns=shift, sent_ns=shift, ended_ns=made.ended_ns + shift, chunks=chunks)


def sample(at_s: float, *, told: bool = True, watts: float | None = None) -> Sample:
    return Sample(
        round(at_s * S), 3 * 2**30, 2**30 if told else None, 2**31 if told else None, None, at_s * 2,
        (GpuPower(0, watts, None),) if watts is not None else (),
    )  # fmt: skip


def record(requests: list[Request], samples: list[Sample] | None = None, cell: Cell = CELL) -> Record:
    engine = replace(subject(), backend=cell.backend, model_name=cell.model, quant=cell.quant)
    lines = (Samples("0.0", tuple(samples), 0.0),) if samples else ()
    return Record(header(), (engine,), tuple(requests), lines, (RunEnd("done"),))


def figure(drawn: Any) -> dict[str, Any]:
    """The figure of a chart, which plotly's own schema accepts."""
    assert drawn is not None
    go.Figure(drawn.figure)
    found: dict[str, Any] = drawn.figure
    return found


def run_of(count: int) -> Record:
    """A quiet run: a warm-up, then `count` requests a second apart."""
    made = [at(k + 1, request([100, 110, 120, 130])) for k in range(count)]
    return record([at(0, request([100, 110], phase="warmup")), *made])


def test_every_request_is_a_bar_in_two_parts_and_a_warm_up_is_hatched() -> None:
    told = run_of(3)
    bars = figure(timeline(told, names_of(told)))["data"][0]
    assert bars["base"] == pytest.approx([0, 0.1, 1, 1.1, 2, 2.1, 3, 3.1], abs=0.001)
    assert bars["marker"]["pattern"]["shape"] == ["/", "/", "", "", "", "", "", ""]


def test_requests_that_overlap_in_time_stand_in_rows_of_their_own() -> None:
    told = record([at(0, request([100, 900])), at(0.5, request([100, 900])), at(1.0, request([100, 900]))])
    assert figure(timeline(told, names_of(told)))["data"][0]["y"] == [0, 0, 1, 1, 0, 0]


def test_a_failure_is_marked_with_its_error() -> None:
    told = record([at(0, request([], error="HTTP 500: <b>out of memory</b>"))])
    crosses = [t for t in figure(timeline(told, names_of(told)))["data"] if t["marker"]["color"] == FAILURE]
    assert "HTTP 500: &lt;b&gt;out of memory" in crosses[0]["hovertext"][0]


def test_memory_that_no_system_tells_apart_is_said_to_be_so_and_never_drawn_as_zero() -> None:
    told = record([at(0, request([100, 900]))], [sample(k / 10, told=False) for k in range(9)])
    traces = [trace for trace in figure(timeline(told, names_of(told)))["data"] if trace["type"] == "scatter"]
    assert [trace["name"] for trace in traces] == ["resident (components not told)", "CPU"]
    assert all(value == 3 for value in traces[0]["y"])


def test_memory_and_power_that_were_not_sampled_are_named_unknown() -> None:
    told = run_of(2)
    drawn = timeline(told, names_of(told))
    assert drawn is not None
    assert "memory and CPU are unknown: the server's process was not sampled" in drawn.notes
    assert any(note.startswith("power not measured") for note in drawn.notes)
    assert "yaxis2" not in drawn.figure["layout"]


def test_cpu_is_the_cores_kept_busy_and_power_the_watts_that_were_read() -> None:
    told = record([at(0, request([100, 900]))], [sample(k / 10, watts=250) for k in range(9)])
    traces = {t.get("name"): t for t in figure(timeline(told, names_of(told)))["data"]}
    assert traces["CPU"]["y"] == pytest.approx([2.0] * 8)
    assert traces["GPU 0"]["y"] == [250] * 9


def test_a_sensor_that_was_silent_leaves_a_gap() -> None:
    instants = [k / 10 for k in range(10)] + [5 + k / 10 for k in range(10)]
    told = record([at(0, request([100, 7000]))], [sample(instant) for instant in instants])
    traces = {t.get("name"): t for t in figure(timeline(told, names_of(told)))["data"]}
    assert traces["anonymous"]["y"].count(None) == 1
    assert None in traces["CPU"]["y"]


def test_the_night_between_two_sittings_is_left_out_of_the_time_axis() -> None:
    later = replace(subject(), subject_id="0.1", started_ns=9000 * S, ready_ns=9001 * S)
    more = replace(at(9002, request([100, 900])), subject_id="0.1")
    told = replace(record([at(0, request([100, 900]))]), requests=(at(0, request([100, 900])), more))
    axis = Axis(replace(told, subjects=(subject(), later)))
    assert axis.seconds("0.1", 9002 * S) == pytest.approx(0.9 + 2 + 2)
    assert len(axis.cuts_s) == 1
    assert axis.seconds("0.0", 4000 * S) is None


def test_a_clock_that_began_anew_after_a_reboot_does_not_mix_the_sittings() -> None:
    first = replace(subject(), started_ns=500 * S, ready_ns=501 * S)
    again = replace(subject(), subject_id="0.1", started_ns=5 * S, ready_ns=6 * S)
    axis = Axis(Record(header(), (first, again)))
    assert axis.seconds("0.1", 5 * S) == pytest.approx(1 + 2)


def test_a_cell_of_few_requests_has_no_p99_and_one_of_many_gaps_has() -> None:
    told = run_of(40)
    words = str(figure(latencies(told, names_of(told)))["data"])
    assert "p99 10 ms, n 120" in words
    assert "p99 0.1 s" not in words


def test_the_gaps_between_arrivals_have_no_interval_since_they_depend_on_each_other() -> None:
    told = run_of(40)
    medians = [t for t in figure(latencies(told, names_of(told)))["data"] if "error_x" in t]
    assert [mark["error_x"]["visible"] for mark in medians] == [True, True, False]


def test_dots_of_a_large_cell_are_thinned_by_rank_and_the_page_says_so() -> None:
    many = record([at(k, request([100 + k, 110 + k])) for k in range(500)])
    drawn = latencies(many, names_of(many))
    dots = figure(drawn)["data"][0]["x"]
    assert (len(dots), dots[0], dots[-1]) == (DOTS, 0.1, 0.599)
    assert drawn is not None
    assert "TTFT (500)" in drawn.notes[0]


def test_bars_of_a_large_run_are_thinned_and_its_failures_kept() -> None:
    made = [at(k, request([100, 110], error="lost" if k == 1234 else None)) for k in range(5000)]
    told = record(made)
    drawn = timeline(told, names_of(told))
    traces = figure(drawn)["data"]
    assert BARS / 2 < len(traces[0]["x"]) / 2 <= BARS + 1
    assert traces[-1]["x"] == [pytest.approx(1234.11)]
    assert drawn is not None
    assert "of 5,000 requests: every 4th" in drawn.notes[0]


def test_zero_gaps_that_a_logarithmic_axis_cannot_hold_are_counted() -> None:
    told = record([at(k, request([100, 100, 110, 400])) for k in range(3)])
    drawn = latencies(told, names_of(told))
    assert drawn is not None
    assert "ITL: 3 of 9 values are 0 (arrived in one piece) and not on its logarithmic axis" in drawn.notes


def test_decode_stands_over_the_context_that_it_attends_to_and_doubtful_cells_are_hollow() -> None:
    deep = replace(CELL, depth_tokens=512)
    told = record([at(k, request([100, 110 + k % 2], cell=cell)) for k in range(8) for cell in (CELL, deep)])
    (series,) = figure(depths(rows(told), names_of(told)))["data"]
    assert series["x"] == [68.5, 580.5]
    # The cache held nothing where 512 tokens were meant.
    assert series["marker"]["symbol"] == ["circle", "circle-open"]


def test_back_ends_of_one_journal_are_told_apart() -> None:
    other = replace(CELL, backend="http")
    told = record([at(0, request([100, 110])), at(1, request([100, 110], cell=other))])
    told = replace(told, subjects=(*told.subjects, replace(subject(), subject_id="1.0", backend="http")))
    assert figure(timeline(told, names_of(told)))["layout"]["yaxis"]["ticktext"] == [
        "simulated: mistral:7b Q4_K_M", "http: mistral:7b Q4_K_M",
    ]  # fmt: skip
    assert len(figure(depths(rows(told), names_of(told)))["data"]) == 2


def test_a_hostile_model_name_or_error_is_text_everywhere_on_the_page() -> None:
    cell = replace(CELL, model=HOSTILE)
    told = record([at(0, request([100, 110], cell=cell)), at(1, request([], cell=cell, error=HOSTILE))], cell=cell)
    text = page([told, told], [HOSTILE], "/* the library */")
    assert "<img" not in text
    assert text.count("<script") == 2 + 2 * 3
    assert "&lt;/script&gt;" in text


def test_a_figure_within_a_script_cannot_end_it_and_holds_no_number_that_json_lacks() -> None:
    told = script_json({"name": "</script><!--", "y": (float("nan"), 1.5)})
    assert "<" not in told
    assert json.loads(told) == {"name": "</script><!--", "y": [None, 1.5]}


def test_a_run_of_which_nothing_is_known_says_so() -> None:
    text = page([Record(header())], [], "")
    assert "no end is on record" in text
    assert "No cell was counted." in text
    assert "there is nothing to draw" in text
    assert re.search(r"engines</dt><dd>unknown", text)


def test_several_runs_are_listed_with_their_verdicts_and_closed() -> None:
    text = page([run_of(8), run_of(1)], ["b.jsonl is torn"], "")
    assert 'href="#run-1"' in text
    assert "not read: b.jsonl is torn" in text
    assert "1 NOISY" in text
    assert '<details class="run" id="run-0">' in text


def test_a_label_in_a_chart_holds_no_tag_and_no_placeholder_and_keeps_both_ends() -> None:
    assert chart_label("<b>%{x}</b>") == "&lt;b&gt;%\u200b{x}&lt;/b&gt;"
    assert chart_label("begin" + "-" * 100 + "end", 20) == "begin----…-------end"


def test_power_of_the_cpu_is_what_its_energy_counter_gained_and_nothing_where_it_went_back() -> None:
    joules = [0.0, 5.0, 10.0, 1.0, 6.0]
    samples = [sample(k / 10)._replace(cpu_energy_j=value) for k, value in enumerate(joules)]
    told = record([at(0, request([100, 900]))], samples)
    traces = {t.get("name"): t for t in figure(timeline(told, names_of(told)))["data"]}
    assert traces["CPU packages"]["y"] == pytest.approx([50, 50, 50])
