"""`cheapest`: machines and APIs that keep the limits on latency at a load, by price; and what rules out the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from estimator.costs.comparison import Costed, load_warnings
from estimator.costs.offers import Load, Offer, api_offer, machine_offer
from estimator.costs.serving import STREAMS, Meets, Obstacle, Serving, Unserved, best_serving, meets
from estimator.limits import Limits
from estimator.price_list import Price
from estimator.render import duration
from estimator.specs import Hardware, ModelFile


@dataclass(frozen=True, slots=True)
class ApiCandidate:
    """An API with its price, None where unknown, and the latency that was stated for it."""

    name: str
    price: Price | None
    latency: Limits


@dataclass(frozen=True, slots=True)
class Ranked:
    """An offer that keeps the limits: with its interval ("yes"), by its value ("likely"), in "theory", as "stated".

    Yes and likely stand on the reference: one request at a time on each copy of the model.
    """

    offer: Offer
    meets: Meets


@dataclass(frozen=True, slots=True)
class Excluded:
    """A candidate that is not in the ranking, and why."""

    name: str
    obstacle: Obstacle
    reason: str


@dataclass(frozen=True, slots=True)
class CheapestAnswer:
    """What `cheapest --json` prints: the fields of Load, Limits, Offer; USD, a month of 730 h.

    ranked      by the price of a month, the cheapest first; lower bounds where the offer says `at_least`
    excluded    every other candidate with its obstacle
    """

    model: str
    title: str
    quant: str
    load: Load
    limits: Limits
    ranked: tuple[Ranked, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]


def cheapest(
    load: Load,
    limits: Limits,
    file: ModelFile,
    machines: Sequence[Costed],
    apis: Sequence[ApiCandidate],
    streams: tuple[int, ...] = STREAMS,
) -> CheapestAnswer:
    """Every candidate judged by `predict`'s fit and speed; `load` must say how many requests a day."""
    ranked: list[Ranked] = []
    excluded: list[Excluded] = []
    served: dict[tuple[Hardware, ...], Serving | Unserved] = {}
    for costed in machines:
        machine = costed.machine
        key = tuple(hardware for hardware, _ in machine.layouts)
        if key not in served or not key[0].catalogued:
            served[key] = best_serving(file, load.work, machine, streams, limits)
        _place(ranked, excluded, machine_offer(machine.name, costed.kind, costed.outlay, served[key], load), limits)
    for api in apis:
        _place_api(ranked, excluded, api, load, limits)
    return CheapestAnswer(
        model=file.model.name,
        title=file.model.title,
        quant=file.quant,
        load=load,
        limits=limits,
        ranked=tuple(sorted(ranked, key=_place_of)),
        excluded=tuple(sorted(excluded, key=lambda entry: (entry.obstacle, entry.name))),
        warnings=(*_basis_warnings(entry.meets for entry in ranked), *load_warnings(load, bool(machines), bool(apis))),
    )


def _place_of(entry: Ranked) -> tuple[float, bool, str]:
    """By the price of a month; of equal ones what is known before what is a lower bound."""
    return entry.offer.month_usd.value or 0.0, entry.offer.at_least, entry.offer.name


def _place(ranked: list[Ranked], excluded: list[Excluded], offer: Offer, limits: Limits) -> None:
    if offer.obstacle is not None or offer.serving is None:
        obstacle = offer.obstacle or Unserved("speed unknown", "its speed is unknown")
        excluded.append(Excluded(offer.name, obstacle.obstacle, obstacle.reason))
    else:
        ranked.append(Ranked(offer, meets(offer.serving, limits)))


def _place_api(ranked: list[Ranked], excluded: list[Excluded], api: ApiCandidate, load: Load, limits: Limits) -> None:
    offer = api_offer(api.name, api.price, load)
    if offer.obstacle is not None:
        excluded.append(Excluded(api.name, offer.obstacle.obstacle, offer.obstacle.reason))
        return
    for word, known, limit in (
        ("TTFT", api.latency.ttft_s, limits.ttft_s),
        ("TPOT", api.latency.tpot_s, limits.tpot_s),
    ):
        if limit is not None and known is None:
            reason = f"its {word} is unknown: measure it, and state it as {api.name}@ttft=600ms,tpot=20ms"
            excluded.append(Excluded(api.name, "latency unknown", reason))
            return
        if limit is not None and known is not None and known > limit:
            excluded.append(
                Excluded(api.name, "too slow", f"{word} {duration(known)} as stated, over {duration(limit)}")
            )
            return
    ranked.append(Ranked(offer, "stated"))


def _basis_warnings(sure: Iterable[Meets]) -> tuple[str, ...]:
    bases = set(sure)
    if "theory" not in bases:
        return ()
    mixed = (
        "of rows by theory the lower bound is ranked, beside prices by the reference, which are none: compare what "
        "they cost one request at a time",
    )
    return (
        "theory is the fastest that the hardware allows, of several requests at once: such prices are lower bounds, "
        "and whether the limits are kept is not proven; that one of them is broken is",
        *(mixed if bases & {"yes", "likely"} else ()),
    )
