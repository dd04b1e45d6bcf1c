"""What the harness measures against what was planted: TTFT, TPOT and ITL at several concurrencies.

`python -m tests.benchmarks.truth [BACKENDS] [CHUNK_TOKENS] [STREAMS]`, lists with commas. The simulated
server answers after 100 ms, then makes a token each 20 ms, of which one in a hundred takes 40 ms. Every planted
value is the law's, for the very gaps that the measured requests were dealt.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from harness.metrics import itl_s, known, lateness_s, percentile, tpot_s, ttft_s
from harness.record import Request
from harness.simulated.law import Law
from harness.simulated.timeline import Work, timeline
from tests.benchmarks.against import LOG_EVERY_S, Truth, harness_run, middle, planted, print_table, say

LAW = Law(prefill_fixed_s=0.100, decode_s_per_token=0.020, stall_share=0.01, stall_factor=2.0)
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 64
# Requests by streams kept busy.
REQUESTS = {1: 12, 8: 64, 32: 256}
NAMES = (
    "client", "tokens/chunk", "streams", "n", "TTFT planted ms", "error p50", "error p99", "server p50",
    "TPOT planted ms", "error %", "mean error %", "ITL p50 planted ms", "measured", "ITL p99 planted ms", "measured",
    "stalls planted", "seen", "late p50 ms", "late p99 ms", "CPU/chunk µs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planted:
    """What the law dealt the requests of a cell, in seconds: one TTFT and TPOT a request, one ITL a gap of chunks."""

    ttft_s: list[float]
    tpot_s: list[float]
    itl_s: list[float]


def dealt(law: Law, before: int, count: int) -> Planted:
    """The law's words for `count` requests that follow `before` others of the same output length."""
    found = Planted([], [], [])
    for number in range(before, before + count):
        plan = timeline(law, Work(0, PROMPT_TOKENS, OUTPUT_TOKENS), number * (OUTPUT_TOKENS - 1))
        ends = plan.chunk_ends(law.chunk_tokens)
        at_s = [plan.token_at_s[end - 1] for end in ends]
        found.ttft_s.append(at_s[0])
        found.tpot_s.append((at_s[-1] - at_s[0]) / (OUTPUT_TOKENS - ends[0]))
        found.itl_s.extend(later - earlier for earlier, later in pairwise(at_s))
    return found


def measured(truth: Truth, backend: str, streams: int, results: Path) -> list[str]:
    """One row of the table."""
    count = REQUESTS.get(streams, 8 * streams)
    lengths = ["--prompt-tokens", str(PROMPT_TOKENS), "--output-tokens", str(OUTPUT_TOKENS)]
    record = harness_run(truth, backend, results, *lengths, "--concurrency", str(streams), "--repeats", str(count),
                         "--model", f"{backend}=simulated")  # fmt: skip
    time.sleep(1.5 * LOG_EVERY_S)
    good = [request for request in record.requests if request.phase == "counted" and request.error is None]
    entries = truth.entries()
    return _row(truth.law, good, dealt(truth.law, len(entries) - count, count), entries[-count:], (backend, streams))


def _row(
    law: Law, good: Sequence[Request], plan: Planted, entries: Sequence[dict[str, float]], name: tuple[str, int]
) -> list[str]:
    """Errors are measured minus planted; the server's own is its log's instant of the first chunk minus planted."""
    first = middle(plan.ttft_s)
    off = [value - first for value in known(ttft_s(request) for request in good)]
    own = [entry["first_token_s"] - entry["received_s"] - first for entry in entries]
    per_token = middle(known(tpot_s(request) for request in good))
    mean = fmean(known(tpot_s(request) for request in good)) / fmean(plan.tpot_s) - 1
    gaps, late = itl_s(good), lateness_s(good)
    spent = [request.cpu_s for request in good if request.cpu_s is not None]
    cpu_s = max(end for _, end in spent) - min(begin for begin, _ in spent)
    values = (
        first, middle(off), percentile(off, 0.99) or max(off), middle(own), middle(plan.tpot_s),
        per_token / middle(plan.tpot_s) - 1, mean, percentile(plan.itl_s, 0.5), percentile(gaps, 0.5),
        percentile(plan.itl_s, 0.99), percentile(gaps, 0.99), percentile(late, 0.5), percentile(late, 0.99),
    )  # fmt: skip
    texts = [_text(value, 100.0 if at in {5, 6} else 1e3) for at, value in enumerate(values)]
    chunks = sum(len(request.chunks) for request in good)
    stalls = [str(sum(1 for gap in some if gap > _stalled_s(law))) for some in (plan.itl_s, gaps)]
    texts[-2:-2] = stalls
    return [name[0], str(law.chunk_tokens), str(name[1]), str(len(good)), *texts, f"{cpu_s / chunks * 1e6:.0f}"]


def _stalled_s(law: Law) -> float:
    """A gap of chunks above it holds a stalled token: half a token's time more than it would take."""
    return (law.chunk_tokens + 0.5) * law.decode_s_per_token


def _text(value: float | None, scale: float) -> str:
    return "-" if value is None else f"{value * scale:.2f}"


def main() -> None:
    """Prints a row for each client, chunk length and concurrency."""
    given = [*sys.argv[1:], "", "", ""]
    backends = (given[0] or "openai,http").split(",")
    chunks = [int(part) for part in (given[1] or "1,4").split(",")]
    streams = [int(part) for part in (given[2] or "1,8,32").split(",")]
    rows = []
    for chunk_tokens in chunks:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            with planted(replace(LAW, chunk_tokens=chunk_tokens), max(streams), folder) as truth:
                rows += [
                    measured(truth, backend, count, folder / f"{backend}-{count}")
                    for count in streams
                    for backend in backends
                ]
    say(f"{PROMPT_TOKENS} prompt and {OUTPUT_TOKENS} output tokens; law {LAW.to_json()}")
    print_table(NAMES, rows)


if __name__ == "__main__":
    main()
