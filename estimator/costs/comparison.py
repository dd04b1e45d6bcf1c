"""`cost`: the bills of the APIs and machines that were named, for one load, and where each pair breaks even."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from estimator.costs.break_even import BreakEven, break_even
from estimator.costs.offers import Load, Offer, OfferKind, api_offer, machine_offer
from estimator.costs.outlay import Outlay
from estimator.costs.serving import STREAMS, Machine, Serving, Unserved, best_serving
from estimator.errors import EstimatorError
from estimator.limits import Limits
from estimator.price_list import Price
from estimator.specs import ModelFile


@dataclass(frozen=True, slots=True)
class Costed:
    """A machine with what it costs."""

    machine: Machine
    outlay: Outlay

    @property
    def kind(self) -> OfferKind:
        return "owned" if self.outlay.kind == "owned" else "rented"


@dataclass(frozen=True, slots=True)
class CostAnswer:
    """What `cost --json` prints: the fields of Load, Offer and BreakEven; USD, a month of 730 h.

    model, title, quant   what the machines run; None where there are only APIs, whose models are their own
    offers          the APIs in the order asked, then the machines
    break_even      each machine with each API
    warnings        reasons to trust the speeds less, each once
    """

    model: str | None
    title: str | None
    quant: str | None
    load: Load
    offers: tuple[Offer, ...]
    break_even: tuple[BreakEven, ...]
    warnings: tuple[str, ...]


def compare(
    load: Load,
    apis: Sequence[tuple[str, Price | None]],
    machines: Sequence[Costed],
    file: ModelFile | None,
    streams: tuple[int, ...] = STREAMS,
    limits: Limits | None = None,
) -> CostAnswer:
    """The bills of all of them. `file` is what machines run, needed only where there are some; they keep `limits`.

    Raises EstimatorError.
    """
    api_offers = [api_offer(name, price, load) for name, price in apis]
    offers: list[Offer] = []
    points: list[BreakEven] = []
    for costed in machines:
        if file is None:
            raise EstimatorError("machines run a model: name it")
        serving = best_serving(file, load.work, costed.machine, streams, limits, accepted=("yes", "unknown"))
        offers.append(_offer(costed, serving, load))
        # One machine may break even at a load for which requests must share it.
        most = serving if isinstance(serving, Unserved) else replace(serving, alone=None)
        points += [break_even(api, _offer(costed, most, load), costed.outlay, load) for api in api_offers]
    model = file if machines else None
    return CostAnswer(
        model=None if model is None else model.model.name,
        title=None if model is None else model.model.title,
        quant=None if model is None else model.quant,
        load=load,
        offers=(*api_offers, *offers),
        break_even=tuple(points),
        warnings=(*load_warnings(load, bool(offers), bool(apis)), *_speed_warnings(offers)),
    )


def _offer(costed: Costed, serving: Serving | Unserved, load: Load) -> Offer:
    return machine_offer(costed.machine.name, costed.kind, costed.outlay, serving, load)


def load_warnings(load: Load, machines: bool, apis: bool) -> tuple[str, ...]:
    """What the bills of machines take for granted about the load."""
    if not machines:
        return ()
    found = []
    if apis:
        found.append("APIs answer with models of their own: prices are compared here, not answers")
    if load.utilisation == 1:
        found.append(
            "utilisation 1: machines may be busy all day, as if requests came one after the other; loads that come as "
            "they will need spare time: --utilisation 0.5"
        )
    if load.cached_tokens:
        found.append(f"machines are taken to keep the {load.cached_tokens:,} cached tokens too, once for each stream")
    if load.reasoning_tokens and apis:
        found.append("reasoning tokens are the API's: machines are asked for the answer alone")
    return tuple(found)


def _speed_warnings(offers: Sequence[Offer]) -> tuple[str, ...]:
    every = [*offers, *(offer.alone for offer in offers if offer.alone is not None)]
    found = [warning for offer in every if offer.serving is not None for warning in offer.serving.warnings]
    return tuple(dict.fromkeys(found))
