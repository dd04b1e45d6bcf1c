"""`estimator sweep`: options in, rows out."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

from estimator.errors import EstimatorError
from estimator.sweep import output
from estimator.sweep.axes import Axes, axes_of
from estimator.sweep.grid import Rows, computed
from estimator.sweep.rows import Wanted

_TABLE_ROWS = 20
_MOST_JSON_ROWS = 1_000_000


def sweep_text(options: Namespace) -> str:
    """What `sweep` prints: a table, JSON, or a line about the CSV file that it wrote. Raises EstimatorError."""
    axes = axes_of(options, os.environ.get("OLLAMA_HOST", ""))
    if options.json and options.csv is not None:
        raise EstimatorError("--json and --csv at once: choose one")
    top = options.top if options.top is not None or options.json or options.csv else _TABLE_ROWS
    wanted = Wanted(axes, options.fits, options.sort, top)
    count = len(axes.files) * len(axes.works) * len(axes.hardware)
    if options.json and top is None and count > _MOST_JSON_ROWS:
        raise EstimatorError(f"{count:,} rows of JSON are too many: take --csv FILE, or say how many with --top")
    rows = wanted.taken(_with_progress(computed(axes), axes, count))
    if options.csv is not None:
        return _csv(options.csv, wanted, rows)
    return (output.json_text if options.json else output.table_text)(wanted, rows) + "\n"


def _csv(target: str, wanted: Wanted, rows: Iterable[Rows]) -> str:
    """Writes beside the file first, so that it is whole or not there."""
    if target == "-":
        output.write_csv(sys.stdout, wanted, rows)
        return ""
    path = Path(target)
    if not path.name or path.is_dir():
        raise EstimatorError(f"cannot write {target}: it is a folder; name a file with --csv")
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            output.write_csv(file, wanted, rows)
        beside.replace(path)
    except OSError as error:
        raise EstimatorError(f"cannot write {path}: {error.strerror}; name another file with --csv") from None
    finally:
        beside.unlink(missing_ok=True)
    return f"{path}: {wanted.computed:,} scenarios computed, {wanted.matching:,} match\n"


def _with_progress(blocks: Iterable[Rows], axes: Axes, count: int) -> Iterator[Rows]:
    """A bar on standard error while it is a terminal and the work is long."""
    if count < _MOST_JSON_ROWS or not sys.stderr.isatty():
        yield from blocks
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scenarios", total=sum(map(len, map(axes.works_of, axes.files))) * len(axes.hardware))
        for block in blocks:
            yield block
            progress.advance(task, len(block))
