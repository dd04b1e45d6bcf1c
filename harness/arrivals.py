"""When the requests of an open load are due: pure functions of rate, count and seed.

An open load sends each request when it is due, whether or not earlier ones have ended, as independent users do.
Latency counts from the instant that a request is due and not from the one it was sent (MLPerf LoadGen's server
scenario; Reddi et al., MLPerf Inference Benchmark, 2020): else a client that falls behind hides the server's queue.
"""

from __future__ import annotations

import math
import random

from harness.errors import HarnessError

ARRIVALS = ("constant", "poisson")


def due_s(arrival: str, rate_per_s: float, count: int, seed: int | str) -> tuple[float, ...]:
    """`count` ascending offsets from the start of the load, in seconds. Raises HarnessError.

    constant: request i at i / rate.

    poisson: a Poisson process given that exactly `count` requests come in `count / rate` seconds, which are then
    distributed as as many uniform instants, sorted (Ross, Stochastic Processes, theorem 2.3.1). Unconditioned, the
    rate of a short load would be met by luck only (of 100 requests +-10 %), and two loads at one rate would differ
    by that. The price: a gap exceeds x with probability (1 - x / duration)^count in place of exp(-x rate), which
    differs from it by less than 1 / count (at most 0.27 / count in the limit of many).
    """
    if arrival not in ARRIVALS:
        raise HarnessError(f"{arrival!r} is no arrival process: write {' or '.join(ARRIVALS)}")
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise HarnessError(f"cannot send {rate_per_s:g} requests/s: give a rate above 0")
    if count < 1:
        raise HarnessError(f"cannot send {count} requests: give a count of at least 1")
    if arrival == "constant":
        return tuple(index / rate_per_s for index in range(count))
    drawn = random.Random(f"{seed}:arrivals:{arrival}")
    duration_s = count / rate_per_s
    return tuple(sorted(drawn.random() * duration_s for _ in range(count)))
