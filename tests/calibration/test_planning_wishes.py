"""What a plan may be told: cells that it must hold, several models, the disk, another machine's speed."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from calibration.errors import CalibrationError
from calibration.fitting import reference
from calibration.next_plan import Question, faster, next_plan
from calibration.plan_file import plan_text
from calibration.planning import Planned, Wish, choose_from, plan, planned
from estimator.coefficients import Coefficients
from harness.first_run import PLANS
from harness.plan import read_plan

SMALL = Wish(60.0, 8 * 2**30, ("qwen2.5:0.5b", "tinyllama:1.1b", "llama3.2:1b"), quants=("Q4_0", "Q8_0"))


@cache
def prior() -> Coefficients:
    found = reference()
    assert found is not None
    return found


def made(wish: Wish, times: float = 1.0) -> Planned:
    return plan([], faster(prior(), times), wish)


def models_of(found: Planned) -> set[str]:
    return {part.file.model.name for part in found.parts}


def test_two_cells_of_what_is_included_are_planned_whatever_they_are_worth() -> None:
    wish = replace(SMALL, measure=("qwen2.5:0.5b",), include=(("tinyllama:1.1b", "Q8_0"),))
    assert "tinyllama:1.1b" not in models_of(made(replace(wish, include=())))
    found = made(wish)
    (part,) = [part for part in found.parts if part.file.model.name == "tinyllama:1.1b"]
    assert len(part.cells) >= 2
    assert part is found.parts[0]
    assert found.cost_s <= 60


def test_an_included_file_is_asked_about_only_if_it_is_among_what_may_be_asked() -> None:
    alone = replace(SMALL, models=("qwen2.5:0.5b",))
    assert made(replace(alone, include=(("tinyllama:1.1b", "Q8_0"),))).asked == made(alone).asked


@pytest.mark.parametrize("budget_s", [5.0, 20.0])
def test_a_budget_that_does_not_hold_what_is_included_is_refused(budget_s: float) -> None:
    with pytest.raises(CalibrationError, match=r"or the disk, does not hold 2 cells each of tinyllama:1\.1b Q8_0"):
        made(replace(SMALL, budget_s=budget_s, include=(("tinyllama:1.1b", "Q8_0"),)))


def test_several_models_are_measured_where_that_is_asked_and_the_budget_allows_it() -> None:
    assert len(models_of(made(SMALL))) < 3
    several = made(replace(SMALL, least_models=3))
    assert len(models_of(several)) == 3
    assert several.cost_s <= 60
    assert len(models_of(made(replace(SMALL, budget_s=15.0, least_models=3)))) < 3


def test_all_model_files_together_keep_to_the_disk() -> None:
    whole = made(SMALL)
    size_bytes = sum(part.file.weight_bytes for part in whole.parts)
    less = made(replace(SMALL, disk_bytes=size_bytes / 2))
    assert sum(part.file.weight_bytes for part in less.parts) <= size_bytes / 2
    assert less.parts


def test_a_file_that_is_there_takes_no_disk() -> None:
    wish = replace(SMALL, disk_bytes=0.0)
    assert plan([], prior(), wish, lambda _: 0.0).parts
    assert plan([], prior(), replace(wish, disk_bytes=-1.0), lambda _: 0.0).parts, "less is free than is left free"
    with pytest.raises(CalibrationError, match="no disk"):
        plan([], prior(), wish)


def test_what_is_included_twice_is_included_once() -> None:
    (entry,) = Question(include="mistral:7b q4_k_m, mistral Q4_K_M").wish().include
    assert entry == ("mistral:7b", "Q4_K_M")


def test_a_machine_twice_as_fast_sends_the_same_requests_in_half_of_the_time_and_loads_no_faster() -> None:
    slow, fast = (choose_from([], faster(prior(), times), SMALL) for times in (1.0, 2.0))
    assert fast.problem.cost_s == pytest.approx(slow.problem.cost_s / 2)
    assert all(fast.problem.opening_s > slow.problem.opening_s / 2)


def test_a_runs_budget_holds_the_warm_up_that_it_counts() -> None:
    choice = choose_from([], prior(), SMALL)
    found = planned(choice, [0])
    (part,) = found.parts
    ((cell, cost_s),) = part.cells
    assert (cell.work.prompt_tokens, cell.work.output_tokens) == (24, 12), "the shape of a warm-up"
    assert part.requests_s == pytest.approx(cost_s + cost_s / cell.repeats)
    assert found.cost_s == pytest.approx(choice.problem.spent_s([0]))


def test_a_plan_with_hardly_any_time_for_requests_can_be_run(tmp_path: Path) -> None:
    found = made(SMALL)
    opening_s = sum(part.opening_s for part in found.parts)
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(replace(found, budget_s=opening_s + 0.3), "test"), "utf-8")
    assert read_plan(path).budget_s == pytest.approx(0.3)


def test_rather_small_files_are_left_out_where_six_larger_models_fit_unless_they_are_named() -> None:
    def names(**wish: object) -> set[str]:
        wanted = replace(Wish(60.0, 8 * 2**30, quants=("Q8_0",)), **wish)  # type: ignore[arg-type]
        return {cell.file.model.name for cell in choose_from([], prior(), wanted).cells}

    small = "smollm2:360m"
    assert small not in names()
    assert small in names(include=((small, "Q8_0"),)) & names(models=(small,)) & names(measure=(small,))
    assert small in names(memory_bytes=2 * 2**30), "few models fit there"


def test_a_model_or_weight_type_that_is_named_twice_is_planned_once(tmp_path: Path) -> None:
    twice = replace(SMALL, models=("qwen2.5:0.5b", "qwen2.5:0.5b"), quants=("Q4_0", "q4_0"))
    assert choose_from([], prior(), twice).cells == choose_from(
        [], prior(), replace(SMALL, models=("qwen2.5:0.5b",), quants=("Q4_0",))
    ).cells  # fmt: skip
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(made(replace(twice, measure=("tinyllama", "tinyllama:1.1b"))), "test"), "utf-8")
    assert len(read_plan(path).parts) == 1


@pytest.mark.parametrize(
    ("question", "results", "said"),
    [
        (Question(speed=0.0, memory="8GiB"), [], "--speed is above 0"),
        (Question(speed=math.nan, memory="8GiB"), [], "--speed is above 0"),
        (Question(speed=1e-300, memory="8GiB"), [], "--speed is above 0"),
        (Question(speed=1e300, memory="8GiB"), [], "--speed is above 0"),
        (Question(speed=2.0), [], "say its --memory too"),
        (Question(speed=2.0, memory="8GiB", prior=False), [], "leave --no-prior out"),
        (Question(speed=2.0, memory="8GiB"), [Path("results")], "another machine than RESULTS"),
        (Question(include="mistral:7b"), [], "has no weight type"),
        (Question(include="smollm2:135m q4_0"), [], "under 256 MiB are not measured"),
    ],
)
def test_wishes_that_cannot_be_are_refused(question: Question, results: list[Path], said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        next_plan(results, question)


def test_the_command_says_every_wish() -> None:
    question = Question(memory="8GiB", include="mistral:7b q4_k_m", speed=2.0, disk="4GiB", models=5)
    assert question.command([]) == (
        "python -m calibration plan --budget 5m --memory 8GiB --include 'mistral:7b q4_k_m' --disk 4GiB --models 5 "
        "--speed 2"
    )


@pytest.mark.slow
def test_the_stored_plans_are_as_good_as_what_the_planner_makes_now() -> None:
    path = PLANS / "2x-10GiB.toml"
    stored = read_plan(path)
    wish = Question("5m", memory="10GiB", include="mistral:7b q4_k_m", speed=2.0, disk="8GiB", models=5).wish()
    choice = choose_from([], faster(prior(), 2.0), wish)
    known = {(c.file.model.name, c.file.quant, c.work.prompt_tokens, c.work.depth_tokens): at
             for at, c in enumerate(choice.cells)}  # fmt: skip
    cells = [known[p.model, p.quant, s.prompt_tokens, s.depth_tokens] for p in stored.parts for s in p.shapes]
    now = made(replace(wish, exchange=False), 2.0)
    as_stored = planned(choice, cells)
    assert as_stored.cost_s <= 300
    for phase in ("decode", "prefill"):
        assert as_stored.after[phase] <= 1.05 * now.after[phase]
