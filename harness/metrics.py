"""Metrics: pure functions from the record to numbers. The definitions are in README.md, "What the words mean"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from harness.record import Request, Sample
from harness.stability import effective_count

NS = 1e-9


def ttft_s(request: Request) -> float | None:
    """First wire instant that carries a generated token, minus sent; above 0. None where no token came after it."""
    return _timed_s(request.sent_ns, request.chunks[0].wire_ns) if request.chunks else None


def e2e_s(request: Request) -> float | None:
    """Last token's wire instant, minus sent; above 0. None where no token came after it."""
    return _timed_s(request.sent_ns, request.chunks[-1].wire_ns) if request.chunks else None


def tpot_s(request: Request) -> float | None:
    """(last token - first chunk) / (output tokens - tokens in the first chunk), in seconds per token; above 0.

    Tokens are the server's count, never the number of chunks; None where the server gave no count, and where
    everything came in one chunk or at one instant (`came_at_once`).
    """
    first, total = first_tokens(request), streamed_tokens(request)
    if first is None or total is None or total <= first:
        return None
    span_s = _timed_s(request.chunks[0].wire_ns, request.chunks[-1].wire_ns)
    return None if span_s is None else span_s / (total - first)


def _timed_s(begin_ns: int, end_ns: int) -> float | None:
    """Seconds between two instants; None where the later one is not later: nothing was timed."""
    return (end_ns - begin_ns) * NS if end_ns > begin_ns else None


def came_at_once(request: Request) -> bool:
    """Whether an answer of several tokens came off the socket at one instant: something held it back until its end."""
    chunks = request.chunks
    several = len(chunks) > 1 or (streamed_tokens(request) or 0) > 1
    return several and bool(chunks) and chunks[0].wire_ns == chunks[-1].wire_ns


def streamed_tokens(request: Request) -> int | None:
    """Output tokens as the server counts them, without those that it kept to itself. None where it gave no count."""
    usage = request.usage
    return None if usage.output_tokens is None else usage.output_tokens - (usage.hidden_tokens or 0)


def first_tokens(request: Request) -> float | None:
    """Tokens in the first chunk: what the server says, one where there are as many chunks as tokens.

    Else its share of the characters (OpenAI's and Ollama's protocols do not count the tokens of a
    chunk), or of the chunks where no text was seen. None without chunks or a count.
    """
    chunks, total = request.chunks, streamed_tokens(request)
    if not chunks or chunks[0].tokens is not None:
        return chunks[0].tokens if chunks else None
    if total is None:
        return None
    if len(chunks) == total:
        return 1.0
    lengths = [chunk.characters for chunk in chunks]
    if lengths[0] is None or not (whole := sum(length or 0 for length in lengths)):
        return total / len(chunks)
    return total * lengths[0] / whole


def itl_s(requests: Iterable[Request]) -> list[float]:
    """The real gaps between arrivals, pooled over requests, in seconds."""
    return [
        (later.wire_ns - earlier.wire_ns) * NS
        for request in requests
        for earlier, later in zip(request.chunks, request.chunks[1:], strict=False)
    ]


def lateness_s(requests: Iterable[Request]) -> list[float]:
    """Delivered minus wire of every chunk: what the client costs, in seconds."""
    return [
        (chunk.delivered_ns - chunk.wire_ns) * NS
        for request in requests
        for chunk in request.chunks
        if chunk.delivered_ns is not None
    ]


def closure_s(request: Request) -> float | None:
    """E2E minus the server's own load, prefill and decode: transport, queueing. None where the server keeps no time."""
    total, timings = e2e_s(request), request.timings
    if total is None or timings.prefill_s is None or timings.decode_s is None:
        return None
    return total - (timings.load_s or 0.0) - timings.prefill_s - timings.decode_s


def ttft_from_schedule_s(request: Request) -> float | None:
    """First token's wire instant, minus the instant the request was due: queueing in the client included."""
    return (request.chunks[0].wire_ns - request.scheduled_ns) * NS if request.chunks else None


def e2e_from_schedule_s(request: Request) -> float | None:
    """Last token's wire instant, minus the instant the request was due (MLPerf LoadGen). None where no token came."""
    return (request.chunks[-1].wire_ns - request.scheduled_ns) * NS if request.chunks else None


