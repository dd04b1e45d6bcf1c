"""The embedded engine's memory: as sampled, as the kernel counts it, as the engine's own log and dry run plan it.

`python -m tests.benchmarks.memory [MODEL/QUANT,...]` (default: two types that the engine keeps in the mapped file,
two that it repacks). One request with a prompt of a whole micro-batch, so that the planned buffers have been used.
*kernel* is /proc/PID/smaps_rollup of the engine's process, read five times a second beside the harness's own sampler.
*planned* is KV cache, compute and output buffers of the dry run, with the file's weights and their repacked copy, which
a dry run does not list and tests/estimator compares with the engine's log. *empty* is the engine's process before it
loads anything (interpreter and libraries), which is in no plan.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from estimator.catalog import find_mixture, find_model
from estimator.readers.gguf import read_model_file
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES, mapped_bytes, repacked_bytes
from harness.backends.launch import dry_run
from harness.backends.llamacpp import engine_options
from harness.journal import read_record
from harness.plan import Plan, Shape
from harness.summary import Loaded, loaded
from harness.weights.store import Store
from tests.benchmarks.against import print_table, say

CASES = "llama3.2:3b/F16,mistral:7b/Q6_K,mistral:7b/Q4_0,mistral:7b/Q4_K_M"
SHAPE = Shape(512, 8)
MIB = 2**20


def in_kernel(pid: int) -> dict[str, int]:
    """Bytes of a process by the kernel's own sum over its mappings; nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def run(model: str, quant: str, results: Path) -> tuple[Loaded, dict[str, int]]:
    """A run of one request; what the harness recorded, and the kernel's largest account of the engine."""
    lengths = ["--prompt-tokens", str(SHAPE.prompt_tokens), "--output-tokens", str(SHAPE.output_tokens)]
    command = [sys.executable, "-m", "harness", "run", "--model", model, "--quant", quant, *lengths, "--repeats", "1"]
    process = psutil.Popen([*command, "--results", str(results)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    largest: dict[str, int] = {}
    while process.poll() is None:
        time.sleep(0.2)
        for child in process.children() if process.is_running() else []:
            found = in_kernel(child.pid)
            largest = max(largest, found, key=lambda told: told.get("Rss", 0))
    if process.returncode:
        raise SystemExit(f"harness run of {model} {quant} ended with {process.returncode}")
    return loaded(read_record(next(results.iterdir())))[0], largest


def planned(model: str, quant: str) -> dict[str, int]:
    """The buffers that the engine's dry run plans for the same run, and the weights."""
    path = Store().build(find_model(model), find_mixture(quant))
    options = engine_options(Plan(shapes=(SHAPE,)), str(path))
    with tempfile.TemporaryDirectory() as folder:
        plan = asyncio.run(dry_run(options, Path(folder) / "log"))
    file = read_model_file(path)
    weights = {"weights_bytes": mapped_bytes(file), "repacked_bytes": repacked_bytes(file, X86_AVX2_REPACKED_TYPES)}
    return plan | weights


def empty_bytes() -> int:
    """Resident bytes of the engine's process before it loads a model."""
    command = [sys.executable, "-c", "import os, xllamacpp, harness.backends.embedded; print(os.getpid()); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = in_kernel(int(process.stdout.readline()))["Rss"]
        process.communicate("\n")
    return found


def row(case: str) -> list[str]:
    """MiB of one case, and how far the sampled figure is from each of the others."""
    model, quant = case.split("/")
    with tempfile.TemporaryDirectory() as folder:
        seen, kernel = run(model, quant, Path(folder))
    plan = planned(model, quant)
    sampled, anonymous, total = seen.peak_resident_bytes or 0, seen.peak_anonymous_bytes or 0, sum(plan.values())
    empty = empty_bytes()
    figures = [plan["repacked_bytes"], sampled, kernel["Rss"], anonymous, kernel["Anonymous"], total, empty]
    shares = sampled / kernel["Rss"], anonymous / kernel["Anonymous"], sampled / total, sampled / (total + empty)
    against = [share - 1 for share in shares]
    return [model, quant, *(f"{b / MIB:.1f}" for b in figures), *(f"{share:+.2%}" for share in against)]


def main() -> None:
    """Prints a row a case."""
    cases = (sys.argv[1] if len(sys.argv) > 1 else CASES).split(",")
    names = (
        "model", "type", "repacked", "sampled", "kernel", "anonymous", "kernel anonymous", "planned",
        "empty", "off kernel", "anonymous off", "off planned", "off planned + empty",
    )  # fmt: skip
    say("MiB")
    print_table(names, [row(case) for case in cases])


if __name__ == "__main__":
    main()
