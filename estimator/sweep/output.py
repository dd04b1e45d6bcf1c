"""The rows of a sweep as CSV, as JSON and as a table of at most 80 columns."""

from __future__ import annotations

import csv
import json
import math
import textwrap
from collections.abc import Iterable, Iterator
from typing import TextIO

from estimator.render import WIDTH, duration, short_name, size
from estimator.specs import ModelFile, Workload
from estimator.sweep.axes import Axes
from estimator.sweep.grid import FITS, Rows
from estimator.sweep.rows import Wanted

_QUANTITIES = (
    "needed_bytes",
    "margin_bytes",
    "ttft_s",
    "time_per_token_s",
    "end_to_end_s",
    "decode_tokens_per_s",
    "throughput_tokens_per_s",
)
# What tells a scenario from others, each with its heading.
_AXES = {
    "model": "model",
    "quant": "type",
    "hardware": "hardware",
    "prompt_tokens": "prompt",
    "output_tokens": "output",
    "depth_tokens": "depth",
    "context_tokens": "context",
    "concurrency": "at once",
    "kv_type": "KV",
}
FIELDS = (*_AXES, "fits", *_QUANTITIES)
_NAME_WIDTH = 10


def records(wanted: Wanted, blocks: Iterable[Rows]) -> Iterator[tuple[object, ...]]:
    """Each row as the values of FIELDS; None where unknown."""
    axes = wanted.axes
    files = [(file.model.name, file.quant) for file in axes.files]
    works = [_work_values(work) for work in axes.works]
    machines = [machine.name for machine in axes.hardware]
    for block in blocks:
        columns = [wanted.quantity(block, name).tolist() for name in _QUANTITIES]
        indices = (block[name].tolist() for name in ("file", "work", "hardware", "fits"))
        for file, work, machine, fits, *values in zip(*indices, *columns, strict=True):
            yield (*files[file], machines[machine], *works[work], FITS[fits], *map(_known, _QUANTITIES, values))


def _known(name: str, value: float) -> float | int | None:
    """Bytes are whole, and what is not known is nothing."""
    if math.isnan(value):
        return None
    return round(value) if name.endswith("_bytes") else value


def _work_values(work: Workload) -> tuple[object, ...]:
    context = work.room_tokens
    return work.prompt_tokens, work.output_tokens, work.depth_tokens, context, work.concurrency, work.kv_type


