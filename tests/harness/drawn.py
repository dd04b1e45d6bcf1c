"""The page in a real Chromium, as its command line shows it: the document after all scripts have run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr",
    "--virtual-time-budget=20000",
)  # fmt: skip


def browser() -> str | None:
    """A Chromium on PATH."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def drawn(chromium: str, page: Path, fragment: str = "") -> tuple[str, list[str]]:
    """The document as it stands after its scripts, and what they complained of on the console."""
    # Chromium refuses its sandbox to root.
    alone = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [chromium, *_OPTIONS, *alone, f"--user-data-dir={profile}", "--dump-dom", f"{page.as_uri()}{fragment}"],
            capture_output=True, text=True, timeout=240, check=True,
        )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
