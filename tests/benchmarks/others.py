"""This harness, guidellm and aiperf in turn against one simulated server, beside what was planted.

`python -m tests.benchmarks.others GUIDELLM AIPERF [CHUNK_TOKENS] [STREAMS] [ROUNDS]`: the paths of both tools'
commands, each in an environment of its own; lists with commas. Each tool is asked for streaming chats of 64 tokens,
the same number at the same concurrency, and its own figures are read from its own result files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.metrics import itl_s, known, percentile, tpot_s, ttft_s
from tests.benchmarks import word_tokenizer
from tests.benchmarks.against import LOG_EVERY_S, Truth, harness_run, middle, planted, print_table, say
from tests.benchmarks.truth import LAW, OUTPUT_TOKENS, PROMPT_TOKENS, Planted, dealt

# Requests by streams kept busy.
REQUESTS = {1: 10, 8: 64, 32: 192}
NAMES = (
    "tokens/chunk", "streams", "round", "tool", "n", "TTFT planted", "p50 error", "p99 error", "TPOT planted",
    "TPOT or ITL p50", "error %", "per-chunk p99 planted", "measured", "other figure",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """What a tool says, in seconds: TTFT p50 and p99, time per token after the first, p99 of the gaps of chunks."""

    requests: int
    ttft_p50_s: float
    ttft_p99_s: float
    per_token_s: float
    gap_p99_s: float | None
    other: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One turn of one tool. `folder` is empty."""

    truth: Truth
    streams: int
    requests: int
    folder: Path
    tokenizer: Path


def ours(job: Job, backend: str) -> Figures:
    """This harness through the official client, or over plain HTTP."""
    lengths = ["--prompt-tokens", str(PROMPT_TOKENS), "--output-tokens", str(OUTPUT_TOKENS)]
    load = ["--concurrency", str(job.streams), "--repeats", str(job.requests), "--model", f"{backend}=simulated"]
    record = harness_run(job.truth, backend, job.folder, *lengths, *load)
    good = [request for request in record.requests if request.phase == "counted" and request.error is None]
    first = known(ttft_s(request) for request in good)
    return Figures(
        len(good), middle(first), percentile(first, 0.99) or max(first),
        middle(known(tpot_s(request) for request in good)), percentile(itl_s(good), 0.99),
    )  # fmt: skip


def guidellm(job: Job, command: str) -> Figures:
    """guidellm: its ITL is (last - first) / (tokens - 1), its TPOT (last - start) / tokens, both by request."""
    path = job.folder / "guidellm.json"
    _called([
        command, "run", "--backend", f"kind=openai_http,target={job.truth.url},model=simulated",
        "--profile", f"kind=concurrent,streams={job.streams}",
        "--constraint", f"kind=max_requests,count={job.requests}",
        "--tokenizer", f"kind=huggingface_auto,model={job.tokenizer}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={OUTPUT_TOKENS}",
        "--output", f"kind=json,path={path}", "--disable-console-interactive",
    ])  # fmt: skip
    found: Any = json.loads(path.read_text("utf-8"))["benchmarks"][0]["metrics"]
    first, gap, per_token = (
        found[name]["successful"]
        for name in ("time_to_first_token_ms", "inter_token_latency_ms", "time_per_output_token_ms")
    )
    return Figures(
        found["request_totals"]["successful"], first["median"] * 1e-3, first["percentiles"]["p99"] * 1e-3,
        gap["median"] * 1e-3, None, f"TPOT {per_token['median']:.2f}, p99 of ITL {gap['percentiles']['p99']:.2f}",
    )  # fmt: skip


def aiperf(job: Job, command: str) -> Figures:
    """aiperf: its ITL is (latency - TTFT) / (tokens - 1) by request, its inter-chunk latency every gap."""
    _called([
        command, "profile", "-m", "simulated", "--url", job.truth.url, "--endpoint-type", "chat", "--streaming",
        "--concurrency", str(job.streams), "--request-count", str(job.requests), "--tokenizer", str(job.tokenizer),
        "--isl", str(PROMPT_TOKENS), "--osl", str(OUTPUT_TOKENS), "--extra-inputs", "ignore_eos:true",
        "--artifact-dir", str(job.folder), "--ui", "none",
    ])  # fmt: skip
    found: Any = json.loads((job.folder / "profile_export_aiperf.json").read_text("utf-8"))
    first, gap, chunk = (found[name] for name in ("time_to_first_token", "inter_token_latency", "inter_chunk_latency"))
    return Figures(
        int(first["count"]), first["p50"] * 1e-3, first["p99"] * 1e-3, gap["p50"] * 1e-3, chunk["p99"] * 1e-3,
        f"p99 of ITL {gap['p99']:.2f}",
    )  # fmt: skip


def _called(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def turn(name: str, tool: Callable[[Job], Figures], job: Job, number: int) -> list[str]:
    """One row: the tool's figures beside what the law dealt its very requests (warm-ups before them left out)."""
    found = tool(job)
    plan = dealt(job.truth.law, len(_requests(job.truth)) - found.requests, found.requests)
    first, per_token = middle(plan.ttft_s), middle(plan.tpot_s)
    return [
        str(job.truth.law.chunk_tokens), str(job.streams), str(number), name, str(found.requests), _ms(first),
        _ms(found.ttft_p50_s - first), _ms(found.ttft_p99_s - _p99(plan)), _ms(per_token), _ms(found.per_token_s),
        f"{(found.per_token_s / per_token - 1) * 100:+.2f}", _ms(percentile(plan.itl_s, 0.99)),
        _ms(found.gap_p99_s), found.other,
    ]  # fmt: skip


def _p99(plan: Planted) -> float:
    return percentile(plan.ttft_s, 0.99) or max(plan.ttft_s)


def _requests(truth: Truth) -> list[dict[str, Any]]:
    """The log when it has not grown for a while."""
    before, now = -1, len(truth.entries())
    while before != now:
        time.sleep(1.2 * LOG_EVERY_S)
        before, now = now, len(truth.entries())
    return truth.entries()


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"


def main() -> None:
    """Prints a row a turn."""
    given = [*sys.argv[1:], "", "", ""]
    tools: dict[str, Callable[[Job], Figures]] = {
        "yardstick, openai": lambda job: ours(job, "openai"),
        "guidellm": lambda job: guidellm(job, given[0]),
        "yardstick, http": lambda job: ours(job, "http"),
        "aiperf": lambda job: aiperf(job, given[1]),
    }
    chunks, streams = ([int(part) for part in text.split(",")] for text in (given[2] or "1,4", given[3] or "1,8,32"))
    rows = []
    for chunk_tokens in chunks:
        with tempfile.TemporaryDirectory() as scratch:
            tokenizer = Path(scratch) / "tokenizer"
            word_tokenizer.write(tokenizer)
            with planted(replace(LAW, chunk_tokens=chunk_tokens), max(streams), Path(scratch)) as truth:
                for count in streams:
                    for number in range(int(given[4] or 1)):
                        for at, (name, tool) in enumerate(tools.items()):
                            folder = Path(scratch) / f"{count}-{number}-{at}"
                            folder.mkdir()
                            job = Job(truth, count, REQUESTS.get(count, 6 * count), folder, tokenizer)
                            rows.append(turn(name, tool, job, number + 1))
    say("ms, unless it says otherwise")
    print_table(NAMES, rows)


if __name__ == "__main__":
    main()
