"""Reasons to distrust a cell, each in words with what to do. Pure: from the record alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

from harness.disturbances import is_disturbed
from harness.loads import LoadFigures
from harness.metrics import (
    cached_as_meant,
    came_at_once,
    closure_s,
    e2e_s,
    known,
    lateness_s,
    percentile,
    streamed_tokens,
    tpot_s,
    ttft_s,
)
from harness.noise import Disturbed, Kind
from harness.record import Request
from harness.stability import MEDIAN_ERROR, effective_count, half_shift

Word = Literal["VALID", "NOISY", "CLIENT-BOUND", "DEGRADED LOAD", "SATURATED", "FAILED"]

ERROR_LIMIT = 0.06
CPU_SHARE_LIMIT = 0.9
LATENESS_LIMIT = 0.05
CLOSURE_LIMIT = 0.02
CLOSURE_FLOOR_S = 0.010
# What an engine does of a request beside prefill: 0.6 to 3 ms over the cells of two runs (DESIGN.md).
BESIDE_PREFILL_S = 0.002
DELIVERED_LIMIT = 0.98
SEND_DELAY_FLOOR_S = 0.010
PROMPT_LIMIT = 0.05
LOAD_LIMIT_S = 0.5
_SHORT_REQUESTS = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a cell counts, and why not. Of a late client the first reason says so, others would hold without it."""

    word: Word
    reasons: tuple[str, ...] = ()


def cell_verdict(
    requests: Sequence[Request],
    failed: int,
    cpu_shares: Sequence[float] = (),
    load: LoadFigures | None = None,
    disturbances: Disturbed = Disturbed(),  # noqa: B008 - frozen
    pooled: bool = False,
) -> Verdict:
    """The verdict on one cell from its counted requests, its failures, `metrics.cpu_share`, its load, disturbances.

    Requests are in the order in which they ran, of one run; `pooled` ones are of several.
    """
    if load is not None and load.saturated is not None:
        return Verdict("SATURATED", (load.saturated,))
    if not requests:
        return Verdict(
            "FAILED", (f"none of {failed} requests succeeded: see their errors with `harness show --errors`",)
        )
    disturbed = _disturbed(disturbances)
    if load is not None and (late := _sent_late(requests, load)):
        return Verdict("CLIENT-BOUND", (late,))
    if load is not None and (thin := _degraded(load, len(requests), failed)):
        return Verdict("DEGRADED LOAD", (thin,))
    reasons = [
        *_too_few(requests),
        *_untimed(requests),
        *disturbed,
        *_spread("TTFT", known(ttft_s(r) for r in requests), pooled),
        *_spread("TPOT", known(tpot_s(r) for r in requests), pooled),
        *([] if pooled else _halves("TTFT", known(ttft_s(r) for r in requests))),
        *([] if pooled else _halves("TPOT", known(tpot_s(r) for r in requests))),
        *_cache(requests),
        *_lengths(requests),
        *_loading(requests),
        *_closure(requests),
        *_cpu_share(cpu_shares),
        *([f"{failed} more requests failed: see `harness show --errors`"] if failed else []),
    ]
    # What took the engine's CPU took the client's too: then its lateness is no fault of the client.
    if not disturbed and (late := _client_bound(requests)):
        return Verdict("CLIENT-BOUND", (late, *reasons))
    return Verdict("NOISY" if reasons else "VALID", tuple(reasons))


def _client_bound(requests: Sequence[Request]) -> str | None:
    late, tpot = percentile(lateness_s(requests), 0.99), known(tpot_s(r) for r in requests)
    if late is None or not tpot or late <= LATENESS_LIMIT * median(tpot):
        return None
    return f"the client took {late * 1e3:.1f} ms (p99) to take up a chunk, over 5 % of TPOT: free the client's CPU"


def engine_confirms(requests: Sequence[Request]) -> bool:
    """Whether the engine's own clock says what the wire's does, however late the client took the chunks up.

    The medians of TPOT / (decode / tokens after the first) and of TTFT / prefill are within 2 % of 1, or TTFT is within
    2 ms: it holds what the engine does beside prefill. False where a request lacks any of them.
    """
    told = [_beside_engine(request) for request in requests]
    pairs = [pair for pair in told if pair is not None]
    if not pairs or len(pairs) < len(told):
        return False
    tpot = median(tpot / own for _, _, tpot, own in pairs)
    ttft = median(ttft / own for ttft, own, _, _ in pairs)
    beside_s = median(ttft - own for ttft, own, _, _ in pairs)
    return abs(tpot - 1) <= CLOSURE_LIMIT and (abs(ttft - 1) <= CLOSURE_LIMIT or abs(beside_s) <= BESIDE_PREFILL_S)


