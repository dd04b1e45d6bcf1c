"""What `harness compare` is given, as sides: two runs or folders, or the back ends of one."""

from __future__ import annotations

from pathlib import Path

from harness.compare import Comparison, Side, compare, run_of
from harness.errors import HarnessError
from harness.journal import find_journals, read_record
from harness.record import Record


def comparisons(a: Path, b: Path | None, backends: str | None, share: float, anyway: bool) -> list[Comparison]:
    """B against A, or in A each other back end against the first. Raises HarnessError."""
    if not 0 < share < 1:
        raise HarnessError(f"--difference is in per cent, above 0 and below 100, not {share * 100:g}")
    first = _records(a)
    if b is not None and backends is None:
        second = _records(b)
        if set(map(run_of, first)) & set(map(run_of, second)):
            raise HarnessError(f"A and B have a run in common: to compare its back ends, `harness compare {a}`")
        return [compare(Side(str(a), first), Side(str(b), second), share, anyway)]
    if b is not None and set(map(run_of, _records(b))) != set(map(run_of, first)):
        raise HarnessError("--backends compares back ends of one run: leave B out")
    there = list(dict.fromkeys(request.cell.backend for record in first for request in record.requests))
    chosen = [name.strip() for name in backends.split(",")] if backends else there
    if unknown := [name for name in chosen if name not in there]:
        raise HarnessError(f"{a} has no back end {unknown[0]!r}: it has {', '.join(there) or 'none'}")
    if len(chosen) < 2:
        raise HarnessError(f"{a} has one back end only ({', '.join(chosen)}): give a second run to compare it with")
    # That the engines differ is what was asked for here.
    base, *others = [Side(f"{name} in {a}", first, name) for name in chosen]
    return [compare(base, other, share, anyway=True) for other in others]


def _records(path: Path) -> tuple[Record, ...]:
    """The runs under a path. Raises HarnessError where one stands there twice: its values would count twice."""
    found: dict[str, Record] = {}
    for record in (read_record(journal) for journal in find_journals([path])):
        if (other := found.setdefault(run_of(record), record)) is not record:
            raise HarnessError(
                f"{path} holds the run {record.header.run_id} twice, {other.path} and {record.path}: move one away"
            )
    return tuple(found.values())
