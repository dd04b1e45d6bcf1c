"""What is planned for whom: costs, what is known already, what fits, and how a plan is written and refused."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from calibration.belief import belief, terms_of
from calibration.candidates import Cell, NoRoom, cell_cost_s, fresh_build_s, opening_cost_s
from calibration.errors import CalibrationError, NothingToFit
from calibration.fitting import fit, reference
from calibration.next_plan import Question, next_plan
from calibration.observations import Observation
from calibration.plan_file import plan_text
from calibration.planning import Planned, Wish, plan
from calibration.unsettled import Unsettled, last_words, lines
from calibration.writing import written
from estimator.catalog import find_model
from estimator.errors import EstimatorError
from estimator.specs import Workload
from estimator.tensors import model_file
from harness.errors import HarnessError
from harness.plan import read_plan
from tests.calibration.making import BUILD, planted_run

SMALL = Wish(60.0, 8 * 2**30, ("qwen2.5:0.5b", "tinyllama:1.1b"), quants=("Q4_0", "Q8_0"))


@cache
def small(budget_s: float = 60.0) -> Planned:
    """A plan for two small models, from the shipped prior alone."""
    return plan([], reference(), replace(SMALL, budget_s=budget_s))


def seen(quant: str) -> list[Observation]:
    """What a machine as fast as the reference would show of one type."""
    prices = belief([], prices_of(), [], []).prices
    found = []
    for name in ("qwen2.5:0.5b", "tinyllama:1.1b"):
        file = model_file(find_model(name), quant)
        for work in (
            Workload(24, 12),
            Workload(64, 16),
            Workload(160, 8),
            Workload(24, 12, 1024),
            Workload(64, 16, 1024),
        ):
            for phase, terms in terms_of(file, work).items():
                seconds = sum(prices[term] * amount for term, amount in terms.items())
                found.append(Observation(BUILD, phase, file, work, terms, seconds, 4, "seen", 0.02))
    return found


def prices_of() -> dict[str, float]:
    prior = reference()
    assert prior is not None
    return {name: entry.seconds_per_unit for name, entry in prior.speed.items()}


def test_a_cell_costs_its_context_once_and_its_requests_as_often_as_they_are_sent() -> None:
    known = belief([], prices_of(), [], [])
    file = model_file(find_model("qwen2.5:0.5b"), "Q4_0")
    work = Workload(64, 17, 256)
    context, terms = terms_of(file, Workload(257, 2)), terms_of(file, work)
    prime = known.seconds(context["prefill"]) + known.seconds(context["decode"])
    visit = known.seconds(terms["prefill"]) + 16 * known.seconds(terms["decode"])
    assert cell_cost_s(known, Cell(file, work, 3)) == pytest.approx(prime + 3 * visit)


def test_a_model_file_that_is_not_there_costs_its_building_too() -> None:
    known = belief([], prices_of(), [], [])
    file = model_file(find_model("tinyllama:1.1b"), "Q8_0")
    there, not_there = (opening_cost_s(known, file, build_s, frozenset()) for build_s in (lambda _: 0.0, fresh_build_s))
    assert not_there - there == pytest.approx(file.weight_bytes / 3e8)


def test_a_plan_keeps_its_budget_and_a_larger_one_is_worth_more() -> None:
    short, long = small(30.0), small(60.0)
    assert short.cost_s <= 30
    assert long.cost_s <= 60
    for phase in ("prefill", "decode"):
        assert long.after[phase] < short.after[phase] < short.before[phase]


def test_what_was_measured_is_not_measured_again_before_what_was_not() -> None:
    planned = plan(seen("Q4_0"), reference(), replace(SMALL, budget_s=25.0))
    assert {part.file.quant for part in planned.parts} == {"Q8_0"}
    assert planned.before["decode"] < small().before["decode"]


def test_a_type_that_the_prior_never_saw_is_guessed_from_its_family_and_measured() -> None:
    wish = replace(SMALL, models=("tinyllama:1.1b",), quants=("Q4_0", "Q5_K_M"))
    assert "Q5_K_M" in {part.file.quant for part in plan([], reference(), wish).parts}


def test_only_what_may_be_measured_is_and_the_rest_is_asked_all_the_same() -> None:
    planned = plan([], reference(), replace(SMALL, measure=("qwen2.5:0.5b",)))
    assert {part.file.model.name for part in planned.parts} == {"qwen2.5:0.5b"}
    assert planned.asked == small().asked


def test_models_that_do_not_fit_are_neither_asked_nor_measured() -> None:
    wish = replace(SMALL, models=("qwen2.5:0.5b", "llama3.1:70b"))
    assert {part.file.model.name for part in plan([], reference(), wish).parts} == {"qwen2.5:0.5b"}
    with pytest.raises(NoRoom, match=r"no model fits: the smallest .* needs \d+\.\d GiB of memory and 4\.0 GiB"):
        plan([], reference(), replace(wish, models=("llama3.1:70b",), memory_bytes=4 * 2**30))


def test_a_file_for_which_there_is_no_disk_is_not_planned() -> None:
    planned = plan([], reference(), SMALL, lambda file: math.inf if file.quant == "Q4_0" else 0.0)
    assert {part.file.quant for part in planned.parts} == {"Q8_0"}
    with pytest.raises(NoRoom, match="no disk"):
        plan([], reference(), SMALL, lambda _: math.inf)


def test_a_budget_that_holds_no_cell_says_what_the_cheapest_takes() -> None:
    with pytest.raises(
        CalibrationError, match=r"holds no cell: the cheapest, qwen2\.5:0\.5b .* takes \d+ s .* --budget"
    ) as e:
        plan([], reference(), replace(SMALL, budget_s=1.0))
    enough = float(str(e.value).rsplit("--budget ", 1)[1].split("s ")[0])
    assert plan([], reference(), replace(SMALL, budget_s=enough)).parts


def test_without_prior_and_without_runs_no_cost_is_guessed() -> None:
    with pytest.raises(NothingToFit, match="needs measured cells"):
        plan([], None, SMALL)
    assert plan(seen("Q8_0"), None, SMALL).parts


def test_the_harness_reads_what_was_planned(tmp_path: Path) -> None:
    planned = small()
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(planned, "test"), "utf-8")
    wanted = read_plan(path)
    opening_s = sum(part.opening_s for part in planned.parts)
    assert wanted.budget_s == pytest.approx(60 - opening_s, abs=0.5), "a run counts requests, not loading"
    assert [(part.model, part.quant) for part in wanted.parts] == [
        (part.file.model.name, part.file.quant) for part in planned.parts
    ]
    for found, meant in zip(wanted.parts, planned.parts, strict=True):
        shapes = [(s.prompt_tokens, s.output_tokens, s.depth_tokens, s.concurrency) for s in found.shapes]
        works = [cell.work for cell, _ in meant.cells]
        assert shapes == [(w.prompt_tokens, w.output_tokens, w.depth_tokens, 1) for w in works]


def test_the_command_in_the_plan_makes_it_again() -> None:
    question = Question("90s", "tinyllama", None, "q8_0", 3, "4GiB", prior=True, fresh=True)
    assert question.command([Path("results/local")]) == (
        "python -m calibration plan results/local --budget 90s --model tinyllama --quant q8_0 --memory 4GiB "
        "--repeats 3 --fresh"
    )


def test_a_fit_ends_by_saying_what_is_uncertain_and_what_would_settle_it(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "a run")
    uncertain, settles = last_words(fit([run], None), None, [run])[:2]
    assert uncertain.startswith("still uncertain")
    assert " of " in uncertain.split("most: ")[1]
    assert f"python -m calibration plan '{run}' --budget 5m" in settles


def test_terms_that_a_fit_could_not_tell_apart_are_named_if_the_planned_cells_would() -> None:
    *_, apart = lines(Unsettled(small(), {"prefill": ("step", "request"), "decode": ()}), "results/local")
    assert apart == "and tell apart: step, request (prefill)"


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question("0s"), "is no time"),
        (Question("5 fortnights"), "is no duration"),
        (Question("9" * 400), "is no duration"),
        (Question(memory="much"), "cannot read the size"),
        (Question(model="smollm2:135m"), "may lie in a cache"),
        (Question(model="tinylama"), "did you mean"),
        (Question(quant="q4_7"), "unknown weight type"),
    ],
)
def test_words_that_mean_nothing_are_refused(question: Question, said: str) -> None:
    with pytest.raises((CalibrationError, HarnessError, EstimatorError), match=said):
        next_plan([], question)


def test_a_plan_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CalibrationError, match="cannot write"):
        written(tmp_path / "file" / "plan.toml", "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--budget", "2s"), 2, "holds no cell"),
        (("--memory", "1MiB"), 5, "no model fits"),
        (("--model", "tinylama"), 3, "did you mean"),
        (("nowhere",), 7, "nowhere"),
    ],
)
def test_what_cannot_be_planned_is_one_line_with_its_status(
    tmp_path: Path, options: tuple[str, ...], status: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "calibration", "plan", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert not (tmp_path / "results").exists()
