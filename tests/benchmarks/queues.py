"""Open loads against a simulated server's own queue: delivered rate, latency from schedule, saturation.

`python -m tests.benchmarks.queues [BACKEND] [SHARES] [REQUESTS]`: shares of the capacity, with commas. The server has
8 slots and takes 0.4 s for a request, so it can do 20 a second; Poisson arrivals.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from harness.metrics import percentile
from harness.simulated.law import Law
from harness.summary import Row, rows
from tests.benchmarks.against import LOG_EVERY_S, Truth, harness_run, planted, print_table

LAW = Law(prefill_fixed_s=0.100, decode_s_per_token=0.020)
SLOTS, PROMPT_TOKENS, OUTPUT_TOKENS = 8, 64, 16
SERVICE_S = LAW.prefill_fixed_s + (OUTPUT_TOKENS - 1) * LAW.decode_s_per_token
CAPACITY_PER_S = SLOTS / SERVICE_S
NAMES = (
    "of capacity", "requests/s", "sent", "delivered/s", "off", "TTFT p50 queue ms", "ours", "TTFT p99 queue ms", "ours",
    "E2E p99 queue ms", "ours", "stopped after s", "verdict",
)  # fmt: skip


def measured(truth: Truth, backend: str, share: float, count: int, results: Path) -> list[str]:
    """A row; the queue's figures are from its log: from the instant a request had come in."""
    lengths = ["--prompt-tokens", str(PROMPT_TOKENS), "--output-tokens", str(OUTPUT_TOKENS)]
    before = len(truth.entries()) if truth.log.exists() else 0
    load = ["--rate", f"{share * CAPACITY_PER_S:g}", "--repeats", str(count), "--model", f"{backend}=simulated"]
    record = harness_run(truth, backend, results, *lengths, *load)
    time.sleep(1.5 * LOG_EVERY_S)
    (row,) = rows(record)
    sent = [request for request in record.requests if request.phase == "counted"]
    entries = truth.entries()[before:][-len(sent) :]
    waited = [entry["first_token_s"] - entry["received_s"] for entry in entries if entry["first_token_s"] is not None]
    whole = [entry["ended_s"] - entry["received_s"] for entry in entries if entry["end"] == "complete"]
    span_s = (max(r.ended_ns for r in sent) - min(r.scheduled_ns for r in sent)) * 1e-9
    return _texts(row, share, len(sent), (waited, whole), span_s)


def _texts(row: Row, share: float, sent: int, queue: tuple[list[float], list[float]], span_s: float) -> list[str]:
    load, (waited, whole) = row.load, queue
    assert load is not None
    assert load.requested_per_s is not None
    delivered = load.delivered_per_s or 0.0
    pairs = (
        (percentile(waited, 0.5), load.ttft_p50_s), (percentile(waited, 0.99), load.ttft_p99_s),
        (percentile(whole, 0.99), load.e2e_p99_s),
    )  # fmt: skip
    return [
        f"{share:.0%}", f"{load.requested_per_s:g}", str(sent), f"{delivered:.2f}",
        f"{delivered / load.requested_per_s - 1:+.1%}", *(_ms(value) for pair in pairs for value in pair),
        f"{span_s:.1f}", row.verdict.word,
    ]  # fmt: skip


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"


def main() -> None:
    """Prints a row for each share."""
    given = [*sys.argv[1:], "", "", ""]
    backend, count = given[0] or "http", int(given[2] or 900)
    found = []
    with tempfile.TemporaryDirectory() as scratch, planted(LAW, SLOTS, Path(scratch)) as truth:
        for share in map(float, (given[1] or "0.6,0.95,1.5").split(",")):
            found.append(measured(truth, backend, share, count, Path(scratch) / f"{share}"))
            time.sleep(1.0)
    print_table(NAMES, found)


if __name__ == "__main__":
    main()