def _beside_engine(request: Request) -> tuple[float, float, float, float] | None:
    """TTFT and TPOT, each followed by the engine's own; None where one is not known."""
    ttft, tpot, total = ttft_s(request), tpot_s(request), streamed_tokens(request)
    prefill, decode = request.timings.prefill_s, request.timings.decode_s
    if ttft is None or tpot is None or total is None or total < 2 or not prefill or not decode:
        return None
    return ttft, prefill, tpot, decode / (total - 1)


def _sent_late(requests: Sequence[Request], load: LoadFigures) -> str | None:
    first, delay_s = known(ttft_s(r) for r in requests), load.send_delay_p99_s
    if load.requested_per_s is None or delay_s is None or not first:
        return None
    if delay_s <= max(SEND_DELAY_FLOOR_S, LATENESS_LIMIT * median(first)):
        return None
    return f"the client sent requests up to {delay_s * 1e3:.0f} ms (p99) after they were due: lower --rate"


def _degraded(load: LoadFigures, count: int, failed: int) -> str | None:
    asked, got = load.requested_per_s, load.delivered_per_s
    if asked is None or got is None or got >= DELIVERED_LIMIT * asked:
        return None
    # A short load ends up to one request off its rate by chance: the first is due at once or up to a gap later.
    if not failed and count * (asked / got - 1) < _SHORT_REQUESTS:
        return None
    lost = f", {failed} requests failed" if failed else ""
    return f"{asked:.2f} requests/s were asked, {got:.2f} delivered{lost}: the figures are not of the load asked"


def _lengths(requests: Sequence[Request]) -> list[str]:
    """Prompts that are not as long as meant, and answers whose tokens nobody counted."""
    cell = requests[0].cell
    told = [r.usage.prompt_tokens for r in requests if r.usage.prompt_tokens is not None]
    found: list[str] = []
    if told and abs(median(told) - cell.prompt_tokens - cell.depth_tokens) > PROMPT_LIMIT * cell.prompt_tokens + 1:
        found.append(f"the server counts {median(told):.0f} prompt tokens where {cell.prompt_tokens} were meant")
    uncounted = sum(1 for r in requests if r.usage.output_tokens is None)
    if uncounted:
        found.append(f"the server gave no token counts for {uncounted} of {len(requests)} requests: no TPOT for them")
    return found


def _loading(requests: Sequence[Request]) -> list[str]:
    """Requests before which the server loaded the model again: their TTFT is not prefill."""
    slow = [r.timings.load_s for r in requests if (r.timings.load_s or 0.0) > LOAD_LIMIT_S]
    if not slow:
        return []
    return [
        f"the server loaded the model again ({max(known(slow)):.1f} s) before {len(slow)} of {len(requests)} requests: "
        "something else uses it with other settings, or its memory is short"
    ]


def _too_few(requests: Sequence[Request]) -> list[str]:
    return ["one repeat only, spread unknown: give a larger --budget"] if len(requests) < 2 else []


def _untimed(requests: Sequence[Request]) -> list[str]:
    """Answers between whose tokens nothing was timed; one of six or more does not count, as a disturbance does not."""
    whole = sum(1 for r in requests if came_at_once(r))
    early = sum(1 for r in requests if r.chunks and ttft_s(r) is None)
    found: list[str] = []
    if is_disturbed(whole, len(requests)):
        found.append(
            f"{whole} of {len(requests)} answers arrived at one instant, so that their TTFT is of the whole answer and "
            "their TPOT unknown: take away what buffers the stream (a proxy), or ask for more --output-tokens"
        )
    if is_disturbed(early, len(requests)):
        found.append(
            f"{early} of {len(requests)} answers arrived no later than their requests were sent: the clock of arrivals "
            "stepped; measure again"
        )
    return found


# Expected range of n normal values in standard deviations (the d2 of control charts).
_RANGE_SDS = {2: 1.128, 3: 1.693, 4: 2.059, 5: 2.326}
_IQR_SDS = 1.349


