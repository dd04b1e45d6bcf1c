"""The requests of one cell of one build, from every run; which runs contradict each other, and which are believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from calibration.observations import PhaseName
from harness.disturbances import disturbances
from harness.metrics import tpot_s, ttft_s
from harness.noise import Finding
from harness.record import Cell, Request, Subject
from harness.verdict import Verdict, cell_verdict, engine_confirms

# Medians of the same cell in two runs of a build may differ by this factor: on the reference machine, which is shared
# and drifts, by 1.21 at most over 118 cells.
CONTRADICTION = 1.4
MEASURES: dict[PhaseName, Callable[[Request], float | None]] = {"prefill": ttft_s, "decode": tpot_s}


@dataclass(frozen=True, slots=True)
class Visit:
    """What one sitting of a run counted of the cell: requests that succeeded, their noise, and how many failed."""

    run: str
    requests: list[Request]
    failed: int
    cpu_shares: list[float]
    findings: list[list[Finding]]


@dataclass(frozen=True, slots=True)
class Pool:
    """All visits to one cell. `facts`: the model file's, as JSON."""

    subject: Subject
    facts: str
    visits: list[Visit] = field(default_factory=list)

    @property
    def run(self) -> str:
        """The first run that measured the cell."""
        return self.visits[0].run

    @property
    def requests(self) -> list[Request]:
        """Those that succeeded, of all visits."""
        return [request for visit in self.visits for request in visit.requests]

    def timed(self, phase: PhaseName) -> list[tuple[str, float]]:
        """Run and seconds of each request that has the phase."""
        measure = MEASURES[phase]
        return [(v.run, s) for v in self.visits for r in v.requests if (s := measure(r)) is not None]

    def by_run(self, phase: PhaseName) -> tuple[tuple[str, float], ...]:
        """The median of each run, oldest first."""
        runs: dict[str, list[float]] = {}
        for run, seconds in self.timed(phase):
            runs.setdefault(run, []).append(seconds)
        return tuple((run, median(values)) for run, values in runs.items())

    def verdict(self, pooled: bool = True) -> Verdict:
        """The verdict on all requests together; of one run where not `pooled`."""
        findings = [found for visit in self.visits for found in visit.findings]
        shares = [share for visit in self.visits for share in visit.cpu_shares]
        failed = sum(visit.failed for visit in self.visits)
        return cell_verdict(self.requests, failed, shares, disturbances=disturbances(findings), pooled=pooled)

    def contradictions(self, cell: Cell) -> list[str]:
        """A sentence on each phase in which runs contradict each other."""
        told = {phase: contradiction(self.by_run(phase)) for phase in MEASURES}
        return [f"{phase} of {cell.label}: {against}" for phase, against in told.items() if against]


def judged(verdict: Verdict, requests: Sequence[Request], include_noisy: bool) -> tuple[Verdict, bool]:
    """With `include_noisy`, without a late client where the engine's clock says what the wire's does; whether so."""
    late = include_noisy and verdict.word == "CLIENT-BOUND" and engine_confirms(requests)
    if not late:
        return verdict, False
    # The wire's times are right: what is left to judge is the rest.
    return Verdict("NOISY" if verdict.reasons[1:] else "VALID", verdict.reasons[1:]), True


def believed(pool: Pool, cell: Cell, include_noisy: bool) -> tuple[Pool, list[str]]:
    """Where runs contradict each other: without those that are not VALID by themselves, each named, if any is VALID.

    A run in which something else took the machine says nothing beside one in which nothing did; which of several were
    right is not asked.
    """
    if not pool.contradictions(cell):
        return pool, []
    alone = {run: replace(pool, visits=[v for v in pool.visits if v.run == run]) for run in _runs(pool.visits)}
    verdicts = {run: judged(part.verdict(pooled=False), part.requests, include_noisy)[0] for run, part in alone.items()}
    valid = [run for run, verdict in verdicts.items() if verdict.word == "VALID"]
    if not valid:
        return pool, []
    said = [
        f"{cell.label} in {run}: {verdict.word} ({'; '.join(verdict.reasons)}), where runs contradict each other and "
        f"{valid[0]} is VALID"
        for run, verdict in verdicts.items()
        if run not in valid
    ]
    return replace(pool, visits=[visit for visit in pool.visits if visit.run in valid]), said


def contradiction(by_run: tuple[tuple[str, float], ...]) -> str | None:
    """Where runs of one build say what cannot both be true of it; no median between them is."""
    if not by_run:
        return None
    fast, slow = (pick(by_run, key=lambda entry: entry[1]) for pick in (min, max))
    if slow[1] <= CONTRADICTION * fast[1]:
        return None
    return (
        f"contradictory: {fast[1] * 1e3:.4g} ms in {fast[0]}, {slow[1] * 1e3:.4g} ms in {slow[0]}, of the same build; "
        "measure again, or leave the wrong run out"
    )


def _runs(visits: Iterable[Visit]) -> list[str]:
    return list(dict.fromkeys(visit.run for visit in visits))
