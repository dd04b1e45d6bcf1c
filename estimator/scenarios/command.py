"""`estimator scenarios check FILE`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from estimator.asked import answer_to_arguments
from estimator.plain import to_plain
from estimator.scenarios.check import checked
from estimator.scenarios.file import read_scenarios
from estimator.scenarios.text import failed, findings_text


def scenarios_text(options: Namespace) -> tuple[str, int]:
    """What it prints, and its exit status: 1 where a limit is not met. Raises EstimatorError."""
    path: Path = options.file
    findings = checked(read_scenarios(path), answer_to_arguments, str(path))
    status = int(failed(findings, options.strict))
    if options.json:
        return json.dumps({"passed": not status, "findings": to_plain(findings)}, indent=2) + "\n", status
    return findings_text(findings, options.strict) + "\n", status