def write_csv(target: TextIO, wanted: Wanted, blocks: Iterable[Rows]) -> None:
    """FIELDS as header, then a line a row; an empty field where unknown."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(records(wanted, blocks))


def json_text(wanted: Wanted, blocks: Iterable[Rows]) -> str:
    """One object: basis, how many scenarios there were, and `rows`, each an object of FIELDS."""
    rows = [dict(zip(FIELDS, record, strict=True)) for record in records(wanted, blocks)]
    told = {"basis": "theory", "computed": wanted.computed, "matching": wanted.matching, "left_out": left_out(wanted)}
    return json.dumps({**told, "rows": rows}, indent=2)


def left_out(wanted: Wanted) -> dict[str, int]:
    """How many scenarios were named but not computed, by reason."""
    axes = wanted.axes
    machines, files, works = len(axes.hardware), len(axes.files), len(axes.works)
    return {
        "context_too_short_for_request": axes.impossible * files * machines,
        "context_beyond_model": files * works * machines - sum(map(len, map(axes.works_of, axes.files))) * machines,
    }


def table_text(wanted: Wanted, blocks: Iterable[Rows]) -> str:
    """What all rows share as a line, what differs as columns, the numbers, and what was left out."""
    rows = [dict(zip(FIELDS, record, strict=True)) for record in records(wanted, blocks)]
    varying = [name for name in _AXES if _differs(wanted.axes, name)]
    if not any(work.context_tokens for work in wanted.axes.works) and "context_tokens" in varying:
        varying.remove("context_tokens")  # just enough for prompt and output, which are told
    lines = [*_shared(wanted.axes, varying), ""]
    if rows:
        columns = {name: [_AXES[name], *(_told(name, row[name]) for row in rows)] for name in varying}
        lines += _aligned({**columns, **_numbers(rows, any(work.concurrency > 1 for work in wanted.axes.works))})
    else:
        lines.append("no scenario left: name other axes, or leave out --fits")
    footer = (part for line in _footer(wanted, len(rows)) for part in textwrap.wrap(line, WIDTH))
    return "\n".join((*lines, "", *footer))


def _numbers(rows: list[dict[str, object]], concurrent: bool) -> dict[str, list[str]]:
    shown = {
        "fits": ("fits", str),
        "needed_bytes": ("needs", size),
        "ttft_s": ("TTFT", duration),
        "decode_tokens_per_s": ("tok/s", _rate),
    }
    if concurrent:
        shown["throughput_tokens_per_s"] = ("all tok/s", _rate)
    return {
        name: [heading, *("-" if row[name] is None else write(row[name]) for row in rows)]  # type: ignore[operator]
        for name, (heading, write) in shown.items()
    }


def _aligned(columns: dict[str, list[str]]) -> Iterator[str]:
    widths = {name: max(map(len, cells)) for name, cells in columns.items()}
    names = [name for name in ("hardware", "model") if name in columns]
    while sum(widths.values()) + len(widths) - 1 > WIDTH and names:
        widest = max(names, key=widths.__getitem__)
        if widths[widest] <= _NAME_WIDTH:
            break
        widths[widest] -= 1
    text = {"model", "quant", "hardware", "kv_type", "fits"}
    for cells in zip(*columns.values(), strict=True):
        parts = (_cell(cell, widths[name], name in text) for name, cell in zip(columns, cells, strict=True))
        yield " ".join(parts).rstrip()


def _cell(text: str, width: int, left: bool) -> str:
    text = text if len(text) <= width else text[: width - 1] + "…"
    return f"{text:<{width}}" if left else f"{text:>{width}}"


def _differs(axes: Axes, name: str) -> bool:
    return len({_value(axes, name, index) for index in range(_length(axes, name))}) > 1


def _length(axes: Axes, name: str) -> int:
    return len({"model": axes.files, "quant": axes.files, "hardware": axes.hardware}.get(name, axes.works))


def _value(axes: Axes, name: str, index: int) -> object:
    if name in ("model", "quant"):
        file: ModelFile = axes.files[index]
        return file.model.name if name == "model" else file.quant
    if name == "hardware":
        return axes.hardware[index].name
    work = axes.works[index]
    return _work_values(work)[list(_AXES).index(name) - 3]


def _shared(axes: Axes, varying: list[str]) -> Iterator[str]:
    for name, heading in _AXES.items():
        if name not in varying and (name != "context_tokens" or not _differs(axes, name)):
            yield f"{heading:<9} {_plain(_value(axes, name, 0))}"


def _footer(wanted: Wanted, shown: int) -> Iterator[str]:
    more = "" if shown == wanted.matching else f"; {shown:,} shown (--top N for more, --csv FILE for all)"
    matching = f"{wanted.matching:,} of them fit" if wanted.only_fitting else ""
    yield "; ".join(filter(None, (f"{wanted.computed:,} scenarios", matching))) + more
    for reason, count in left_out(wanted).items():
        if count:
            yield f"{count:,} left out: {reason.replace('_', ' ')}"
    yield "theory only: memory by the formulas, times the fastest that the hardware allows"


def _told(name: str, value: object) -> str:
    return short_name(str(value)) if name == "hardware" else _plain(value)


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _rate(tokens_per_s: float) -> str:
    return f"{tokens_per_s:,.1f}" if tokens_per_s < 1000 else f"{tokens_per_s:,.0f}"
