"""The engine's dry run as an oracle: what xllamacpp would allocate for a model file, without its weights.

`python -m tests.estimator.dry_run` reads a JSON list of Options from its standard input, and writes
for each a JSON object of bytes, in a forked process each, because this engine build crashes after it
has printed its buffers (`no_alloc` leaves null buffers that the server then clears). Now and then the
crash overtakes the log, which another thread writes: such a run is repeated.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, TypedDict

MIB = 2**20
_LIMIT_S = 30
_TRIES = 6


class Options(TypedDict):
    """What one dry run is told; `alloc` loads the weights really, memory-mapped (for tiny files)."""

    path: str
    context: int
    parallel: int
    ubatch: int
    flash_attention: bool
    kv_type: str
    alloc: bool


def dry_runs(options: list[Options]) -> list[dict[str, float]]:
    """Bytes of "kv", "output", "compute", "model", "repack" of each, as far as the engine came: "compute" is last."""
    found: dict[int, dict[str, float]] = {}
    for _ in range(_TRIES):
        missing = [index for index in range(len(options)) if "compute" not in found.get(index, {})]
        found |= zip(missing, _run([options[index] for index in missing]), strict=True)
    return [found[index] for index in range(len(options))]


def _run(options: list[Options]) -> list[dict[str, float]]:
    finished = subprocess.run(
        [sys.executable, "-m", "tests.estimator.dry_run"],
        input=json.dumps(options),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "GGML_NO_BACKTRACE": "1"},
    )
    return [json.loads(line) for line in finished.stdout.splitlines()]


def parse_log(log: str) -> dict[str, float]:
    """The buffer sizes in the engine's log, in bytes; several KV caches (sliding window) are added up."""
    patterns = {
        "kv": r"llama_kv_cache: size = +([\d.]+) MiB",
        "output": r"CPU +output buffer size = +([\d.]+) MiB",
        "compute": r"CPU +compute buffer size = +([\d.]+) MiB",
        "model": r"CPU(?:_Mapped)? model buffer size = +([\d.]+) MiB",
        "repack": r"CPU_REPACK model buffer size = +([\d.]+) MiB",
    }
    found = {name: [float(size) * MIB for size in re.findall(pattern, log)] for name, pattern in patterns.items()}
    return {name: sum(sizes) for name, sizes in found.items() if sizes}


def _params(engine: Any, options: Options) -> Any:
    params = engine.CommonParams()
    params.model.path = options["path"]
    params.n_ctx, params.n_parallel, params.n_ubatch = options["context"], options["parallel"], options["ubatch"]
    params.n_batch = max(2048, options["ubatch"])
    params.fit_params, params.warmup, params.cache_ram_mib = False, False, 0
    params.n_gpu_layers, params.verbosity = 0, 4
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    flash = engine.llama_flash_attn_type
    params.flash_attn_type = (
        flash.LLAMA_FLASH_ATTN_TYPE_ENABLED if options["flash_attention"] else flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.cache_type_k = params.cache_type_v = engine.ggml_type[f"GGML_TYPE_{options['kv_type']}"]
    if not options["alloc"]:
        params.no_alloc, params.load_mode = True, engine.llama_load_mode.LLAMA_LOAD_MODE_NONE
    return params


def _run_in_child(engine: Any, options: Options, log: Path) -> str:
    child = os.fork()
    if child == 0:
        signal.alarm(_LIMIT_S)  # its default action ends the child, wherever in the engine it hangs
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        try:
            server = engine.Server(_params(engine, options))  # noqa: F841  kept: letting go of it waits for requests
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return log.read_text("utf-8", "replace")


def _main() -> None:
    import xllamacpp  # here, because only the child process may load the engine

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        for options in json.load(sys.stdin):
            sys.stdout.write(json.dumps(parse_log(_run_in_child(xllamacpp, options, log))) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main()
