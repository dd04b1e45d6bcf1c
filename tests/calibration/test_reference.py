"""The shipped prior: rebuilt from the stored campaign, and as accurate on models left out as the README says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calibration.fitting import REFERENCE, Fitted, fit
from estimator.coefficients import read_coefficients
from estimator.plain import to_plain

CAMPAIGN = Path(__file__).parents[2] / "results" / "reference"


def flat(plain: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested JSON with its place."""
    if not isinstance(plain, dict | list):
        yield where, plain
        return
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain):
        yield from flat(value, f"{where}.{key}" if where else str(key))


@pytest.fixture(scope="module")
def rebuilt() -> Fitted:
    return fit([CAMPAIGN], prior=None)


def test_the_shipped_prior_is_what_the_stored_campaign_gives(rebuilt: Fitted) -> None:
    shipped = read_coefficients(REFERENCE)
    assert shipped.records == rebuilt.coefficients.records
    assert {name: c.seconds_per_unit for name, c in shipped.speed.items()} == pytest.approx(
        {name: c.seconds_per_unit for name, c in rebuilt.coefficients.speed.items()}, rel=1e-6, abs=1e-20
    )


@pytest.mark.parametrize(("phase", "median", "worst"), [("decode", 0.05, 0.15), ("prefill", 0.08, 0.20)])
def test_models_that_were_left_out_whole_are_predicted_within_the_stated_error(
    rebuilt: Fitted, phase: str, median: float, worst: float
) -> None:
    error = rebuilt.coefficients.held_out[phase]
    assert error.groups >= 5
    assert error.median <= median
    assert error.worst <= worst


def test_the_table_of_the_readme_is_what_the_stored_campaign_gives(rebuilt: Fitted) -> None:
    readme = (CAMPAIGN.parents[1] / "README.md").read_text("utf-8")
    table = re.findall(
        r"^\| (\w+).* \| ([\d.]+) % \| ([\d.]+) %.* \| (\d+) (?:VALID cells|processes)", readme, re.MULTILINE
    )
    told = {name: (float(median), float(worst), int(count)) for name, median, worst, count in table}
    residuals = rebuilt.residuals | {f"memory_{kind}": kept for kind, kept in rebuilt.memory_residuals.items()}
    found = {}
    for name in ("decode", "prefill", "memory_anonymous", "memory_file"):
        error = rebuilt.coefficients.held_out[name]
        percent = (pytest.approx(100 * share, abs=0.06) for share in (error.median, error.worst))
        found[name.removeprefix("memory_")] = (*percent, len(residuals[name]))
    assert told == found


def test_memory_of_models_left_out_is_within_two_percent_for_every_process(rebuilt: Fitted) -> None:
    for residuals in rebuilt.memory_residuals.values():
        assert len(residuals) >= 47
        assert max(abs(r.relative) for r in residuals) <= 0.02


def test_the_shipped_memory_prices_are_what_the_stored_campaign_gives(rebuilt: Fitted) -> None:
    shipped, found = read_coefficients(REFERENCE).memory, rebuilt.coefficients.memory
    assert shipped is not None
    assert found is not None
    prices, meant = to_plain(shipped), to_plain(found)
    assert prices.pop("repacked_types") == meant.pop("repacked_types")
    assert prices == pytest.approx(meant, rel=1e-6)


def test_the_shipped_errors_intervals_ranges_and_evidence_are_what_the_stored_campaign_gives(rebuilt: Fitted) -> None:
    """All but the date and the versions of what fitted it."""
    shipped, found = (dict(flat(to_plain(c))) for c in (read_coefficients(REFERENCE), rebuilt.coefficients))
    free = ("fitted_at", "evidence.libraries.")
    assert len(shipped) > 500
    for name in sorted(name for name in shipped.keys() | found.keys() if not name.startswith(free)):
        new = found[name]
        near = pytest.approx(new, rel=1e-6, abs=1e-20) if isinstance(new, float) else new
        assert shipped[name] == near, name


def test_no_private_path_stands_in_the_stored_journals() -> None:
    for journal in CAMPAIGN.parent.rglob("*.jsonl"):
        text = journal.read_text("utf-8")
        assert not [mark for mark in ('"/home', '"/root', '"/tmp', '"/Users') if mark in text], journal
