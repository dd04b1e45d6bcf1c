"""Money as people read it, rounded so that no digit is invented and no bound is overstated."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

_DIGITS = 3
# More than any price, power or energy of a machine; beyond it products stop being numbers.
_MOST = 1e15
LEAST_UTILISATION = 1e-6
_TINY_USD = 1e-5
_ROUNDINGS = {"nearest": ROUND_HALF_EVEN, "down": ROUND_FLOOR, "up": ROUND_CEILING}


def are_amounts(*stated: float | None) -> bool:
    """Whether each price, power or energy that was stated is a number from 0 to 1e15."""
    return all(0 <= amount <= _MOST for amount in stated if amount is not None)


def rounded(value: float, way: str = "nearest", digits: int = _DIGITS) -> Decimal:
    """`value` to so many significant digits, "nearest", "down" (a lower bound stays one) or "up"."""
    exact = Decimal(repr(value))
    if not exact:
        return Decimal(0)
    step = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    # What floating point left behind the fifteenth digit is not rounded up to a whole step.
    settled = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 14))
    found = settled.quantize(step, rounding=_ROUNDINGS[way])
    # 0.9996 is 1.00, not 1.000.
    return found if found.adjusted() == exact.adjusted() else found.quantize(step.scaleb(1))


def usd(value: float | None, mark: str = "") -> str:
    """Three digits, whole dollars from 100 on, after `mark`; with "≥" rounded down; a dash where unknown.

    Below a thousandth of a cent with an exponent ($1.23e-8), so that a price is never wider than its column.
    """
    if value is None:
        return "-"
    way = "down" if mark == "≥" else "nearest"
    if abs(value) >= 100:
        return f"{mark}${Decimal(repr(value)).quantize(Decimal(1), rounding=_ROUNDINGS[way]):,}"
    written = ".2e" if 0 < abs(value) < _TINY_USD else ",f"
    return f"{mark}${rounded(value, way):{written}}"


def count(value: float, way: str = "nearest") -> str:
    """Three digits of a number of things: 1,270,000; below 100 as many as it has."""
    return f"{rounded(value, way):,f}" if value < 100 else f"{int(rounded(value, way)):,}"
