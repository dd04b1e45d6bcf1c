"""How many requests a machine serves: copies of the model and streams of each that fit and keep the limits.

Every figure is `predict`'s: the same fit, the same speed, the same basis. One serving has one basis: what the reference
says of one request at a time stands beside what theory says of several, never in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from estimator.answer import Answer, Basis, Fits, Quantity
from estimator.hardware import Part
from estimator.limits import Limits
from estimator.predict import predict
from estimator.question import catalogued
from estimator.reference.speed import Calibration, Published
from estimator.render import duration
from estimator.specs import Hardware, ModelFile, Workload

# Requests at once that are tried where nobody says how many.
STREAMS = (1, 2, 4, 8, 16, 32, 64)
Obstacle = Literal["does not fit", "fit unknown", "too slow", "speed unknown", "price unknown", "latency unknown"]
Meets = Literal["yes", "likely", "theory", "stated"]
# What measurements stand behind, here or elsewhere.
_MEASURED: tuple[Basis, ...] = ("calibrated", "reference")
_BY: dict[Basis, str] = {
    "theory": "even in theory",
    "calibrated": "by calibrated speed",
    "reference": "by the reference, one request alone",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """What can run a model: each layout is the hardware of one copy of it, and how many copies there are.

    `calibration` is of one device; how many a layout has is said when it is asked.
    """

    name: str
    layouts: tuple[tuple[Hardware, int], ...]
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """The best way found in which one machine serves requests.

    copies          of the model, each on `devices` GPUs, layers split among these
    concurrency     requests at once of each copy
    ttft_s, time_per_token_s   of one of them while all streams are busy and prompts arrive together
    machine_s       what a request takes of the machine: 1 / (requests a second) of all copies
    fits            "yes", or "unknown" with the reason
    alone           where all this is theory: one request at a time on each copy, by the reference, if it says
    """

    copies: int
    devices: int
    concurrency: int
    ttft_s: Quantity
    time_per_token_s: Quantity
    machine_s: Quantity
    fits: Fits
    reason: str
    warnings: tuple[str, ...]
    alone: Serving | None = None

    @property
    def basis(self) -> Basis:
        """What the throughput stands on."""
        return self.machine_s.basis


@dataclass(frozen=True, slots=True)
class Unserved:
    """Why a machine cannot serve the requests, in a word and in a sentence."""

    obstacle: Obstacle
    reason: str


def machine_of(name: str, part: Part, gpus: int, memory_bytes: int | None = None) -> Machine:
    """`gpus` of a part of the catalogue: a copy of the model on each, or on 2, 3, ... of them that divide `gpus`."""
    shares = [devices for devices in range(1, gpus + 1) if gpus % devices == 0]
    layouts = tuple((catalogued(part, devices, memory_bytes)[0], gpus // devices) for devices in shares)
    return Machine(name, layouts, catalogued(part)[1])


def best_serving(
    file: ModelFile,
    work: Workload,
    machine: Machine,
    streams: tuple[int, ...] = STREAMS,
    limits: Limits | None = None,
    accepted: tuple[Fits, ...] = ("yes",),
) -> Serving | Unserved:
    """The layout and concurrency of the highest throughput that fit and keep `limits`; else what is in the way.

    Of fits that are `accepted`. `work.concurrency` is replaced by `streams`, ascending. One request alone is judged
    first, whatever `streams` say: where it is too slow, several at once are no faster.
    """
    found: list[Serving] = []
    obstacles: list[Unserved] = []
    for hardware, copies in machine.layouts:
        for answer in _answers(file, work, hardware, machine.calibration, sorted({1, *streams})):
            obstacle = _obstacle(answer, limits or Limits(), accepted)
            if obstacle is not None:
                obstacles.append(obstacle)
                break  # more streams need more memory and are slower
            if answer.work.concurrency in streams:
                found.append(_serving(answer, copies))
    if not found:
        return _nearest_miss(obstacles)
    best = _fastest(found)
    known = [serving for serving in found if serving.basis == "reference"]
    return replace(best, alone=_fastest(known)) if known and best.basis == "theory" else best


def _fastest(servings: list[Serving]) -> Serving:
    return min(servings, key=lambda serving: (serving.machine_s.value or 0.0, serving.concurrency))


def meets(serving: Serving, limits: Limits) -> Meets:
    """How sure it is that limits are kept which the values keep: the interval too, the value, in theory only."""
    pairs = ((serving.ttft_s, limits.ttft_s), (serving.time_per_token_s, limits.tpot_s))
    judged = [(time, limit) for time, limit in pairs if limit is not None]
    if any(time.basis not in _MEASURED for time in (serving.machine_s, *(time for time, _ in judged))):
        return "theory"
    return "yes" if all(time.high is not None and time.high <= limit for time, limit in judged) else "likely"


def _answers(
    file: ModelFile, work: Workload, hardware: Hardware, calibration: Calibration | None, streams: list[int]
) -> Iterator[Answer]:
    if isinstance(calibration, Published):
        calibration = replace(calibration, devices=hardware.devices)
    return (predict(file, replace(work, concurrency=count), hardware, calibration) for count in streams)


def _obstacle(answer: Answer, limits: Limits, accepted: tuple[Fits, ...]) -> Unserved | None:
    fit = answer.fit
    if fit.fits not in accepted:
        return Unserved("fit unknown" if fit.fits == "unknown" else "does not fit", fit.reason)
    ttft, step = answer.speed["ttft_s"], answer.speed["time_per_token_s"]
    if answer.speed["end_to_end_s"].value is None:
        how = "measure them with `python -m harness doctor`, or state --bandwidth and --compute"
        if answer.hardware.catalogued:
            how = f"the catalogue does not have all of {answer.hardware.name}"
        return Unserved("speed unknown", f"the machine's rates are unknown: {how}")
    for word, time, limit in (("TTFT", ttft, limits.ttft_s), ("TPOT", step, limits.tpot_s)):
        if limit is not None and time.value is not None and time.value > limit:
            words = _BY[time.basis]
            words += " with layers split" if answer.hardware.devices > 1 else ""
            if time.low is not None and time.high is not None:
                words += f" ({duration(time.low)} to {duration(time.high)})"
            return Unserved("too slow", f"{word} {duration(time.value)} {words}, over {duration(limit)}")
    return None


def _serving(answer: Answer, copies: int) -> Serving:
    work = answer.work
    return Serving(
        copies=copies,
        devices=answer.hardware.devices,
        concurrency=work.concurrency,
        ttft_s=answer.speed["ttft_s"],
        time_per_token_s=answer.speed["time_per_token_s"],
        machine_s=answer.speed["end_to_end_s"].scaled(1 / (work.concurrency * copies)),
        fits=answer.fit.fits,
        reason=answer.fit.reason,
        warnings=answer.warnings,
    )


def _nearest_miss(obstacles: list[Unserved]) -> Unserved:
    """The obstacle of the layout that came closest: a model that fits and is too slow is not one that does not fit."""
    order = ("too slow", "speed unknown", "fit unknown", "does not fit")
    return min(obstacles, key=lambda obstacle: order.index(obstacle.obstacle))
