"""The physics gate: observations that cannot be true are dropped before any fit, by name."""

from __future__ import annotations

from collections.abc import Iterable

from calibration.dataset import Observation
from harness.record import Probes

# Our probe may miss the machine's best by this much; a cache-sized model may beat memory by more.
_TOLERANCE = 1.5
_CONTRADICTION = 2.0


def admitted(observations: Iterable[Observation], probes: Probes | None) -> tuple[list[Observation], list[str]]:
    """The possible observations, and a sentence on each impossible one.

    Impossible: no positive time; weights read faster than 1.5 x the measured bandwidth; the same cell
    measured twice with results more than a factor of 2 apart (both are dropped).
    """
    kept: list[Observation] = []
    why: list[str] = []
    listed = list(observations)
    for observation in listed:
        reason = _impossible(observation, probes) or _contradicted(observation, listed)
        if reason:
            why.append(f"{observation.label}: {reason}")
        else:
            kept.append(observation)
    return kept, why


def _impossible(observation: Observation, probes: Probes | None) -> str | None:
    if observation.seconds <= 0:
        return "took no time"
    if observation.phase == "decode" and probes is not None and probes.read_bytes_per_s:
        read = sum(amount for name, amount in observation.terms.items() if name.startswith("weights."))
        rate = read / observation.seconds
        if rate > _TOLERANCE * probes.read_bytes_per_s:
            return f"reads {rate / 1e9:.0f} GB/s where the machine reads {probes.read_bytes_per_s / 1e9:.0f}"
    return None


def _contradicted(observation: Observation, listed: list[Observation]) -> str | None:
    for other in listed:
        same = (other.build, other.phase, other.file, other.work) == (
            observation.build, observation.phase, observation.file, observation.work,
        )  # fmt: skip
        if same and not 1 / _CONTRADICTION <= other.seconds / observation.seconds <= _CONTRADICTION:
            return f"measured as {observation.seconds:.4g} s and as {other.seconds:.4g} s: measure it again"
    return None
