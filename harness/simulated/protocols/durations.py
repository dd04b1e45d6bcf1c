"""Durations and dates as Ollama reads and writes them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from harness.simulated.ask import Fields, bad

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def date(at_wall_s: float) -> str:
    """Seconds since 1970 as a date."""
    return f"{datetime.fromtimestamp(at_wall_s, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def nanoseconds(duration_s: float) -> int:
    """Nanoseconds, whole."""
    return round(duration_s * 1e9)


def keep_alive_s(fields: Fields) -> float | None:
    """How long a request wants its model kept, None where it does not say. Below zero is for ever."""
    value = fields.values.get("keep_alive")
    if value is None:
        return None
    seconds = _seconds(value) if isinstance(value, str) else fields.number("keep_alive", 0)
    return math.inf if seconds < 0 else seconds


def _seconds(text: str) -> float:
    """As Go reads a duration: 5m, 1h30m, -1s, 0."""
    sign, size = (-1, text[1:]) if text.startswith("-") else (1, text)
    if size == "0":
        return 0.0
    parts = _PART.findall(size)
    if not parts or "".join(number + unit for number, unit in parts) != size:
        raise bad(f'time: invalid duration "{text}"')
    return sign * math.fsum(float(number) * _UNITS_S[unit] for number, unit in parts)