# Engines with a sliding window lose a token of a cached context now and then; a chat template's first are always found.
_CACHE_TOLERANCE_TOKENS = 8


def cached_as_meant(request: Request) -> bool:
    """Whether the server found as many tokens in its cache as the cell means (give or take 8), or did not say."""
    found = request.usage.cached_tokens
    return found is None or abs(request.cell.depth_tokens - found) <= _CACHE_TOLERANCE_TOKENS


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `1 - share` of the values reach or exceed: of 200, the second largest is p99.

    A stall in exactly 1 % of gaps shows in their p99. None where fewer than 1/(1 - share) values stand behind it.
    """
    if not values or len(values) * (1 - share) < 1 - 1e-9:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.floor(share * len(ranked) + 1e-9))]


_EXACT_RANKS = 200
_Z95 = 1.96


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % confidence interval of the median from order statistics; None under 6 independent values.

    The narrowest symmetric pair of ranks whose binomial coverage is at least 95 % (Conover, Practical
    Nonparametric Statistics, 3.2). Values are in the order in which they were measured: where neighbours are alike
    they count for fewer (`stability.effective_count`), and the ranks are as far from the middle as those of so few.
    """
    n = len(values)
    independent = math.floor(effective_count(values) + 1e-9)
    if independent < 6:
        return None
    ranked = sorted(values)
    rank = math.floor(_low_rank(independent) * n / independent)
    return ranked[rank], ranked[n - 1 - rank]


def _low_rank(n: int) -> int:
    """The lower rank, from 0, of the interval of n independent values."""
    if n > _EXACT_RANKS:
        # The binomial is normal by now; summing it would take longer than measuring.
        return math.floor((n - 1) / 2 - _Z95 * math.sqrt(n) / 2)
    rank, outside = 0, 2 * 0.5**n
    while outside + 2 * math.comb(n, rank + 1) * 0.5**n <= 0.05:
        rank += 1
        outside += 2 * math.comb(n, rank) * 0.5**n
    return rank


def is_settled(values: Sequence[float], target: float) -> bool:
    """Whether the 95 % interval of the median lies within `target` (relative) of the median."""
    interval = median_interval(values)
    if interval is None:
        return False
    middle = median(values)
    return max(interval[1] - middle, middle - interval[0]) <= target * middle


def computes_on_cpu(system_info: str) -> bool:
    """Whether an engine with this system-info line computes on the CPU alone; False where it says nothing."""
    return bool(system_info) and not any(device in system_info for device in ("CUDA", "MTL", "Metal", "ROCm", "Vulkan"))


def cpu_share(inside: Sequence[Sample], threads: int) -> float | None:
    """CPU time of the engine between samples over what its busy threads would take; None under 5 samples."""
    if len(inside) < 5:
        return None
    wall_s = (inside[-1].at_ns - inside[0].at_ns) * NS
    return (inside[-1].cpu_s - inside[0].cpu_s) / (wall_s * threads)


@dataclass(frozen=True, slots=True)
class Peak:
    """Highest values over a subject's samples, in bytes; each component's own peak. None: not told."""

    resident_bytes: int
    file_bytes: int | None
    anonymous_bytes: int | None
    unevictable_bytes: int | None = None
    swap_bytes: int | None = None


def peak(samples: Iterable[Sample]) -> Peak | None:
    """Peak memory of the sampled process tree, None without samples. Of one process of this run the kernel's own mark
    counts, of others the highest sample."""
    listed = list(samples)
    if not listed:
        return None
    return Peak(
        max(max(s.resident_bytes, s.peak_bytes or 0) for s in listed),
        _highest(s.file_bytes for s in listed),
        _highest(s.anonymous_bytes for s in listed),
        _highest(s.unevictable_bytes for s in listed),
        _highest(s.swap_bytes for s in listed),
    )


def gpu_peak_bytes(samples: Iterable[Sample]) -> int | None:
    """The most memory that the sampled processes held on all GPUs at once. None where no GPU tells, or none is used."""
    sums = [
        sum(state.process_bytes for state in sample.gpu_states if state.process_bytes is not None)
        for sample in samples
        if any(state.process_bytes for state in sample.gpu_states)
    ]
    return max(sums, default=None)


def _highest(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def known(values: Iterable[float | None]) -> list[float]:
    """The values that are not None."""
    return [value for value in values if value is not None]
