"""What to run: the cells, how long, how often. From options, from a plan file, or the default plan."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields, replace
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from estimator.errors import EstimatorError
from estimator.limits import limits_in
from harness.errors import HarnessError
from harness.record import Arrivals


@dataclass(frozen=True, slots=True)
class Shape:
    """A request shape: tokens in the cache before, in the prompt, in the output; streams at once, or a rate."""

    prompt_tokens: int
    output_tokens: int
    depth_tokens: int = 0
    concurrency: int = 1
    arrival: Arrivals = "closed"
    rate_per_s: float | None = None

    @property
    def is_load(self) -> bool:
        """Whether several requests run at once."""
        return self.concurrency > 1 or self.rate_per_s is not None

    @property
    def streams(self) -> int:
        """How many sequences an engine of ours must hold at once; an open load waits for a slot like any client."""
        return self.concurrency if self.rate_per_s is None else OPEN_LOAD_SLOTS

    @property
    def longest_tokens(self) -> int:
        """Tokens that one sequence holds at its end."""
        return self.depth_tokens + self.prompt_tokens + self.output_tokens


# Slots of an engine of ours under an open load.
OPEN_LOAD_SLOTS = 4

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


# Requests a cell of one stream behind a server that costs money, where nobody said how many.
PAID_REPEATS = 5

# What a server elsewhere is asked by default: no cached contexts, prompts and answers of usual lengths.
API_SHAPES = (Shape(128, 64), Shape(512, 64), Shape(1024, 128))


@dataclass(frozen=True, slots=True)
class Part:
    """One model with one weight type, what is asked of it, and its part of the budget: seconds, of all parts' sum."""

    model: str
    quant: str
    shapes: tuple[Shape, ...]
    budget_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as asked. `repeats` fixes the count; else cells repeat until `target` or the budget.

    A cell of which one visit (its context included) would take more than `visit_share` of the budget is left out.

    `models` are catalogue names or paths of GGUF files, each measured with each of `quants` (which a
    GGUF file ignores), or names that a server knows; `BACKEND=NAME` is for one back end only.
    `budget_s` is time spent on requests, shared by the models evenly. A visit to a cell with several
    streams or a rate is a stretch of at most `stretch_s`, or of `repeats` requests. Prices are USD per
    million tokens; `max_cost_usd` is never exceeded.
    """

    backends: tuple[str, ...] = ("llamacpp",)
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
    stretch_s: float = 30.0
    max_cost_usd: float | None = None
    price_in: float | None = None
    price_out: float | None = None
    slo_ttft_s: float | None = None
    slo_tpot_s: float | None = None
    parts: tuple[Part, ...] = ()

    def of(self, part: Part) -> Plan:
        """What is asked of one part alone: its shapes, and budget x its share of all parts' budgets."""
        share = part.budget_s / sum(other.budget_s for other in self.parts)
        return replace(self, shapes=part.shapes, budget_s=self.budget_s * share, parts=())


def grid(prompts: list[int], outputs: list[int], depths: list[int], concurrencies: list[int]) -> tuple[Shape, ...]:
    """Every combination, cheapest first."""
    shapes = [Shape(p, o, d, c) for p, o, d, c in product(prompts, outputs, depths, concurrencies)]
    return tuple(sorted(shapes, key=lambda s: (s.longest_tokens * s.concurrency, s.prompt_tokens)))


def at_rates(shapes: tuple[Shape, ...], rates: list[float], arrival: str) -> tuple[Shape, ...]:
    """Each shape as an open load at each of `rates` (requests per second), lowest first. Raises HarnessError."""
    if arrival not in ("constant", "poisson"):
        raise HarnessError(f"--arrival is constant or poisson, not {arrival!r}")
    if any(shape.concurrency > 1 for shape in shapes):
        raise HarnessError("--rate sends requests whatever the server does: leave --concurrency out")
    kind: Arrivals = "constant" if arrival == "constant" else "poisson"
    return tuple(replace(shape, arrival=kind, rate_per_s=rate) for rate in sorted(set(rates)) for shape in shapes)


