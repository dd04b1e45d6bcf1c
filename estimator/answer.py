"""The answer of a prediction: quantities with their theory, interval and basis, and the fit verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from estimator.specs import Hardware, Workload

Basis = Literal["stated", "calibrated", "moved", "reference", "theory", "unknown"]
Formulas = Literal["engineering", "textbook"]
Fits = Literal["yes", "tight", "no", "unknown"]
_BASES: tuple[Basis, ...] = ("stated", "calibrated", "moved", "reference", "theory", "unknown")


@dataclass(frozen=True, slots=True)
class Quantity:
    """One predicted number; its unit is the last word of the key that it stands under.

    `value` is the answer: calibrated where calibration covers the question, else the theory; None where
    neither is known (basis "reference": calibrated by published measurements of other machines; "moved": and by some
    of its own). `low` and `high` enclose the truth in 90 of 100 cases, None where nothing says so.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    theory: float | None = None
    basis: Basis = "theory"

    def scaled(self, factor: float) -> Quantity:
        """Every number times `factor`."""
        value, low, high, theory = (None if part is None else part * factor for part in self._numbers)
        return Quantity(value, low, high, theory, self.basis)

    def plus(self, other: Quantity) -> Quantity:
        """Both added, the ends of the intervals too (at least 90 % where each is); no better than the weaker basis."""
        pairs = zip(self._numbers, other._numbers, strict=True)
        value, low, high, theory = (None if one is None or two is None else one + two for one, two in pairs)
        return Quantity(value, low, high, theory, max(self.basis, other.basis, key=_BASES.index))

    def rate_of(self, amount: float) -> Quantity:
        """`amount` per this time: low and high change places."""
        value, low, high, theory = (None if not part else amount / part for part in self._numbers)
        return Quantity(value, high, low, theory, self.basis)

    @property
    def _numbers(self) -> tuple[float | None, float | None, float | None, float | None]:
        return self.value, self.low, self.high, self.theory


def quantity(theory: float | None, calibrated: float | None, interval: tuple[float, float] | None) -> Quantity:
    """The calibrated value where there is one, in its relative interval; else the theory, else unknown."""
    if calibrated is None:
        return Quantity(theory, theory=theory, basis="unknown" if theory is None else "theory")
    if interval is None:
        return Quantity(calibrated, theory=theory, basis="calibrated")
    low, high = (calibrated * (1 + share) for share in interval)
    return Quantity(calibrated, low, high, theory, "calibrated")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the memory suffices: "yes", "tight" (weights are read from disk again and again), "no" or "unknown".

    `needed_bytes` is the upper bound of what must stay in memory for full speed, `anonymous_bytes` the upper
    bound of what cannot be evicted at all, `margin_bytes` what is left of `available_bytes` after `needed_bytes`;
    both are None where nobody said how much memory there is. The host of a GPU has figures of its own, None where it
    does not count.
    """

    fits: Fits
    needed_bytes: int
    anonymous_bytes: int
    available_bytes: int | None
    margin_bytes: int | None
    reason: str
    host_needed_bytes: int | None = None
    host_available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that one question is answered with; `to_plain` of it is what `--json` prints.

    memory  weights_bytes, repacked_bytes, kv_cache_bytes, compute_bytes, output_bytes, runtime_bytes,
            libraries_bytes, anonymous_bytes (all that cannot be evicted), total_bytes
            (textbook: weights_bytes, kv_cache_bytes, margin_bytes, total_bytes; on GPUs: weights_bytes, kv_cache_bytes,
            compute_bytes, output_bytes, total_bytes of device memory, and host_weights_bytes, which the CPU keeps, with
            host_kv_cache_bytes where some layers are not on a GPU)
    speed   ttft_s, time_per_token_s, end_to_end_s, prefill_tokens_per_s, decode_tokens_per_s of one
            sequence, and with concurrency throughput_tokens_per_s of all; load_from_disk_s and load_from_page_cache_s
            where the disk's rate was stated
    cost    rented_usd and electricity_usd of the requests, and of a million output tokens at this rate
            (rented_per_million_output_tokens_usd, ...), where prices were stated; with concurrency
            rented_per_request_usd; rented_per_month_usd of the machine, whatever it does; cost_basis says at what price
    """

    model: str
    title: str
    quant: str
    formulas: Formulas
    work: Workload
    hardware: Hardware
    calibration: str | None
    memory: dict[str, Quantity]
    speed: dict[str, Quantity]
    cost: dict[str, Quantity]
    fit: Verdict
    warnings: tuple[str, ...]
    cost_basis: str | None = None
