"""The gate: predicted beside measured for records that the fit has not seen, each held to a limit, and why it is out.

Only VALID cells are judged. What exceeds a limit by less than two standard errors of what was measured is on the edge:
said, and let through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from calibration.causes import Finding, findings
from calibration.changes import Judged, judged
from calibration.errors import NothingToCheck
from calibration.fitting import speed_of
from calibration.gate import admitted
from calibration.observations import Build, Dataset, Observation
from calibration.reading import read_dataset
from calibration.rows import WHAT_OF, Row, changes_of, memory_rows, speed_rows
from calibration.uncertainty import UNKNOWN_RUNS
from estimator.belonging import engine_differences, machine_differences, refuse
from estimator.coefficients import Coefficients


@dataclass(frozen=True, slots=True)
class Checked:
    """What the gate found. `least_seen` is, for each phase, by how much all cells must be slower to be called so."""

    build: Build
    limits: dict[str, float]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    not_judged: tuple[str, ...]
    noisy: tuple[str, ...]
    notes: tuple[str, ...]
    least_seen: dict[str, float]

    @property
    def passes(self) -> bool:
        """Nothing out, and no engine that is slower than when it was fitted."""
        return not any(row.state == "out" for row in self.rows) and not any(found.fails for found in self.findings)


def check(
    paths: list[Path],
    fitted: Coefficients,
    limits: Mapping[str, float],
    *,
    anyway: bool = False,
    include_noisy: bool = False,
) -> Checked:
    """The records at `paths` against `fitted`. Raises NothingToCheck, Elsewhere (other machine or engine build),
    BadResults."""
    everything, left_out = read_dataset(paths, include_noisy, seen=fitted.evidence.runs)
    if not everything.probes:
        why = "; ".join([*left_out, *everything.left_out][:3]) or "the records hold no counted request of an engine"
        raise NothingToCheck(f"nothing to judge: {why}; measure again")
    data, others = matching(everything, fitted, anyway)
    build = next(iter(data.probes))
    left_out += [*data.left_out, *others]
    kept, impossible = admitted(data.observations, data.probes)
    left_out += impossible
    rows, unknown = speed_rows(kept, fitted, speed_of(fitted), limits)
    rows += memory_rows(data.memory, fitted, limits)
    left_out += unknown
    if not rows:
        raise NothingToCheck(f"nothing to judge: {'; '.join(left_out[:3]) or 'no counted request'}; measure more")
    changed: dict[str, Judged] = {what: _changed(kept, fitted, phase) for phase, what in WHAT_OF.items()}
    least = {what: told.least_seen for what, told in changed.items() if told.least_seen < float("inf")}
    found = tuple(findings(rows, changed))
    notes = _notes(data, fitted, build, found)
    return Checked(build, dict(limits), tuple(rows), found, tuple(left_out), data.noisy, notes, least)


def matching(everything: Dataset, fitted: Coefficients, anyway: bool) -> tuple[Dataset, list[str]]:
    """What is of the build that the coefficients belong to, and a sentence on the rest. Raises Elsewhere.

    With `anyway` it is the newest build, whichever that is.
    """
    measured = [*everything.probes]
    same = measured if anyway else [build for build in measured if not _differences(fitted, build)]
    if measured and not same:
        refuse(_differences(fitted, measured[-1]), "the coefficient file")
    usable = {o.build for o in everything.observations}
    build = next((build for build in reversed(same) if build in usable), same[-1] if same else None)
    others = sum(1 for o in everything.observations if o.build != build)
    told = [f"{others} observations of {len(measured) - 1} other builds"] if others else []
    if build is None:
        return everything, told
    return replace(everything.of(build), probes={build: everything.probes[build]}), told


def _differences(fitted: Coefficients, build: Build) -> list[str]:
    return [
        *machine_differences(fitted, build.cpu, build.physical_cores, build.memory_total_bytes),
        *engine_differences(fitted, build.engine, build.version, build.system_info, build.threads),
    ]


def _changed(kept: Sequence[Observation], fitted: Coefficients, phase: str) -> Judged:
    runs = fitted.evidence.run_to_run.get(phase, UNKNOWN_RUNS)
    freedom = runs.prior_runs + max(0, runs.runs - 1)
    return judged(changes_of(kept, fitted, phase), runs, freedom)


def _notes(data: Dataset, fitted: Coefficients, build: Build, found: tuple[Finding, ...]) -> tuple[str, ...]:
    """What to know beside: another build that was let through, and probes of the machine where it seems slower."""
    notes = [f"checked all the same: {difference}" for difference in _differences(fitted, build)]
    now, then = data.probes.get(build), fitted.machine.bandwidth_bytes_per_s
    if any(f.cause == "engine slower" for f in found) and now is not None and now.read_bytes_per_s and then:
        ratio = now.read_bytes_per_s / then - 1
        hint = ": perhaps the machine, not the engine" if ratio < -0.05 else ": not the memory's speed"
        notes.append(f"the machine reads memory at {ratio:+.0%} of its speed at the fit{hint}")
    if not fitted.evidence.cells:
        notes.append("the coefficients keep no cells of their fit: changes of the engine cannot be told")
    return tuple(notes)


def as_json(checked: Checked) -> dict[str, Any]:
    """Everything as JSON values; units in the names."""
    return {
        "passes": checked.passes,
        "build": asdict(checked.build),
        "limits": checked.limits,
        "least_slowdown_seen": checked.least_seen,
        "rows": [_row(row) for row in checked.rows],
        "findings": [asdict(found) for found in checked.findings],
        "not_judged": list(checked.not_judged),
        "judged_although_noisy": list(checked.noisy),
        "notes": list(checked.notes),
    }


def _row(row: Row) -> dict[str, Any]:
    unit = "bytes" if row.what == "memory" else "s"
    return {
        "what": row.what,
        "label": row.label,
        "model": row.model,
        "quant": row.quant,
        "main_term": row.main_term,
        f"measured_{unit}": row.measured,
        f"predicted_{unit}": row.predicted,
        "relative_error": row.error,
        "measured_relative_error": row.measured_error,
        "limit": row.limit,
        "state": row.state,
        "change_since_fit": row.change,
        "outside": row.outside,
    }
