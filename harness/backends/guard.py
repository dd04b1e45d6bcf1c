"""Processes that cannot outlive their parent: the kernel ends them on Linux, end of input everywhere.

`python -m harness.backends.guard COMMAND ...` runs a command under that promise (a user's
llama-server), printing its process id as one JSON line.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, linux/prctl.h


def end_with_parent(before_end: Callable[[], None] = lambda: None) -> None:
    """Makes this process end when its parent does; `before_end` runs first where end of input told it."""
    _ask_kernel()
    threading.Thread(target=_exit_at_end_of_input, args=(before_end,), daemon=True).start()


def _ask_kernel() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _exit_at_end_of_input(before_end: Callable[[], None]) -> None:
    while os.read(0, 4096):
        pass
    before_end()
    os._exit(0)


def main() -> None:
    """Runs the command of the arguments; ends it when standard input ends."""
    # This process has no other thread yet, so preparing the child in it is safe.
    prepare = _ask_kernel if sys.platform == "linux" else None
    # Its standard output goes to the log too: ours is the hand-over to the parent.
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=prepare)  # noqa: PLW1509
    signal.signal(signal.SIGTERM, lambda *_: command.terminate())

    def stop() -> None:
        command.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(timeout=3)
        command.kill()

    end_with_parent(stop)
    print(json.dumps({"pid": command.pid}), flush=True)  # noqa: T201 - the hand-over to the parent
    os._exit(command.wait() & 0xFF)


if __name__ == "__main__":
    main()
