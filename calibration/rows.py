"""Rows of the gate: one prediction beside one measurement, and what the fit knew of the same thing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from calibration.changes import Change
from calibration.fitters import SpeedFit, memory_of
from calibration.observations import MemoryObservation, Observation
from calibration.uncertainty import UNKNOWN_RUNS
from estimator.coefficients import Coefficients, ValidRange
from estimator.theory.terms import term

What = Literal["decode", "ttft", "memory"]
State = Literal["within", "edge", "out"]
# Standard errors of what was measured by which a limit must be exceeded.
EDGE_ERRORS = 2.0
# A pair of labels of a phase in records and in what people ask of it.
WHAT_OF: dict[str, What] = {"decode": "decode", "prefill": "ttft"}


@dataclass(frozen=True, slots=True)
class Row:
    """One judged number: seconds of a prompt or of a token, or bytes.

    `measured_error` is relative: the standard error of the median, and what one run differs from another. `then` is
    what it was for the fit (None: it was not measured there); `interval` the fit's 90 % interval, relative; `outside`
    what about it was never measured.
    """

    what: What
    label: str
    model: str
    quant: str
    main_term: str
    measured: float
    predicted: float
    measured_error: float
    limit: float | None
    then: float | None = None
    interval: tuple[float, float] | None = None
    outside: str = ""

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return self.predicted / self.measured - 1

    @property
    def state(self) -> State:
        """Within the limit, out, or out by less than chance explains."""
        if self.limit is None or abs(self.error) <= self.limit:
            return "within"
        by_chance = EDGE_ERRORS * (1 + self.error) * self.measured_error
        return "out" if abs(self.error) - by_chance > self.limit else "edge"

    @property
    def change(self) -> float | None:
        """(now - then) / then; None where it was not measured for the fit."""
        return None if self.then is None else self.measured / self.then - 1

    @property
    def error_then(self) -> float | None:
        """What the prediction was off by when it was fitted."""
        return None if self.then is None else self.predicted / self.then - 1

    @property
    def slower_than_interval(self) -> bool:
        """Measured above the 90 % interval; False where there is none."""
        return self.interval is not None and self.measured > self.predicted * (1 + self.interval[1])


def speed_rows(
    observations: Sequence[Observation], fitted: Coefficients, fit: SpeedFit, limits: Mapping[str, float]
) -> tuple[list[Row], list[str]]:
    """A row for each observation, and a sentence on each that has no prediction."""
    rows: list[Row] = []
    unknown: list[str] = []
    for o in observations:
        predicted = fit.seconds(o.terms)
        if predicted is None or predicted <= 0:
            missing = ", ".join(sorted(set(o.terms) - set(fit.seconds_per_unit)))
            unknown.append(f"{o.label}: not predicted, since the fit never measured {missing}")
            continue
        then, held = fitted.evidence.cells.get(o.label), fitted.held_out.get(o.phase)
        error = math.hypot(o.relative_error or 0.0, _run_error(fitted, o))
        what = WHAT_OF[o.phase]
        rows.append(
            Row(
                what, o.label, o.file.model.name, o.file.quant, _main_term(o, fit), o.seconds, predicted,
                error, limits.get(what), None if then is None else then.seconds,
                None if held is None else held.relative_interval_90, _outside(o, fitted.valid),
            )
        )  # fmt: skip
    return rows, unknown


def _run_error(fitted: Coefficients, o: Observation) -> float:
    """What these runs and the fit's may be off by: sqrt((shared sd² + cell sd²) x (1 / runs now + 1 / runs then))."""
    runs = fitted.evidence.run_to_run.get(o.phase, UNKNOWN_RUNS)
    each = 1 / max(1, len(o.by_run)) + 1 / max(1, runs.runs)
    return math.hypot(runs.relative_sd, runs.cell_sd) * math.sqrt(each)


def memory_rows(
    observations: Sequence[MemoryObservation], fitted: Coefficients, limits: Mapping[str, float]
) -> list[Row]:
    """Two rows for each process, anonymous and file-backed memory; none where the fit has none."""
    rows: list[Row] = []
    if fitted.memory is None:
        return rows
    for m in observations:
        need, then = memory_of(fitted.memory, m.file, m.work), fitted.evidence.processes.get(m.label)
        for part, predicted, measured in (
            ("anonymous", need.anonymous_bytes, m.anonymous_bytes),
            ("file", need.file_bytes, m.file_bytes),
        ):
            known = None if then is None else float(getattr(then, f"{part}_bytes"))
            held = fitted.held_out.get(f"memory_{part}")
            rows.append(
                Row(
                    "memory", f"{part} memory of {m.label}", m.file.model.name, m.file.quant, part, float(measured),
                    float(predicted), 0.0, limits.get("memory"), known,
                    None if held is None else held.relative_interval_90,
                )
            )  # fmt: skip
    return rows


def changes_of(observations: Sequence[Observation], fitted: Coefficients, phase: str) -> list[Change]:
    """The cells of a phase that were measured for the fit too: now against then."""
    found = []
    for o in observations:
        then = fitted.evidence.cells.get(o.label)
        if o.phase != phase or then is None:
            continue
        w, model = o.work, f"{o.file.model.name} {o.file.quant}"
        groups = (
            f"model {o.file.model.name}", f"type {o.file.quant}", model, f"prompts of {w.prompt_tokens}",
            f"depth {w.depth_tokens}", "cells with a context" if w.depth_tokens else "cells without context", o.label,
        )  # fmt: skip
        error = math.hypot(o.relative_error or 0.0, then.relative_error or 0.0)
        found.append(
            Change(o.label, groups, math.log(o.seconds / then.seconds), error, max(1, len(o.by_run)), then.runs)
        )
    return found


def _main_term(o: Observation, fit: SpeedFit) -> str:
    """The term that most of the predicted time stands on."""
    return max(o.terms, key=lambda name: fit.seconds_per_unit.get(name, 0.0) * o.terms[name])


def _outside(o: Observation, valid: ValidRange) -> str:
    """What of a cell lies outside the ranges that were measured for the fit, in words."""
    types = {name.partition(".")[2] for name in o.terms if term(name).name.endswith(".")} - set(valid.weight_types)
    ranges: tuple[tuple[str, float, float, float], ...] = (
        ("parameters", float(o.file.parameters), valid.parameters[0], valid.parameters[1]),
        (
            "tokens in the cache",
            float(o.work.longest_tokens),
            float(valid.depth_tokens[0]),
            float(valid.depth_tokens[1]),
        ),
        ("prompt tokens", float(o.work.prompt_tokens), float(valid.prompt_tokens[0]), float(valid.prompt_tokens[1])),
    )
    found = [f"weight type {', '.join(sorted(types))}"] if types else []
    found += [f"{value:,.0f} {name}" for name, value, low, high in ranges if not low <= value <= high]
    return ", ".join(found)
