"""A plan as the TOML file that `harness run --plan` takes (`harness.plan`), and as words."""

from __future__ import annotations

import json

from rich import box
from rich.console import Console
from rich.table import Table

from calibration.planning import Planned
from estimator.specs import Workload

# The shortest budget that is written, since a run refuses none.
_LEAST_PART_S = 0.1


def plan_text(planned: Planned, made_by: str) -> str:
    """The plan file. Its budget is for requests alone: what building and loading take is not counted by a run.

    What the cells leave of the budget goes to all parts alike, as more repeats.
    """
    opening_s = sum(part.opening_s for part in planned.parts)
    requests_s = planned.budget_s - opening_s
    lines = [
        f"# Made by: {made_by}",
        f"# Expected: {opening_s:.0f} s to build and load model files, {requests_s:.0f} s of requests.",
        f"# {_certainty(planned)}",
        f'budget = "{max(_LEAST_PART_S, requests_s):.1f}s"',
    ]
    for part in planned.parts:
        lines += [
            "",
            "[[part]]",
            f"model = {json.dumps(part.file.model.name)}",
            f"quant = {json.dumps(part.file.quant)}",
            f'budget = "{max(_LEAST_PART_S, part.requests_s):.1f}s"',
            "shape = [",
            *(f"    {_shape(cell.work)},  # {cell.repeats} requests: {cost_s:.1f} s" for cell, cost_s in part.cells),
            "]",
        ]
    return "\n".join(lines) + "\n"


def _shape(work: Workload) -> str:
    depth = f", depth_tokens = {work.depth_tokens}" if work.depth_tokens else ""
    return f"{{ prompt_tokens = {work.prompt_tokens}, output_tokens = {work.output_tokens}{depth} }}"


def show_plan(console: Console, planned: Planned) -> None:
    """Parts and cells with what each costs, and what they are expected to be worth."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("model", "quant", "build, load s", "prompt/output at depth", "requests s"):
        table.add_column(name, justify="right" if name.endswith(" s") else "left")
    for part in planned.parts:
        works = [cell.work for cell, _ in part.cells]
        shapes = ", ".join(
            f"{w.prompt_tokens}/{w.output_tokens}" + (f" at {w.depth_tokens}" if w.depth_tokens else "") for w in works
        )
        table.add_row(
            part.file.model.name, part.file.quant, f"{part.opening_s:.1f}", shapes, f"{part.requests_s:.1f}"
        )  # fmt: skip
    console.print(table)
    cells = sum(len(part.cells) for part in planned.parts)
    say(console, f"{cells} cells of {len(planned.parts)} model files, {planned.cost_s:.0f} of {planned.budget_s:.0f} s")
    say(console, _certainty(planned))


def _certainty(planned: Planned) -> str:
    """What is expected, and that it is expected only."""
    parts = [f"{phase} {planned.before[phase]:.1%} -> {planned.after[phase]:.1%}" for phase in ("decode", "prefill")]
    return (
        f"Expected standard deviation of predictions, over {planned.asked} questions: {', '.join(parts)} "
        "(by assumed noise; the fit says what it became)"
    )


def say(console: Console, text: str) -> None:
    """A line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
