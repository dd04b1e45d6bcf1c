"""What a server did under load: rates, latency from schedule, goodput. Pure: from the record alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.metrics import (
    NS,
    e2e_from_schedule_s,
    known,
    percentile,
    streamed_tokens,
    tpot_s,
    ttft_from_schedule_s,
)
from harness.record import Cell, Request
from harness.saturation import Backlog

# The error of requests that were still under way when an open load was stopped.
GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that a request must keep to count as good (None: no such limit), in seconds."""

    ttft_s: float | None = None
    tpot_s: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return self.ttft_s is not None or self.tpot_s is not None

    def met(self, request: Request) -> bool:
        """Whether the request kept the limits; TTFT counts from the instant it was due."""
        first, gap = ttft_from_schedule_s(request), tpot_s(request)
        late = self.ttft_s is not None and (first is None or first > self.ttft_s)
        slow = self.tpot_s is not None and (gap is None or gap > self.tpot_s)
        return request.error is None and not late and not slow


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """A loaded cell. Rates are per second; percentiles are None where too few requests stand behind them.

    `delivered_per_s` counts requests that ended well, over the time from the first such end to the
    last; `output_tokens_per_s` is over the steady window (all streams busy); the times are from the
    instant a request was due.
    """

    requested_per_s: float | None
    delivered_per_s: float | None
    output_tokens_per_s: float | None
    goodput_per_s: float | None
    ttft_p50_s: float | None
    ttft_p90_s: float | None
    ttft_p99_s: float | None
    e2e_p50_s: float | None
    e2e_p99_s: float | None
    send_delay_p99_s: float | None
    saturated: str | None


def load_figures(cell: Cell, requests: Sequence[Request], slo: Slo) -> LoadFigures | None:
    """The figures of a loaded cell's counted requests, failed ones included; None for a cell of one stream."""
    if not cell.is_load:
        return None
    good = [request for request in requests if request.error is None]
    parts = stretches(requests)
    first = known(ttft_from_schedule_s(r) for r in good)
    whole = known(e2e_from_schedule_s(r) for r in good)
    return LoadFigures(
        requested_per_s=cell.rate_per_s,
        delivered_per_s=_mean(known(_ends_per_s(cell, part) for part in parts)),
        output_tokens_per_s=_mean(known(_tokens_per_s(part, cell.concurrency) for part in parts)),
        goodput_per_s=_mean(known(_good_per_s(cell, part, slo) for part in parts)) if slo.is_set else None,
        ttft_p50_s=percentile(first, 0.5),
        ttft_p90_s=percentile(first, 0.9),
        ttft_p99_s=percentile(first, 0.99),
        e2e_p50_s=percentile(whole, 0.5),
        e2e_p99_s=percentile(whole, 0.99),
        send_delay_p99_s=percentile([(r.sent_ns - r.scheduled_ns) * NS for r in good], 0.99),
        saturated=_saturated(parts) if cell.rate_per_s is not None else None,
    )


def stretches(requests: Iterable[Request]) -> list[list[Request]]:
    """The visits, each a load of its own: between them the server was idle or did something else."""
    found: dict[tuple[str, int], list[Request]] = {}
    for request in requests:
        found.setdefault((request.subject_id, request.repeat), []).append(request)
    return list(found.values())


def _ends_per_s(cell: Cell, part: Sequence[Request]) -> float | None:
    """Requests that ended well, a second: of a closed load over the steady window, of an open one end to end.

    In an open load (n - 1) / (last end - first end), which the length of a request does not bias.
    """
    good = [request for request in part if request.error is None]
    if cell.rate_per_s is None:
        window = _steady_ns(good, cell.concurrency)
        return None if window is None else sum(1 for r in good if r.ended_ns <= window[1]) / _span_s(window)
    ends = sorted(request.ended_ns for request in good)
    if len(ends) < 3 or ends[-1] == ends[0]:
        return None
    return (len(ends) - 1) / ((ends[-1] - ends[0]) * NS)


