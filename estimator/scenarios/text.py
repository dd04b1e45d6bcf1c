"""The findings as a table of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from estimator.render import WIDTH, duration, size
from estimator.scenarios.check import Finding

_LIMIT_WIDTH = 42


def findings_text(findings: tuple[Finding, ...], strict: bool) -> str:
    """A block for each scenario, then how many limits are met."""
    lines: list[str] = []
    for name in dict.fromkeys(finding.scenario for finding in findings):
        lines += textwrap.wrap(name, WIDTH)
        lines += [_line(finding) for finding in findings if finding.scenario == name]
    return "\n".join((*lines, "", *_summary(findings, strict)))


def failed(findings: tuple[Finding, ...], strict: bool) -> bool:
    """Whether a limit is not met, or nobody knows, or (`strict`) it is met by theory only."""
    return any(finding.outcome != "met" or (strict and not finding.proven) for finding in findings)


def _line(finding: Finding) -> str:
    written = " ".join((finding.limit, _value(finding.limit, finding.bound)))
    predicted = "-" if finding.predicted is None else _value(finding.limit, finding.predicted)
    outcome = finding.outcome if finding.proven or finding.outcome != "met" else "met?"
    return f"  {written:<{_LIMIT_WIDTH}} {predicted:>12} {finding.basis:<11} {outcome}"


def _summary(findings: tuple[Finding, ...], strict: bool) -> Iterator[str]:
    count = {outcome: sum(finding.outcome == outcome for finding in findings) for outcome in ("met", "unknown")}
    unproven = sum(finding.outcome == "met" and not finding.proven for finding in findings)
    yield f"{count['met']} of {len(findings)} limits met" + (f", {count['unknown']} unknown" * bool(count["unknown"]))
    if unproven:
        more = "with --strict they count as not met" if not strict else "which --strict does not accept"
        yield from textwrap.wrap(
            f"met?: {unproven} met by theory only, the fastest that the hardware allows (a real machine is slower), or "
            f"by a value without an interval: {more}",
            WIDTH,
        )


def _value(limit: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if limit.endswith("_bytes"):
        return size(value)
    if limit.endswith("_usd"):
        return f"${value:,.3g}"
    return f"{value:,.1f}" if limit.endswith("_per_s") else duration(value)
