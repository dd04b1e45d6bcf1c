"""The physics gate: observations that cannot be true are dropped before any fit, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from calibration.dataset import Build, Observation
from estimator.theory.terms import step_terms
from harness.metrics import computes_on_cpu
from harness.record import Probes

# Our probe may miss the machine's best by this much; a cache-sized model may beat memory by more.
_TOLERANCE = 1.5


def admitted(
    observations: Iterable[Observation], probes: Mapping[Build, Probes]
) -> tuple[list[Observation], list[str]]:
    """The possible observations, and a sentence on each impossible one.

    Impossible: no positive time; on a CPU, weights read faster than 1.5 x the bandwidth that was measured there, where
    a token reads them once, and a prompt once a micro-batch (of experts at least those of one token).
    """
    kept: list[Observation] = []
    why: list[str] = []
    for observation in observations:
        reason = _impossible(observation, probes.get(observation.build))
        if reason:
            why.append(f"{observation.label}: {reason}")
        else:
            kept.append(observation)
    return kept, why


def _least_read_bytes(observation: Observation) -> float:
    """Bytes of weights that the phase reads at least: of a token; of a prompt, what a token reads x micro-batches."""
    work = observation.work
    passes = 1 if observation.phase == "decode" else -(-work.prompt_tokens // work.ubatch_tokens)
    once = step_terms(observation.file, 1, 0, output=observation.phase == "decode")
    return passes * sum(amount for name, amount in once.items() if name.startswith("weights."))


def _impossible(observation: Observation, probes: Probes | None) -> str | None:
    if observation.seconds <= 0:
        return "took no time"
    here = probes is not None and computes_on_cpu(observation.build.system_info)
    if here and probes is not None and probes.read_bytes_per_s:
        rate = _least_read_bytes(observation) / observation.seconds
        if rate > _TOLERANCE * probes.read_bytes_per_s:
            return f"reads {rate / 1e9:.0f} GB/s where the machine reads {probes.read_bytes_per_s / 1e9:.0f}"
    return None