def _good_per_s(cell: Cell, part: Sequence[Request], slo: Slo) -> float | None:
    """Requests that met the limits, a second: over the steady window, or the time in which an open load was due."""
    if cell.rate_per_s is not None:
        return cell.rate_per_s * sum(1 for r in part if slo.met(r)) / len(part)
    window = _steady_ns([r for r in part if r.error is None], cell.concurrency)
    if window is None:
        return None
    return sum(1 for r in part if slo.met(r) and r.ended_ns <= window[1]) / _span_s(window)


def _steady_ns(good: Sequence[Request], streams: int) -> tuple[int, int] | None:
    """From when all streams are busy until the first has nothing left to do; None with too few requests for it."""
    if len(good) <= streams:
        return None
    start_ns = sorted(request.sent_ns for request in good)[streams - 1]
    end_ns = sorted(request.ended_ns for request in good)[-streams]
    return (start_ns, end_ns) if end_ns > start_ns else None


def _span_s(window_ns: tuple[int, int]) -> float:
    return (window_ns[1] - window_ns[0]) * NS


def _tokens_per_s(part: Sequence[Request], streams: int) -> float | None:
    """Output tokens over the steady window; those of a request are spread over its chunks evenly."""
    good = [request for request in part if request.error is None and request.chunks]
    window = _steady_ns(good, streams)
    if window is None:
        return None
    tokens = 0.0
    for request in good:
        total = streamed_tokens(request)
        if total is None:
            return None
        inside = sum(1 for chunk in request.chunks if window[0] < chunk.wire_ns <= window[1])
        tokens += total * inside / len(request.chunks)
    return tokens / _span_s(window)


def _saturated(parts: Iterable[Sequence[Request]]) -> str | None:
    """Why a stretch was beyond what the server can do; None where none was."""
    for part in parts:
        backlog, start_ns = Backlog(), min(request.scheduled_ns for request in part)
        events = sorted([(r.scheduled_ns, 0) for r in part] + [(r.ended_ns, 1) for r in part])
        for at_ns, ended in events:
            if ended:
                backlog.ended((at_ns - start_ns) * NS)
                continue
            backlog.arrived((at_ns - start_ns) * NS)
            if verdict := backlog.verdict():
                return verdict
        if given_up := sum(1 for r in part if (r.error or "").startswith(GIVEN_UP)):
            return f"{given_up} requests were given up when the server fell behind: lower --rate"
    return None


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


@dataclass(frozen=True, slots=True)
class ClientFigures:
    """What the client cost in a cell: lateness (delivered - wire) in seconds, CPU seconds per chunk of the process.

    `claimed_off` counts requests in which the library's own token counts differ from the server's.
    """

    lateness_p50_s: float | None
    lateness_p99_s: float | None
    cpu_per_chunk_s: float | None
    claims: int
    claimed_off: int


def client_figures(requests: Sequence[Request]) -> ClientFigures:
    """The client's figures over the requests of one cell that ended well."""
    late = [
        (chunk.delivered_ns - chunk.wire_ns) * NS
        for request in requests
        for chunk in request.chunks
        if chunk.delivered_ns is not None
    ]
    claimed = [request for request in requests if request.claimed is not None]
    off = [
        request
        for request in claimed
        if request.claimed is not None
        and (request.claimed.prompt_tokens, request.claimed.output_tokens)
        != (request.usage.prompt_tokens, request.usage.output_tokens)
    ]
    return ClientFigures(
        percentile(late, 0.5), percentile(late, 0.99), _cpu_per_chunk(requests), len(claimed), len(off)
    )


def _cpu_per_chunk(requests: Sequence[Request]) -> float | None:
    """CPU time of this process from the first to the last request of each stretch, over the chunks that came."""
    spent, chunks = 0.0, 0
    for part in stretches(requests):
        known_cpu = [request.cpu_s for request in part if request.cpu_s is not None]
        if known_cpu:
            alone = len(part) == 1 or (part[0].cell.concurrency == 1 and part[0].cell.rate_per_s is None)
            spent += (
                sum(end - begin for begin, end in known_cpu)
                if alone
                else max(end for _, end in known_cpu) - min(begin for begin, _ in known_cpu)
            )
            chunks += sum(len(request.chunks) for request in part)
    return spent / chunks if chunks else None
