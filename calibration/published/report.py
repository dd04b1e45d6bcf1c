"""What `calibration reference` and `calibration report` show: the gate in words, all tables."""

from __future__ import annotations

from threadpoolctl import threadpool_limits

from calibration.published.building import Built
from calibration.published.evidence import TABLES
from calibration.published.gate import Gated
from calibration.published.page import evidence_of
from calibration.published.tables import Table
from calibration.published.worst import worst_tables
from calibration.shown.page import Evidence


def gate_text(gate: Gated) -> str:
    """What the gate left out and why; impossible rows one by one."""
    out = [f"{len(gate.kept)} rows fitted, {len(gate.mixtures)} of mixtures of experts kept for a test"]
    out += [f"left out, {count}: {reason}" for reason, count in gate.reasons().items()]
    out += [f"  {row.label}, {row.tokens_per_s:,.4g} tok/s: {reason}" for row, reason in gate.impossible]
    return "\n".join(out)


def gate_table(gate: Gated) -> Table:
    """The same as a table."""
    rows = [(reason, str(count)) for reason, count in gate.reasons().items()]
    named = tuple(f"{row.label}, {row.tokens_per_s:,.4g} tok/s: {reason}" for row, reason in gate.impossible)
    return Table("Rows left out by the gate", ("reason", "rows"), tuple(rows), named)


def evidence(found: Built) -> Evidence:
    """All charts, and all tables in the order in which they are shown."""
    # One thread of the solver, as in `built`.
    with threadpool_limits(1, user_api="blas"):
        tables = [gate_table(found.gate), *(table(found) for table in TABLES), *worst_tables(found)]
    return evidence_of(found, tables)