def _spread(name: str, values: Sequence[float], pooled: bool) -> list[str]:
    """The standard error of the median against 6 %; spread from the range under 6 values, else the quartiles.

    Values alike to their neighbours count for fewer; pooled ones are in no order.
    """
    if len(values) < 2:
        return []
    sd = _relative_sd(values)
    error = MEDIAN_ERROR * sd / math.sqrt(len(values) if pooled else effective_count(values))
    if error <= ERROR_LIMIT:
        return []
    return [
        f"{name} varies by {sd:.0%} (standard deviation), its median is known to {error:.0%} only: "
        "give a larger --budget, or measure again when the machine is quiet"
    ]


def median_error(values: Sequence[float]) -> float | None:
    """Standard error of the median of values in no order, relative to it; None of fewer than two."""
    return None if len(values) < 2 else MEDIAN_ERROR * _relative_sd(values) / math.sqrt(len(values))


def _relative_sd(values: Sequence[float]) -> float:
    """Of values whose median is 0 (no time at all: the physics gate's matter) there is none, so it is 0."""
    middle = median(values)
    if middle == 0:
        return 0.0
    if len(values) in _RANGE_SDS:
        return (max(values) - min(values)) / middle / _RANGE_SDS[len(values)]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / middle / _IQR_SDS


def _halves(name: str, values: Sequence[float]) -> list[str]:
    """A second half that differs from the first by over 5 % and more than by chance."""
    shift = half_shift(values)
    if shift is None:
        return []
    return [
        f"{name} was {abs(shift):.0%} {'longer' if shift > 0 else 'shorter'} in the second half than in the first: the "
        "machine changed meanwhile; measure again when it is quiet and cool"
    ]


_DISTURBED: dict[Kind, str] = {
    "other processes": "other processes took up to {0:.1f} cores: close them",
    "steal": "the hypervisor gave up to {0:.0%} of the CPUs to other guests: choose a machine of your own",
    "memory pressure": "tasks waited for memory up to {0:.0%} of the time: close what uses it or take a smaller model",
    "swap": "up to {1:.0f} MiB were swapped: close what uses memory or take a smaller model",
    "page cache": "the server read up to {0:.0f} pages back from the disk, since the model file had been dropped from "
    "memory: free memory",
    "CPU clock": "the CPU's clock fell to {0:.0%} of its usual: let it cool, set the governor to performance",
    "CPU heat": "the CPU was slowed down for its heat (up to {0:.0f} times in the seconds of one): let it cool",
    "GPU throttling": "clocks were held back ({2}): cool the GPU, check its power supply",
}


def _disturbed(found: Disturbed) -> list[str]:
    """What happened on the machine, where something did during a tenth or more of the cell's requests."""
    if not is_disturbed(found.requests, found.watched):
        return []
    told = [_DISTURBED[kind.kind].format(kind.worst, kind.worst / 2**20, kind.words) for kind in found.kinds]
    what = told[0]
    if len(told) > 1:
        counted = (f"{kind.requests} times {words}" for kind, words in zip(found.kinds, told, strict=True))
        what = "the machine was disturbed: " + "; ".join(counted)
    return [f"during {found.requests} of {found.watched} requests {what}, or measure again"]


def _cache(requests: Sequence[Request]) -> list[str]:
    wrong = [r for r in requests if not cached_as_meant(r)]
    if not wrong:
        return []
    got, wanted = wrong[0].usage.cached_tokens, wrong[0].cell.depth_tokens
    return [f"{len(wrong)} requests found {got} tokens in the cache where {wanted} were meant"]


def _closure(requests: Sequence[Request]) -> list[str]:
    open_s, total_s = known(closure_s(r) for r in requests), known(e2e_s(r) for r in requests)
    if not open_s or requests[0].cell.is_load:
        return []
    gap = median(open_s)
    if abs(gap) <= max(CLOSURE_LIMIT * median(total_s), CLOSURE_FLOOR_S):
        return []
    return [f"client and engine disagree by {gap * 1e3:.0f} ms on how long a request took"]


def _cpu_share(shares: Sequence[float]) -> list[str]:
    """Less CPU than the engine's busy threads would take means that others took it."""
    if not shares or median(shares) >= CPU_SHARE_LIMIT:
        return []
    return [f"the engine got {median(shares):.0%} of the CPU that its threads wanted: close what else runs"]
