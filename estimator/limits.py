"""Limits on latency (`--slo ttft=1s,tpot=80ms`) as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from estimator.errors import EstimatorError

_LIMIT = re.compile(r"(ttft|tpot)=(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest time to first token and time per output token that are accepted, in seconds; None: any."""

    ttft_s: float | None = None
    tpot_s: float | None = None


def limits_in(text: str) -> Limits:
    """ "ttft=1s,tpot=80ms" -> 1 and 0.08 s; of a limit that stands twice the last. Raises EstimatorError."""
    found: dict[str, float] = {}
    for part in text.replace(" ", "").split(","):
        match = _LIMIT.fullmatch(part.lower())
        if not match:
            raise EstimatorError(f"{part!r} is no limit: write --slo ttft=1s,tpot=80ms")
        found[f"{match.group(1)}_s"] = float(match.group(2)) * (1e-3 if match.group(3) == "ms" else 1.0)
    return Limits(**found)
