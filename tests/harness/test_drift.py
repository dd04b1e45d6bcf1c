"""How much of the noise is drift: planted autoregressions are seen, independent values and stalls are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.drift import Drift, drift

CELLS = 4


def sequence(seed: int, count: int, share: float, memory: float = 10.0) -> list[tuple[int, float]]:
    """Logarithms of visits to four cells in turn, of variance 1, a share of it drift that fades in `memory` visits."""
    rng = np.random.default_rng(seed)
    keep, state, found = math.exp(-1 / memory), rng.normal(), []
    for place in range(count):
        state = keep * state + math.sqrt(1 - keep**2) * rng.normal()
        value = math.sqrt(share) * state + math.sqrt(1 - share) * rng.normal()
        found.append((place % CELLS, place % CELLS + value))
    return found


def seen(share: float, count: int, seeds: int = 8) -> float:
    return float(
        np.mean(
            [drift([sequence(seed, count, share), sequence(seed + 99, count, share)]).share for seed in range(seeds)]
        )
    )


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_long_runs_show_the_planted_share(share: float) -> None:
    assert seen(share, 200, seeds=4) == pytest.approx(share, abs=0.12)


def test_independent_values_show_less_the_more_there_are() -> None:
    assert seen(0.0, 160) < 0.1 < seen(0.0, 24) < 0.3


def test_short_runs_are_not_believed_to_be_quiet() -> None:
    # Of two runs of 24 visits half drift cannot be told well; what is expected lies between the prior and the truth.
    assert 0.2 < seen(0.5, 24) < 0.6


def test_stalls_are_no_drift() -> None:
    values = sequence(1, 80, 0.0)
    stalled = [(label, value + 50 * (place % 13 == 0)) for place, (label, value) in enumerate(values)]
    assert drift([stalled]).share < 0.25


def test_nothing_is_seen_in_cells_of_two_values() -> None:
    assert drift([[(0, 1.0), (0, 2.0), (1, 1.0), (1, 3.0)]]) == Drift()
    assert Drift().widening([0, 1, 2], 0.95) == 1.0


def test_drift_widens_neighbours_more_than_distant_values() -> None:
    found = drift([sequence(3, 200, 0.5)])
    assert found.widening(list(range(8)), 0.95) > found.widening(list(range(0, 320, 40)), 0.95) > 1.0