def slo(text: str) -> dict[str, float]:
    """Plan fields of "ttft=1s,tpot=80ms". Raises HarnessError."""
    try:
        found = limits_in(text)
    except EstimatorError as error:
        raise HarnessError(str(error)) from None
    limits = {"slo_ttft_s": found.ttft_s, "slo_tpot_s": found.tpot_s}
    return {name: limit for name, limit in limits.items() if limit is not None}


def checked(plan: Plan) -> Plan:
    """The plan, or HarnessError with the first thing that cannot be run."""
    _check_parts(plan)
    for shape in (*plan.shapes, *(shape for part in plan.parts for shape in part.shapes)):
        if shape.prompt_tokens < 2 or shape.output_tokens < 2 or shape.depth_tokens < 0 or shape.concurrency < 1:
            raise HarnessError(
                f"cannot run {shape}: a prompt and an output need at least 2 tokens, a depth 0, a concurrency 1"
            )
        if shape.rate_per_s is not None and (not 0 < shape.rate_per_s < inf or shape.depth_tokens):
            raise HarnessError(f"cannot run {shape}: a rate must be above 0 a second, and has no depth")
        if (shape.rate_per_s is None) != (shape.arrival == "closed"):
            raise HarnessError(
                f"cannot run {shape}: a rate goes with arrival constant or poisson, and those with a rate"
            )
    if not plan.shapes:
        raise HarnessError("the plan has no cells: give [[shape]] entries or drop --plan")
    if plan.budget_s <= 0 or not 0 < plan.target < 1 or (plan.repeats is not None and plan.repeats < 1):
        raise HarnessError("the budget must be above 0 s, the target between 0 and 1, repeats at least 1")
    if (plan.threads is not None and plan.threads < 1) or plan.ubatch_tokens < 1 or plan.sample_per_s < 0:
        raise HarnessError("threads and micro-batch must be at least 1, samples a second not negative")
    if (plan.price_in is None) != (plan.price_out is None):
        raise HarnessError("a price has two sides: give --price-in and --price-out, USD per million tokens")
    amounts = [plan.max_cost_usd, plan.price_in, plan.price_out, plan.stretch_s]
    if any(amount is not None and amount < 0 for amount in amounts):
        raise HarnessError("prices, --max-cost and stretch_s cannot be negative")
    return plan


def _check_parts(plan: Plan) -> None:
    for part in plan.parts:
        if not part.shapes or not 0 < part.budget_s < inf:
            raise HarnessError(
                f"the part {part.model} {part.quant} needs a budget above 0 s and [[part.shape]] entries"
            )
    names = [(part.model.lower(), part.quant.lower()) for part in plan.parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise HarnessError(f"the plan has two parts for {' '.join(twice[0])}: write their shapes into one")
    if plan.parts and plan.models:
        raise HarnessError("the plan names its models by part: leave models out")


def read_plan(path: Path) -> Plan:
    """A plan from TOML: the fields of Plan at the top, `[[shape]]` or `[[part]]` tables below. Raises HarnessError."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise HarnessError(f"cannot read the plan {path}: {error}") from error
    parts = raw.pop("part", [])
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise HarnessError(f"{path}: parts are tables: write [[part]]")
    for table in (raw, *parts):
        if "budget" in table:
            table["budget_s"] = seconds(str(table.pop("budget")))
        if "shape" in table:
            table["shapes"] = table.pop("shape")
    if parts:
        raw["parts"] = parts
    return checked(plan_from(raw, where=str(path)))


def plan_from(raw: dict[str, Any], where: str) -> Plan:
    """The plan that `asdict` or a plan file describes. Raises HarnessError for a field that is not one."""
    if "backend" in raw:
        # The name of format 1, and a handy one in plan files.
        raw = raw | {"backends": (raw["backend"],)}
        del raw["backend"]
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
    value = float(found.group(1)) * _UNIT_S[found.group(2)] if found else inf
    if value == inf:
        raise HarnessError(f"{text[:40]!r} is no duration: write 90s, 3m or 1h")
    return value
