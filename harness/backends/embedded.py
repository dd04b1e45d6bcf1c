"""The embedded engine's process: `python -m harness.backends.embedded OPTIONS` runs one xllamacpp server.

Always a child process, so that its memory and CPU are its own. It prints one JSON line when it
listens, and ends when its standard input does, so that it never outlives its parent.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import threading
from typing import Any

from harness.backends.guard import end_with_parent


def _parameters(options: dict[str, Any]) -> Any:
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = options["model"]
    p.n_ctx = options["context_tokens"]
    p.n_parallel = options["slots"]
    p.n_batch = options["batch_tokens"]
    p.n_ubatch = options["ubatch_tokens"]
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = options["threads"]
    p.flash_attn_type = getattr(
        xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{options['flash_attention'].upper()}"
    )
    p.n_gpu_layers = options["gpu_layers"]
    p.port = options["port"]
    # Nothing chosen behind our back, nothing kept between requests but the slots themselves.
    p.fit_params = False
    p.cache_ram_mib = 0
    p.n_ctx_checkpoints = 0
    p.ctx_shift = False
    p.ui = False
    p.endpoint_props = True
    p.verbosity = 4
    if options.get("dry_run"):
        p.no_alloc = True
        p.warmup = False
        p.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    return p


def _wait_when_crashing() -> None:
    """Makes a crash wait to be killed: a dry run crashes after its last word, and its log must come out first."""
    if sys.platform != "win32":
        libc = ctypes.CDLL(None)
        for crash in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
            libc.signal(crash, libc.pause)


def main() -> None:
    """Runs the server that the JSON in the first argument describes until standard input ends."""
    end_with_parent()
    import xllamacpp

    options = json.loads(sys.argv[1])
    if options.get("dry_run"):
        _wait_when_crashing()
    server = xllamacpp.Server(_parameters(options))
    ready = {
        "url": server.listening_address,
        "version": xllamacpp.__version__,
        "system_info": xllamacpp.get_system_info().strip(),
        "build": xllamacpp.BUILD_INFO,
    }
    print(json.dumps(ready), flush=True)  # noqa: T201 - the hand-over to the parent
    threading.Event().wait()


if __name__ == "__main__":
    main()
