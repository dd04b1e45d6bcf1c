"""Charts of what models left out were predicted to take: beside what they took, and what is left over its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from calibration.local.leaving import Held, of_phase
from calibration.local.nested import Interval
from calibration.observations import Observation
from calibration.shown.page import Figure, diagonal, layout, numbers
from harness.page.markup import chart_label
from harness.page.names import COLOURS
from harness.page.timeline import Chart

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon", "bowtie", "pentagon")
_AGAINST: dict[str, tuple[Callable[[Observation], float], str]] = {
    "prompt tokens": (lambda o: float(o.work.prompt_tokens), "log"),
    "tokens in the cache before": (lambda o: float(o.work.depth_tokens), "linear"),
    "parameters": (lambda o: float(o.file.parameters), "log"),
}
_SPACE = 0.04


def predicted_chart(held: Sequence[Held], intervals: Mapping[tuple[str, str], Interval], phase: str) -> Chart:
    """Predicted times with their intervals against measured ones, colours by model, symbols by weight type."""
    known = _known(held, phase)
    unit, per = ("ms", 1e3) if phase == "decode" else ("s", 1.0)
    axes = layout(f"measured, {unit}", f"predicted, {unit}")
    axes["yaxis"]["type"] = "log"
    measured = [per * one.observation.seconds for one in known]
    traces = [diagonal(min(measured), max(measured))] if measured else []
    for trace, group in _by_model(known):
        reach = [intervals.get((one.group, phase), (np.nan, np.nan)) for one in group]
        predicted = np.array([per * (one.predicted_s or 0.0) for one in group])
        above, below = (predicted * [end[side] for end in reach] for side in (1, 0))
        bars = {"type": "data", "symmetric": False, "array": numbers(above), "arrayminus": numbers(-below),
                "thickness": 0.6, "width": 0}  # fmt: skip
        measured = [per * one.observation.seconds for one in group]
        traces.append({**trace, "x": numbers(measured), "y": numbers(predicted), "error_y": bars})
    title = f"Predicted against measured, {'time per output token' if phase == 'decode' else 'time to first token'}"
    caption = (
        "Each model left out whole; bars are 90 % intervals from the other models, where there are enough. On the "
        f"line: right. {_symbols(known)}"
    )
    return Chart(f"predicted-{phase}", title, caption, {"data": traces, "layout": axes}, _unknown(held, phase))


def residual_chart(held: Sequence[Held], phase: str) -> Chart:
    """What is left, measured / predicted, against prompt, depth and size of the model, side by side."""
    known = _known(held, phase)
    axes = layout("", "measured / predicted")
    axes.pop("xaxis")
    axes["height"] = 420
    width = (1 - _SPACE * (len(_AGAINST) - 1)) / len(_AGAINST)
    traces: list[Figure] = []
    for place, (name, (value_of, kind)) in enumerate(_AGAINST.items()):
        key, left = "" if place == 0 else str(place + 1), place * (width + _SPACE)
        axes[f"xaxis{key}"] = {
            "title": {"text": name},
            "type": kind,
            "domain": [round(left, 4), round(left + width, 4)],
        }
        for trace, group in _by_model(known):
            values = [value_of(one.observation) for one in group]
            ratios = numbers(np.exp([one.log for one in group]))
            traces.append({**trace, "x": numbers(values), "y": ratios, "xaxis": f"x{key}", "showlegend": place == 0})
    axes["shapes"] = [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "line": {"color": "#999999", "width": 1}}
    ]
    caption = f"Each model left out whole. At 1: right; above: slower than predicted. {_symbols(known)}"
    figure = {"data": traces, "layout": axes}
    return Chart(f"residual-{phase}", f"What is left, {phase}", caption, figure, _unknown(held, phase))


def _known(held: Sequence[Held], phase: str) -> list[Held]:
    return [one for one in of_phase(held, phase) if one.predicted_s is not None]


def _unknown(held: Sequence[Held], phase: str) -> tuple[str, ...]:
    files = [one.observation.file for one in of_phase(held, phase) if one.predicted_s is None]
    names = sorted({f"{file.model.name} {file.quant}" for file in files})
    return (f"not predicted, since nothing else has one of their terms: {', '.join(names)}",) if names else ()


def _types(known: Sequence[Held]) -> list[str]:
    return sorted({one.observation.file.quant for one in known})


def _symbols(known: Sequence[Held]) -> str:
    shown = [f"{_SYMBOLS[place % len(_SYMBOLS)]} {name}" for place, name in enumerate(_types(known))]
    return f"Symbols: {', '.join(shown)}." if shown else "Nothing was predicted."


def _by_model(known: Sequence[Held]) -> list[tuple[Figure, list[Held]]]:
    """A trace without places for each model, and its cells."""
    models: dict[str, list[Held]] = {}
    for one in known:
        models.setdefault(one.group, []).append(one)
    types, found = _types(known), []
    for place, group in enumerate(models.values()):
        symbols = [_SYMBOLS[types.index(one.observation.file.quant) % len(_SYMBOLS)] for one in group]
        marker = {"size": 7, "opacity": 0.8, "color": COLOURS[place % len(COLOURS)], "symbol": symbols}
        name = chart_label(group[0].observation.file.model.name)
        trace = {"type": "scatter", "mode": "markers", "name": name, "legendgroup": str(place), "marker": marker,
                 "hovertext": [_words(one) for one in group], "hoverinfo": "text"}  # fmt: skip
        found.append((trace, group))
    return found


def _words(one: Held) -> str:
    """For the hover: the cell, and its error."""
    return f"{chart_label(one.observation.label, 120)}<br>{one.error or 0.0:+.1%}"
