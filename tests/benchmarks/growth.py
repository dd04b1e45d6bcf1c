"""Whether 20,000 requests on 256 streams leave the harness as it was: memory, time a request, `harness show`.

`python -m tests.benchmarks.growth [BACKEND] [REQUESTS] [STREAMS]`. The simulated server answers with 4 tokens.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.journal import JOURNAL, read_record
from harness.metrics import percentile
from harness.record import Request
from harness.simulated.law import Law
from tests.benchmarks.against import Truth, planted, print_table, say

LAW = Law(prefill_fixed_s=0.050, decode_s_per_token=0.010)
PROMPT_TOKENS, OUTPUT_TOKENS = 16, 4
EVERY_S = 0.2
PARTS = 5


@dataclass(frozen=True, slots=True)
class Look:
    """The harness at one instant: requests on disk, resident bytes, CPU seconds so far."""

    requests: int
    resident_bytes: int
    cpu_s: float


def watched(command: list[str], results: Path) -> list[Look]:
    """Looks at the process five times a second until it ends.

    Before its first request the harness reads 256 MB of memory to tell the machine's bandwidth: looks from then on.
    """
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    looks, written, place = list[Look](), 0, 0
    while process.poll() is None:
        time.sleep(EVERY_S)
        for path in results.glob(f"*/{JOURNAL}"):
            with path.open("rb") as file:
                file.seek(place)
                data = file.read()
            place += len(data)
            written += data.count(b"\n")
        try:
            cpu = process.cpu_times()
            looks.append(Look(written, process.memory_info().rss, cpu.user + cpu.system))
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            break
    _, words = process.communicate()
    if process.returncode:
        raise SystemExit(words)
    return [look for look in looks if look.requests > 3]


def part_row(number: int, part: list[Request], looks: list[Look], done: int) -> list[str]:
    """One part of the run, by the instants at which its requests ended."""
    ends = sorted(request.ended_ns for request in part)
    spent = [request.cpu_s for request in part if request.cpu_s is not None]
    cpu_s = max(end for _, end in spent) - min(end for _, end in spent)
    late = sorted((request.chunks[0].wire_ns - request.sent_ns) * 1e-9 for request in part if request.chunks)
    resident = [look.resident_bytes for look in looks if done - len(part) < look.requests <= done]
    return [
        f"{number + 1}/{PARTS}", str(len(part)), f"{(ends[-1] - ends[0]) * 1e-6 / len(part):.3f}",
        f"{cpu_s / len(part) * 1e3:.3f}", f"{(percentile(late, 0.5) or 0) * 1e3:.1f}",
        f"{max(resident) / 1e6:.0f}" if resident else "-", str(sum(1 for request in part if request.error)),
    ]  # fmt: skip


def measured(truth: Truth, backend: str, count: int, streams: int, results: Path) -> None:
    """Runs, shows, prints."""
    command = [
        sys.executable, "-m", "harness", "run", "--backend", backend, "--base-url", f"{backend}={truth.url}/v1",
        "--model", f"{backend}=simulated", "--results", str(results), "--prompt-tokens", str(PROMPT_TOKENS),
        "--output-tokens", str(OUTPUT_TOKENS), "--concurrency", str(streams), "--repeats", str(count),
    ]  # fmt: skip
    looks = watched(command, results)
    folder = next(path.parent for path in results.glob(f"*/{JOURNAL}"))
    begun_s = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", "show", str(folder)], check=True, stdout=subprocess.DEVNULL)
    show_s = time.perf_counter() - begun_s
    requests = [request for request in read_record(folder).requests if request.phase == "counted"]
    requests.sort(key=lambda request: request.ended_ns)
    size = len(requests) // PARTS
    parts = [requests[at * size : (at + 1) * size] for at in range(PARTS)]
    size_mb = (folder / JOURNAL).stat().st_size / 1e6
    say(f"{backend}, {len(requests)} requests on {streams} streams, journal {size_mb:.1f} MB")
    print_table(
        ("part", "requests", "ms/request", "CPU ms/request", "TTFT p50 ms", "resident MB", "failed"),
        [part_row(number, part, looks, (number + 1) * size) for number, part in enumerate(parts)],
    )
    first = max(1000, count // 20)
    early, sending, all_of_it = (
        max(look.resident_bytes for look in looks if low <= look.requests < high) / 1e6
        for low, high in ((0, first), (first, count), (0, sys.maxsize))
    )
    say(
        f"resident during the first {first}: {early:.0f} MB; after them {sending:.0f} MB; with the summary at the end "
        f"{all_of_it:.0f} MB; harness show {show_s:.1f} s"
    )


def main() -> None:
    """Prints one table."""
    given = [*sys.argv[1:], "", "", ""]
    streams = int(given[2] or 256)
    with tempfile.TemporaryDirectory() as scratch, planted(LAW, streams, Path(scratch)) as truth:
        measured(truth, given[0] or "http", int(given[1] or 20_000), streams, Path(scratch) / "results")


if __name__ == "__main__":
    main()
