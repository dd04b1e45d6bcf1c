"""Plans with parts: each model has shapes and a share of the budget of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from estimator.catalog import find_model
from harness.errors import HarnessError
from harness.opening import files_to_build, lanes, plan_of
from harness.plan import Part, Plan, Shape, checked, read_plan
from harness.target import Door
from harness.weights.store import Store
from tests.harness.making import counted, ran

PARTS = (
    Part("tinyllama", "Q8_0", (Shape(16, 4), Shape(32, 4)), 30.0),
    Part("mistral:7b", "Q4_K_M", (Shape(24, 8),), 10.0),
)
TEXT = """
budget = "80s"
[[part]]
model = "tinyllama"
quant = "Q8_0"
budget = "30s"
shape = [{prompt_tokens = 16, output_tokens = 4}, {prompt_tokens = 32, output_tokens = 4}]
[[part]]
model = "mistral:7b"
quant = "Q4_K_M"
budget = 10
[[part.shape]]
prompt_tokens = 24
output_tokens = 8
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, "utf-8")
    return path


def test_parts_are_read_from_a_plan_file(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path, TEXT))
    assert plan.parts == PARTS
    assert plan.budget_s == 80


def test_each_lane_has_its_own_shapes_and_its_share_of_the_budget() -> None:
    plan = Plan(budget_s=80.0, parts=PARTS)
    found = [plan_of(lane, plan) for (lane,) in lanes(plan, Door())]
    assert [entry.shapes for entry in found] == [PARTS[0].shapes, PARTS[1].shapes]
    assert [entry.budget_s for entry in found] == [60.0, 20.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[part]\nmodel = 'a'", "write [[part]]"),
        (TEXT.replace('"30s"', '"0s"'), "needs a budget above 0"),
        (TEXT.replace('"mistral:7b"', '"TinyLlama"').replace("Q4_K_M", "q8_0"), "two parts for tinyllama q8_0"),
        (TEXT.replace("prompt_tokens = 24", "prompt_tokens = 1"), "at least 2 tokens"),
        ("models = ['mistral']\n" + TEXT, "leave models out"),
        (TEXT.replace('quant = "Q8_0"', "colour = 1"), "parts"),
    ],
)
def test_a_part_that_cannot_be_run_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HarnessError) as caught:
        read_plan(written(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parts_are_for_engines_that_take_catalogue_models() -> None:
    with pytest.raises(HarnessError, match="not ollama"):
        lanes(checked(Plan(("ollama",), parts=PARTS)), Door())


def test_a_file_that_two_back_ends_measure_is_built_once(tmp_path: Path) -> None:
    plan = Plan(("llamacpp", "ollama"), models=("tinyllama", "llama3.2:1b"), quants=("Q8_0",))
    door = Door(weights="synthetic")
    listed = [lane for group in lanes(plan, door) for lane in group]
    store = Store(tmp_path)
    sizes = {(name, "Q8_0"): store.new_bytes(find_model(name), "Q8_0") for name in ("tinyllama:1.1b", "llama3.2:1b")}
    assert len(listed) == 4
    assert files_to_build(listed, door, store) == sizes


@pytest.mark.slow
def test_a_run_measures_each_part_and_no_other_cell(tmp_path: Path) -> None:
    plan = Plan(("simulated",), parts=PARTS, repeats=2)
    law = '{"prefill_s_per_token": 0.0001, "decode_s_per_token": 0.002}'
    groups = counted(ran(tmp_path, plan, Door(law=law)))
    found = sorted((cell.model, cell.prompt_tokens, len(requests)) for (_, cell), requests in groups.items())
    assert found == [("mistral:7b", 24, 2), ("tinyllama:1.1b", 16, 2), ("tinyllama:1.1b", 32, 2)]
