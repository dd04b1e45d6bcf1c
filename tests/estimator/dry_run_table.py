"""The engine's dry runs over the grid as a table: `python -m tests.estimator.dry_run_table` writes it.

It is results/reference/dry_runs.csv, so that what fits can be held against the engine without the engine. A row has
the shape of the model as far as it is no catalogue model, the options, and the bytes that the engine said (it prints
hundredths of a MiB).
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from estimator.catalog import find_model
from estimator.specs import Workload
from tests.estimator.dry_run import dry_runs
from tests.estimator.grid import Case, grid, odd_shapes

TABLE = Path(__file__).parents[2] / "results" / "reference" / "dry_runs.csv"
ODD_SHAPES = 200
# Drawn after the allowances had been chosen; after the first of these they were doubled, and new ones drawn.
NEW_SHAPES = 300
_SHAPE = ("layers", "hidden", "heads", "kv_heads", "key_length", "ffn", "vocabulary")
_WORK = ("context_tokens", "concurrency", "ubatch_tokens", "flash_attention", "kv_type")
_BYTES = ("kv", "output", "compute")


def rows(cases: list[Case]) -> Iterator[list[object]]:
    """The table's rows, its header first."""
    yield ["model", "quant", *_SHAPE, "tied_embeddings", *_WORK, *(f"{name}_bytes" for name in _BYTES)]
    with tempfile.TemporaryDirectory() as folder:
        answers = dry_runs([case.options(Path(folder), alloc=False) for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        odd = case.model.name.startswith(("odd-", "new-", "fresh-"))
        shape = [getattr(case.model, name) if odd else "" for name in (*_SHAPE, "tied_embeddings")]
        work = [getattr(case.work, name) for name in _WORK]
        yield [case.model.name, case.mixture, *shape, *work, *(round(answer[name]) for name in _BYTES)]


def stored() -> list[tuple[Case, dict[str, int]]]:
    """The stored table: each configuration with the engine's bytes."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [(_case(row), {name: int(row[f"{name}_bytes"]) for name in _BYTES}) for row in csv.DictReader(file)]


def _case(row: dict[str, str]) -> Case:
    if row["layers"]:
        shape = {name: int(row[name]) for name in _SHAPE}
        tied = row["tied_embeddings"] == "True"
        value_length = shape["key_length"]
        origin = find_model("mistral:7b")
        model = replace(
            origin,
            names=(row["model"],),
            parameters=None,
            tied_embeddings=tied,
            value_length=value_length,
            **shape,  # type: ignore[arg-type]
        )
    else:
        model = find_model(row["model"])
    context, sequences, ubatch = (int(row[name]) for name in _WORK[:3])
    flash = row["flash_attention"] == "True"
    work = Workload(
        1,
        1,
        context_tokens=context,
        concurrency=sequences,
        ubatch_tokens=ubatch,
        flash_attention=flash,
        kv_type=row["kv_type"],
    )
    return Case(model, row["quant"], work)


if __name__ == "__main__":
    cases = [*grid(), *odd_shapes(ODD_SHAPES), *odd_shapes(NEW_SHAPES, "new"), *odd_shapes(NEW_SHAPES, "fresh")]
    with TABLE.open("w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows(rows(cases))
