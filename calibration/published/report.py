"""The tables that say how far to believe the reference; docs/accuracy.md shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.published.baselines import LINES, held_out_s, is_one_recent_model, log_linear
from calibration.published.building import Built, Part, is_short
from calibration.published.fitting import Array, Samples, fit_samples, physics, samples_of
from calibration.published.rows import Row
from calibration.published.validate import Key, leave_out, machine_of

GPUS = ("CUDA", "ROCm", "Vulkan", "Metal")
PHASES = ("decode", "prefill")
_LEFT_OUT: dict[str, Key] = {
    "machine": machine_of,
    "model (by shape)": lambda row: row.file.model.name if row.file else "",
    "weight type": lambda row: row.quant,
    "source": lambda row: row.source,
}


@dataclass(frozen=True, slots=True)
class Errors:
    """Of tokens per second, |predicted - measured| / measured."""

    label: str
    phase: str
    rows: int
    machines: int
    mean: float
    median: float
    coverage: float | None = None


def errors_of(label: str, phase: str, rows: Sequence[Row], seconds: Array, covered: Array | None = None) -> Errors:
    """The line of `rows` whose times were predicted as `seconds`."""
    sizes = np.abs(np.array([row.seconds for row in rows]) / seconds - 1)
    said = covered[~np.isnan(covered)] if covered is not None else np.array([])
    return Errors(
        label,
        phase,
        len(rows),
        len({row.machine_name for row in rows}),
        float(sizes.mean()),
        float(np.median(sizes)),
        float(said.mean()) if len(said) else None,
    )


def short_rows(found: Built, phase: str, back_ends: Iterable[str] = GPUS) -> tuple[list[Row], Array, Array]:
    """The dense one-device rows of short context, their held-out seconds, and whether intervals held them."""
    wanted = set(back_ends)
    rows: list[Row] = []
    seconds: list[float] = []
    covered: list[float] = []
    for (_, other), part in found.parts.items():
        for index, row in enumerate(part.samples.rows):
            if other == phase and row.back_end in wanted and is_short(row):
                rows.append(row)
                seconds.append(float(part.held.seconds[index]))
                covered.append(float(part.covered[index]))
    return rows, np.array(seconds), np.array(covered)


def machine_table(found: Built) -> list[Errors]:
    """Machines left out: all GPUs, each back end, CPUs apart."""
    table = []
    for phase in PHASES:
        for label, back_ends in (("GPUs and Metal", GPUS), *((name, (name,)) for name in (*GPUS, "CPU"))):
            rows, seconds, covered = short_rows(found, phase, back_ends)
            if rows:
                table.append(errors_of(label, phase, rows, seconds, covered))
    return table


def baseline_table(found: Built) -> list[Errors]:
    """The simpler models on the same rows, all GPUs and each back end; and the easiest line on its own rows."""
    table = []
    for phase in PHASES:
        rows, seconds, _ = short_rows(found, phase)
        for line, predictor in LINES.items():
            predicted = held_out_s(rows, predictor)
            table += _by_back_end(line, phase, rows, predicted)
        table += _by_back_end("the reference", phase, rows, seconds)
        easy = np.array([is_one_recent_model(row) for row in rows])
        few = [row for row, chosen in zip(rows, easy, strict=True) if chosen]
        table.append(errors_of("one model and type, recent GPUs: log-linear", phase, few, held_out_s(few, log_linear)))
        table.append(errors_of("one model and type, recent GPUs: the reference", phase, few, seconds[easy]))
    return table


def _by_back_end(line: str, phase: str, rows: Sequence[Row], seconds: Array) -> list[Errors]:
    found = [errors_of(line, phase, rows, seconds)]
    for back_end in GPUS:
        here = np.array([row.back_end == back_end for row in rows])
        found.append(errors_of(f"{line}, {back_end}", phase, [r for r in rows if r.back_end == back_end], seconds[here]))
    return found


def left_out_table(found: Built) -> list[Errors]:
    """Machine, model, weight type and source left out, all GPUs; then what is outside of the table: depth, experts."""
    table = []
    for phase in PHASES:
        parts = [found.parts[group, phase] for group in ("discrete", "Metal")]
        for name, key in _LEFT_OUT.items():
            table.append(_joined(f"left out: {name}", phase, [_left_out(part.samples, key, short=True) for part in parts]))
        physics_only = [_physics_only(part) for part in parts]
        table.append(_joined("left out: machine; physics alone, no residual", phase, physics_only))
        deep = [_left_out(part.samples, machine_of, short=False) for part in parts]
        table.append(_joined("left out: machine; contexts over 1,024", phase, deep))
        table.append(_joined("mixtures of experts, never fitted", phase, _mixtures(found, phase)))
    return [line for line in table if line.rows]


def _left_out(samples: Samples, key: Key, *, short: bool) -> tuple[list[Row], Array]:
    seconds = leave_out(samples, key).seconds
    chosen = [i for i, row in enumerate(samples.rows) if is_short(row) == short and not np.isnan(seconds[i])]
    return [samples.rows[i] for i in chosen], seconds[chosen]


def _physics_only(part: Part) -> tuple[list[Row], Array]:
    """Machines left out, without the residual."""
    samples = part.samples
    names = np.array([row.machine_name for row in samples.rows])
    seconds = np.empty(len(names))
    for name in sorted(set(names)):
        fitted = fit_samples(samples, np.flatnonzero(names != name))
        seconds[names == name] = physics(samples, fitted.prices, fitted.factors)[names == name]
    chosen = [i for i, row in enumerate(samples.rows) if is_short(row)]
    return [samples.rows[i] for i in chosen], seconds[chosen]


def _mixtures(found: Built, phase: str) -> list[tuple[list[Row], Array]]:
    """Mixtures predicted by the fit to the dense models of other machines."""
    results = []
    for group in ("discrete", "Metal"):
        both = samples_of(group, phase, [*found.gate.kept, *found.gate.mixtures])
        experts = np.array([bool(row.file and row.file.model.experts) for row in both.rows])
        names = np.array([row.machine_name for row in both.rows])
        rows: list[Row] = []
        seconds: list[float] = []
        for name in sorted(set(names[experts])):
            asked = np.flatnonzero(experts & (names == name))
            fitted = fit_samples(both, np.flatnonzero(~experts & (names != name)))
            rows += [both.rows[i] for i in asked]
            seconds += [float(value) for value in fitted.seconds(both, asked)]
        results.append((rows, np.array(seconds)))
    return results


def _joined(label: str, phase: str, pieces: Sequence[tuple[list[Row], Array]]) -> Errors:
    rows = [row for some, _ in pieces for row in some]
    seconds = np.concatenate([values for _, values in pieces])
    return errors_of(label, phase, rows, seconds) if rows else Errors(label, phase, 0, 0, 0.0, 0.0)


def table_text(table: Iterable[Errors]) -> str:
    """A Markdown table, a row for each label, decode beside prefill: MAPE (median) of tokens per second."""
    lines: dict[str, dict[str, Errors]] = {}
    for entry in table:
        lines.setdefault(entry.label, {})[entry.phase] = entry
    out = ["| | decode | prefill |", "|---|---|---|"]
    for label, phases in lines.items():
        out.append(f"| {label} | {_cell(phases.get('decode'))} | {_cell(phases.get('prefill'))} |")
    return "\n".join(out)


def _cell(entry: Errors | None) -> str:
    if entry is None:
        return ""
    held = "" if entry.coverage is None else f"; held {entry.coverage:.1%}"
    return f"{entry.mean:.1%} ({entry.median:.1%}) of {entry.rows} rows, {entry.machines} machines{held}"


def gate_text(found: Built) -> str:
    """What the gate left out and why; impossible rows one by one."""
    out = [f"{len(found.gate.kept)} rows fitted, {len(found.gate.mixtures)} of mixtures kept for a test"]
    out += [f"left out, {count}: {reason}" for reason, count in found.gate.reasons().items()]
    said = ("faster", "half", "swaps")
    out += [f"  {row.label}: {reason}" for row, reason in found.gate.left_out if any(word in reason for word in said)]
    return "\n".join(out)
