"""What a real engine answered, from recorded.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded.json").read_text())


def recorded_events() -> list[dict[str, Any]]:
    """The events of the recorded stream, the last one included."""
    lines = RECORDED["stream"]["bytes"].split("\r\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
