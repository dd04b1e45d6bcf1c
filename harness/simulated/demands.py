"""What the values of a law may be: checks that say which value is wrong, and what it must be."""

from __future__ import annotations

import math

from harness.errors import HarnessError


class BadLaw(HarnessError):
    """A law or a list of faults that cannot be: an unknown name, a value out of range."""


def demand_number(what: str, name: str, value: object, least: float = 0, most: float = math.inf) -> None:
    """A finite number in a range, or BadLaw."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not least <= value <= most:  # type: ignore[operator]
        raise BadLaw(f"{what}: {name} is {value!r}, must be a number {_range(least, most)}")


def demand_whole(what: str, name: str, value: object, least: float = -math.inf, most: float = math.inf) -> None:
    """A whole number in a range, or BadLaw."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadLaw(f"{what}: {name} is {value!r}, must be a whole number {_range(least, most)}".rstrip())


def demand_flag(what: str, name: str, value: object) -> None:
    """True or false, or BadLaw."""
    if not isinstance(value, bool):
        raise BadLaw(f"{what}: {name} is {value!r}, must be true or false")


def _range(least: float, most: float) -> str:
    if most < math.inf:
        return f"from {least:g} to {most:g}"
    return f"of at least {least:g}" if least > -math.inf else ""
