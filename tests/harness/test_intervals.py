"""Intervals of ratios: their ranks, and what drift makes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from harness.drift import Drift, drift
from harness.ratios import paired, unpaired


def test_rank_intervals_have_the_ranks_of_published_tables() -> None:
    a, b = np.arange(10.0), np.arange(10.0) + 0.001 * np.arange(10) ** 2
    found, ranked = unpaired(a, b, 0.95), np.sort(np.subtract.outer(b, a), axis=None)
    assert found is not None
    # Critical values at 5 %, two-sided: U of 10 and 10 is 23, T of 10 pairs is 8.
    assert np.log(found.low) == pytest.approx(ranked[23])
    differences = np.log(np.linspace(1.0, 2.0, 10))
    walsh = np.sort([(x + y) / 2 for at, x in enumerate(differences) for y in differences[at:]])
    signed = paired(differences, 0.95)
    assert signed is not None
    assert np.log(signed.high) == pytest.approx(walsh[-1 - 8])


def test_drift_that_cells_share_widens_an_interval_and_independent_noise_hardly_does() -> None:
    rng = np.random.default_rng(1)
    alone = [[(at % 4, float(rng.normal())) for at in range(200)] for _ in range(2)]
    walks = [[(at % 4, float(v)) for at, v in enumerate(np.cumsum(rng.normal(size=200)))] for _ in range(2)]
    places = range(0, 200, 4)
    assert drift(alone).widening(places, 0.95) < 1.5
    assert drift(walks).widening(places, 0.95) > 2.5
    assert Drift().widening(places, 0.95) == 1.0


def test_drift_widens_an_interval_of_more_confidence_more_since_it_leaves_fewer_independent_values() -> None:
    kept, shares = 9, 25
    likely = np.zeros((kept, shares))
    # 0.7 is kept from visit to visit, and 96 % of the variance is drift.
    likely[2, 24] = 1.0
    places = range(12)
    of_sum = 0.96 * sum(0.7 ** abs(i - j) for i in places for j in places) + 0.04 * 12
    spread = math.sqrt(of_sum / 12 / ((12 - of_sum / 12) / 11))
    for confidence in (0.95, 0.999):
        known = student(confidence, 2 * (144 / of_sum - 1)) / student(confidence, 22)
        assert Drift(likely).widening(places, confidence) == pytest.approx(spread * known, rel=1e-6)
    assert Drift(likely).widening(places, 0.999) > 1.5 * Drift(likely).widening(places, 0.95)


def student(confidence: float, freedom: float) -> float:
    return float(t.ppf((1 + confidence) / 2, freedom))
