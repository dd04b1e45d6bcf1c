"""What to run: the cells, how long, how often. From options, from a plan file, or the default plan."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import HarnessError


@dataclass(frozen=True, slots=True)
class Shape:
    """A request shape: tokens in the cache before, in the prompt, in the output; streams at once."""

    prompt_tokens: int
    output_tokens: int
    depth_tokens: int = 0
    concurrency: int = 1

    @property
    def longest_tokens(self) -> int:
        """Tokens that one sequence holds at its end."""
        return self.depth_tokens + self.prompt_tokens + self.output_tokens


# The first is the anchor. Prompts above and below an attention tile (64), of whole and broken blocks
# of 16 rows, decode with and without a context: what separates the terms of the calibration. The
# long ones are for fast machines: on slow ones a visit would take too large a share of the budget.
DEFAULT_SHAPES = (
    Shape(48, 16),
    Shape(24, 24),
    Shape(64, 16, depth_tokens=256),
    Shape(160, 8),
    Shape(512, 32),
    Shape(64, 32, depth_tokens=1024),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as asked. `repeats` fixes the count; else cells repeat until `target` or the budget.

    A cell of which one visit (its context included) would take more than `visit_share` of the budget is left out.

    `models` are catalogue names or paths of GGUF files; each is measured with each of `quants`
    (which a GGUF file ignores). `budget_s` is time spent on requests, shared by the models evenly.
    """

    backend: str = "llamacpp"
    models: tuple[str, ...] = ()
    quants: tuple[str, ...] = ("Q4_K_M",)
    shapes: tuple[Shape, ...] = DEFAULT_SHAPES
    budget_s: float = 300.0
    visit_share: float = 1.0
    repeats: int | None = None
    target: float = 0.03
    seed: int = 1
    sample_per_s: float = 10.0
    threads: int | None = None
    flash_attention: str = "auto"
    ubatch_tokens: int = 512


def grid(prompts: list[int], outputs: list[int], depths: list[int], concurrencies: list[int]) -> tuple[Shape, ...]:
    """Every combination, cheapest first."""
    shapes = [Shape(p, o, d, c) for p, o, d, c in product(prompts, outputs, depths, concurrencies)]
    return tuple(sorted(shapes, key=lambda s: (s.longest_tokens * s.concurrency, s.prompt_tokens)))


def checked(plan: Plan) -> Plan:
    """The plan, or HarnessError with the first thing that cannot be run."""
    for shape in plan.shapes:
        if shape.prompt_tokens < 2 or shape.output_tokens < 2 or shape.depth_tokens < 0 or shape.concurrency < 1:
            raise HarnessError(
                f"cannot run {shape}: a prompt and an output need at least 2 tokens, a depth 0, a concurrency 1"
            )
    if not plan.shapes:
        raise HarnessError("the plan has no cells: give [[shape]] entries or drop --plan")
    if plan.budget_s <= 0 or not 0 < plan.target < 1 or (plan.repeats is not None and plan.repeats < 1):
        raise HarnessError("the budget must be above 0 s, the target between 0 and 1, repeats at least 1")
    if (plan.threads is not None and plan.threads < 1) or plan.ubatch_tokens < 1 or plan.sample_per_s < 0:
        raise HarnessError("threads and micro-batch must be at least 1, samples a second not negative")
    return plan


def read_plan(path: Path) -> Plan:
    """A plan from TOML: the fields of Plan at the top, `[[shape]]` tables below. Raises HarnessError."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot read the plan {path}: {error}") from error
    if "budget" in raw:
        raw["budget_s"] = seconds(str(raw.pop("budget")))
    if "shape" in raw:
        raw["shapes"] = raw.pop("shape")
    return checked(plan_from(raw, where=str(path)))


def plan_from(raw: dict[str, Any], where: str) -> Plan:
    """The plan that `asdict` or a plan file describes. Raises HarnessError for a field that is not one."""
    known = {field.name for field in fields(Plan)}
    if unknown := sorted(set(raw) - known):
        raise HarnessError(
            f"{where}: unknown {', '.join(unknown)}; a plan has {', '.join(sorted(known))} and [[shape]]"
        )
    try:
        return TypeAdapter(Plan).validate_python(raw, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        raise HarnessError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|)")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


def seconds(text: str) -> float:
    """Seconds of "90", "90s", "3m" or "1.5h". Raises HarnessError."""
    found = _DURATION.fullmatch(text.strip().lower())
    if not found:
        raise HarnessError(f"{text!r} is no duration: write 90s, 3m or 1h")
    return float(found.group(1)) * _UNIT_S[found.group(2)]
