"""Plans: from options, from files, and what is still missing of one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.goal import Goal, cell_of
from harness.plan import Plan, Shape, checked, grid, plan_from, read_plan, seconds
from harness.prompts import Prompts
from harness.record import Cell, Record
from tests.harness.making import header, request


def test_durations_are_read_with_their_unit() -> None:
    assert [seconds(text) for text in ("90", "90s", "3m", "1.5h")] == [90, 90, 180, 5400]


@pytest.mark.parametrize("text", ["", "soon", "-3m", "3 weeks"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match="is no duration"):
        seconds(text)


def test_a_grid_is_every_combination_cheapest_first() -> None:
    assert grid([256, 64], [8], [0, 512], [1]) == (
        Shape(64, 8), Shape(256, 8), Shape(64, 8, 512), Shape(256, 8, 512),
    )  # fmt: skip


def test_a_plan_file_says_what_to_run(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(
        'models = ["tinyllama"]\nbudget = "2m"\n[[shape]]\nprompt_tokens = 8\noutput_tokens = 4\ndepth_tokens = 16\n'
    )
    plan = read_plan(file)
    assert (plan.models, plan.budget_s, plan.shapes) == (("tinyllama",), 120.0, (Shape(8, 4, 16),))


def test_a_plan_survives_its_own_journal() -> None:
    plan = replace(Plan(), models=("mistral",), repeats=3)
    assert plan_from(asdict(plan), "journal") == plan


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 1", "unknown colour"),
        ("models = [", "cannot read the plan"),
        ("[[shape]]\nprompt_tokens = 1\noutput_tokens = 1", "cannot run"),
        ("[[shape]]\nwords = 1", "shapes.0.prompt_tokens: Field required"),
        ('models = "tinyllama"', "models: Input should be a valid tuple"),
        ('target = "x"', "target: Input should be a valid number"),
        ("threads = -1", "threads and micro-batch must be at least 1"),
        ("repeats = 0", "repeats at least 1"),
    ],
)
def test_a_plan_file_that_cannot_be_run_is_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(HarnessError, match=said):
        read_plan(file)


def test_a_plan_file_that_is_not_there_is_named() -> None:
    with pytest.raises(HarnessError, match=r"nowhere\.toml"):
        read_plan(Path("nowhere.toml"))


def test_the_plan_of_a_run_without_options_can_be_run() -> None:
    assert checked(Plan())


def goal(repeats: int | None, budget_s: float = 100.0) -> Goal:
    plan = Plan(("simulated",), shapes=(Shape(64, 9), Shape(128, 9)), repeats=repeats)
    return Goal.of(plan, cells_of(plan), budget_s)


def cells_of(plan: Plan) -> tuple[Cell, ...]:
    return tuple(cell_of("simulated", "mistral:7b", "Q4_K_M", shape) for shape in plan.shapes)


def test_a_cell_is_missing_until_its_repeats_are_counted() -> None:
    wanted = goal(repeats=2)
    first = wanted.cells[0]
    wanted.take(request([100, 110], cell=first, phase="warmup"))
    wanted.take(request([100, 110], cell=first))
    assert first in wanted.missing()
    wanted.take(request([100, 110], cell=first))
    assert first not in wanted.missing()
    assert wanted.share() == 0.5


def test_without_repeats_a_cell_is_done_when_its_medians_are_known_well_enough() -> None:
    wanted = goal(repeats=None)
    first = wanted.cells[0]
    for _ in range(6):
        assert first in wanted.missing()
        wanted.take(request([100, 110], cell=first))
    assert first not in wanted.missing()


def test_a_cell_that_fails_three_times_in_a_row_is_given_up() -> None:
    wanted = goal(repeats=2)
    for _ in range(3):
        assert wanted.cells[0] in wanted.missing()
        wanted.take(request([], cell=wanted.cells[0], error="HTTP 500"))
    assert wanted.cells[0] not in wanted.missing()


def test_a_visit_that_does_not_fit_the_budget_is_not_made() -> None:
    wanted = goal(repeats=None, budget_s=1.0)
    wanted.take(request([640, 650, 660], cell=wanted.cells[0]))
    assert wanted.affordable(wanted.cells[0], primed=True)
    assert not wanted.affordable(wanted.cells[1], primed=True), "128 tokens at 10 ms each take longer than a second"


def test_what_an_earlier_sitting_counted_is_not_missing() -> None:
    before = goal(repeats=1)
    past = Record(header(), requests=(request([100, 110], cell=before.cells[0]),))
    again = Goal.of(before.plan, before.cells, 100.0, past)
    assert again.missing() == [again.cells[1]]
    assert again.spent_s == pytest.approx(0.110)


def test_prompts_have_exactly_the_length_asked_and_differ_from_the_first_token_on() -> None:
    prompts = Prompts(tuple(range(300, 400)), seed=1)
    drawn = [prompts.fresh(64, nonce) for nonce in range(50)]
    assert {len(prompt) for prompt in drawn} == {64}
    assert len({prompt[0] for prompt in drawn}) == 50
    assert prompts.fresh(2, 7) == prompts.fresh(64, 7)[:2]


def test_the_context_of_a_depth_is_the_same_every_time() -> None:
    prompts = Prompts(tuple(range(300, 400)), seed=1)
    assert prompts.context(512) == Prompts(prompts.pool, seed=1).context(512)
    assert prompts.context(512) != Prompts(prompts.pool, seed=2).context(512)


def test_a_cell_that_would_eat_the_budget_is_left_out_once_the_speed_is_known() -> None:
    plan = Plan(("simulated",), shapes=(Shape(64, 9), Shape(4096, 9)), visit_share=0.2)
    wanted = Goal.of(plan, cells_of(plan), 100.0)
    assert len(wanted.missing()) == 2
    wanted.take(request([640, 650, 660], cell=wanted.cells[0], phase="warmup"))
    assert wanted.too_dear(wanted.cells[1]), "4,096 tokens at 10 ms are 41 s of 100"
    assert wanted.missing() == [wanted.cells[0]]
