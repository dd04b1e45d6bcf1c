"""What a fit says, for people: terms in physical units, held-out errors, predicted beside measured."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from calibration.dataset import Dataset, Observation
from calibration.fitting import Fitted, speed_of
from calibration.machines import moved_words
from calibration.validate import Residual
from estimator.coefficients import Coefficients, HeldOut, MemoryCoefficients

# A share of a time that no measurement could show: what the solver left of 0.
_NOTHING = 1e-6


def show_fit(console: Console, fitted: Fitted) -> None:
    """Terms, held-out error, the worst predictions, what was left out."""
    c = fitted.coefficients
    r = c.records
    _say(console, f"{fitted.build}: {r.requests} requests, {r.cells} cells, {r.models} models, {r.journals} runs")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("term", "value", "±", "from", "cells"):
        table.add_column(name, justify="right" if name in ("value", "±", "cells") else "left")
    for name, entry in c.speed.items():
        table.add_row(name, *_price(name, fitted), entry.origin, str(entry.cells))
    console.print(table)
    for phase, names in c.evidence.not_told_apart.items():
        if names:
            told = "by the prior's ratios" if c.prior else "as if all weight types cost alike, or at 0"
            _say(console, f"{phase}: cannot be told apart by these cells, shared {told}: {', '.join(names)}")
    if c.prior:
        _say(console, f"prices are drawn toward the prior: {_prior_line(c.prior)}")
    _say(console, f"standard errors: {c.evidence.error_method}")
    if c.memory is not None:
        _say(console, _memory_line(c.memory))
    for name, error in c.held_out.items():
        _say(console, f"held out, {name}: {_error(error)}")
    for phase, residuals in fitted.residuals.items():
        for residual in sorted(residuals, key=lambda r: -abs(r.relative))[:3]:
            _say(console, f"  worst {phase}: {_residual(residual)}")
    if not fitted.residuals["decode"]:
        _say(console, "held out: nothing could be left out (one cell only); measure more cells")
    late = "used although the client was late (CLIENT-BOUND)"
    named = (("left out", fitted.left_out), (late, fitted.late), ("used in spite of its noise", fitted.noisy))
    for words, reasons in named:
        for reason in reasons:
            _say(console, f"{words}: {reason}")


def _price(name: str, fitted: Fitted) -> tuple[str, str]:
    """The price as a person reads it and its relative error; of one that adds nothing to any time, what that means."""
    entry = fitted.coefficients.speed[name]
    shares = [entry.seconds_per_unit * o.terms[name] / o.seconds for o in fitted.observations if o.terms.get(name)]
    if max(shares, default=1.0) <= _NOTHING:
        untold = any(name in terms for terms in fitted.coefficients.evidence.not_told_apart.values())
        return "not determined" if untold else "free", "-"
    known = entry.standard_error is not None and entry.seconds_per_unit > 0
    return entry.shown, f"{(entry.standard_error or 0) / entry.seconds_per_unit:.0%}" if known else "-"


def _prior_line(prior: dict[str, Any]) -> str:
    told = moved_words(prior["other_machines"])
    return f"{prior['machine']}, {prior['models']} models{told}; relative sd {prior['chosen']}"


def _memory_line(m: MemoryCoefficients) -> str:
    return (
        f"memory beyond theory: {m.anonymous_constant_bytes / 2**20:.1f} MiB + "
        f"{m.anonymous_bytes_per_vocabulary_entry:.0f} bytes a vocabulary entry + "
        f"{m.anonymous_bytes_per_tensor:.0f} a tensor + {m.anonymous_bytes_per_row:.0f} a row of the micro-batch, "
        f"{m.file_constant_bytes / 2**20:.1f} MiB of libraries; "
        f"repacked: {', '.join(m.repacked_types) or 'nothing'}"
    )


def _error(error: HeldOut) -> str:
    around = (
        f"90 % interval {error.relative_interval_90[0]:+.1%} to {error.relative_interval_90[1]:+.1%}"
        f"{' (from the prior, widened to the worst error here)' if error.interval_origin == 'prior' else ''}"
        if error.relative_interval_90
        else "too few groups for an interval"
    )
    return f"median {error.median:.1%}, worst {error.worst:.1%} over {error.groups} groups; {around}"


def _residual(residual: Residual) -> str:
    return f"{residual.relative:+.1%} {residual.label}"


def comparison(data: Dataset, coefficients: Coefficients) -> list[dict[str, Any]]:
    """Predicted beside measured for each observation: seconds, relative error; None where no term was fitted."""
    speed = speed_of(coefficients)
    return [_compared(o, speed.seconds(o.terms)) for o in data.observations]


def _compared(o: Observation, predicted: float | None) -> dict[str, Any]:
    return {
        "phase": o.phase,
        "model": o.file.model.name,
        "quant": o.file.quant,
        "prompt_tokens": o.work.prompt_tokens,
        "output_tokens": o.work.output_tokens,
        "depth_tokens": o.work.depth_tokens,
        "measured_s": o.seconds,
        "predicted_s": predicted,
        "relative_error": None if predicted is None else predicted / o.seconds - 1,
        "requests": o.requests,
    }


def show_comparison(console: Console, entries: list[dict[str, Any]], left_out: tuple[str, ...]) -> None:
    """The comparison as a table, with the median error of each phase."""
    import pandas as pd

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("model", "quant", "prompt", "output", "depth", "phase", "measured", "predicted", "error"):
        table.add_column(name, justify="left" if name in ("model", "quant", "phase") else "right")
    for e in entries:
        known = e["predicted_s"] is not None
        sizes = (str(e[name]) for name in ("prompt_tokens", "output_tokens", "depth_tokens"))
        predicted, error = (_time(e["predicted_s"]), f"{e['relative_error']:+.1%}") if known else ("unknown", "-")
        table.add_row(e["model"], e["quant"], *sizes, e["phase"], _time(e["measured_s"]), predicted, error)
    console.print(table)
    frame = pd.DataFrame(entries)
    if not frame.empty:
        by_phase = frame.assign(size=pd.to_numeric(frame["relative_error"]).abs()).groupby("phase")["size"]
        for phase, row in by_phase.agg(["median", "max", "count"]).iterrows():
            _say(
                console, f"{phase}: median error {row['median']:.1%}, worst {row['max']:.1%}, {row['count']:.0f} cells"
            )
    for reason in left_out:
        _say(console, f"left out: {reason}")


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
