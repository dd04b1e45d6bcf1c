"""What a prediction may be off by before the gate closes: the words of `--max-error`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches

from calibration.errors import CalibrationError

WHAT = ("decode", "ttft", "memory")
DEFAULT = "decode=10%,ttft=15%,memory=3%"


def limits(text: str) -> dict[str, float]:
    """ "decode=10%,memory=0.03" -> {"decode": 0.1, "memory": 0.03}; what is not named is not held to anything.

    Raises CalibrationError.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in WHAT:
            near = get_close_matches(name, WHAT, 1)
            hint = f"; did you mean {near[0]}" if near else ""
            raise CalibrationError(f"--max-error knows {', '.join(WHAT)}, not {name!r}{hint}: write it like {DEFAULT}")
        if name in found:
            raise CalibrationError(f"--max-error names {name} twice")
        found[name] = _share(name, value if equals else "")
    return found


def _share(name: str, text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < 10:
        raise CalibrationError(f"--max-error {name}={text} is no share above 0: write it like {name}=10%")
    return value


def shown(limits: Mapping[str, float]) -> str:
    """The limits in words."""
    return ", ".join(f"{name} {limit:.3g}" for name, limit in limits.items())
