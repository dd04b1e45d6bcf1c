"""Which back ends there are, and from what was asked to what each of them measures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest

from harness.backends import Opener
from harness.backends.http import open_http
from harness.backends.langchain import open_langchain
from harness.backends.llamacpp import open_llamacpp, open_simulated
from harness.backends.ollama import open_ollama
from harness.backends.openai import open_openai
from harness.errors import HarnessError
from harness.plan import Part, Plan
from harness.target import Door, Target, resolve, served_target, synthetic_target
from harness.weights.build import Progress
from harness.weights.store import Store


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of back end: how it is opened, and what it measures where no model is named.

    `serves_itself` back ends know their models by their own names; to the others a name is one of
    the catalogue. `paid` ones may cost money.
    """

    opener: Opener
    models: tuple[str, ...] = ()
    serves_itself: bool = True
    paid: bool = False


BACKENDS = {
    "llamacpp": Kind(open_llamacpp, serves_itself=False),
    "ollama": Kind(open_ollama, ("mistral",)),
    "openai": Kind(open_openai, ("gpt-4", "gpt-4-turbo"), paid=True),
    "langchain": Kind(open_langchain, ("llama2:13b",), paid=True),
    "http": Kind(open_http, ("gpt-4",), paid=True),
    "simulated": Kind(open_simulated, ("mistral:7b",), serves_itself=False),
}


@dataclass(frozen=True, slots=True)
class Lane:
    """One back end with one thing to measure; `part` is what is asked of it, where the plan has parts."""

    backend: str
    target: Target
    part: Part | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells this lane from the others of a run."""
        return self.backend, self.target.name, self.target.quant


def lanes(plan: Plan, door: Door) -> list[tuple[Lane, ...]]:
    """What is measured: groups of lanes that are open at the same time and interleaved.

    The first model of each back end makes the first group, and so on. Raises HarnessError,
    EstimatorError for a name that is not one.
    """
    if unknown := [name for name in plan.backends if name not in BACKENDS]:
        raise HarnessError(f"unknown back end {unknown[0]!r}: choose from {', '.join(BACKENDS)}")
    if door.weights == "synthetic" and "ollama" not in plan.backends:
        raise HarnessError("--weights synthetic gives an Ollama server our model file: add ollama to --backend")
    columns = [_lanes_of(backend, plan, door) for backend in dict.fromkeys(plan.backends)]
    groups = [tuple(lane for lane in group if lane is not None) for group in zip_longest(*columns)]
    return [group for group in groups if group]


def plan_of(lane: Lane, plan: Plan) -> Plan:
    """What is asked of one lane: its part of the plan, if it has parts."""
    return plan if lane.part is None else plan.of(lane.part)


def _lanes_of(backend: str, plan: Plan, door: Door) -> list[Lane]:
    if plan.parts:
        if BACKENDS[backend].serves_itself:
            raise HarnessError(f"a plan with parts measures catalogue models with llamacpp or simulated, not {backend}")
        return [Lane(backend, resolve(part.model, part.quant), part) for part in plan.parts]
    names = names_for(backend, plan) or BACKENDS[backend].models
    if not BACKENDS[backend].serves_itself:
        return [Lane(backend, resolve(name, quant)) for name in names for quant in _quants(name, plan)]
    if door.weights == "synthetic":
        names = names_for(backend, plan) or ("mistral:7b",)
        return [Lane(backend, _synthetic(name, quant)) for name in names for quant in plan.quants]
    return [Lane(backend, served_target(name)) for name in names]


def names_for(backend: str, plan: Plan) -> tuple[str, ...]:
    """The models of the plan that `backend` measures: those named for it (BACKEND=NAME), else those named for all."""
    own = tuple(name.removeprefix(f"{backend}=") for name in plan.models if name.startswith(f"{backend}="))
    others = tuple(f"{kind}=" for kind in BACKENDS)
    return own or tuple(name for name in plan.models if not name.startswith(others))


def _synthetic(name: str, quant: str) -> Target:
    """A LangChain name keeps its provider: ollama:mistral:7b."""
    provider, colon, rest = name.partition(":")
    if provider in ("ollama", "openai") and colon:
        target = synthetic_target(rest, quant)
        return replace(target, served=f"{provider}:{target.served}")
    return synthetic_target(name, quant)


def _quants(name: str, plan: Plan) -> tuple[str, ...]:
    return plan.quants[:1] if name.endswith(".gguf") else plan.quants


def needs_file(lane: Lane, door: Door) -> bool:
    """Whether a model file of ours must be there before the back end is opened."""
    if lane.target.path is not None or lane.target.model is None:
        return False
    if lane.backend == "ollama":
        return door.weights == "synthetic"
    return lane.backend == "llamacpp" and "llamacpp" not in door.base_urls


def files_to_build(listed: Iterable[Lane], door: Door, store: Store) -> dict[tuple[str, str], int]:
    """Bytes of disk that building takes, by model and weight type; what two back ends measure is built once."""
    found: dict[tuple[str, str], int] = {}
    for lane in listed:
        model, quant = lane.target.model, lane.target.quant
        if model is not None and needs_file(lane, door) and (size := store.new_bytes(model, quant)):
            found[model.name, quant] = size
    return found


def runs_embedded(lane: Lane, door: Door) -> bool:
    """Whether the lane starts the embedded engine, which can be asked beforehand what it needs."""
    return lane.backend == "llamacpp" and "llamacpp" not in door.base_urls and not door.llama_server


def prepare(lane: Lane, door: Door, building: Progress) -> Lane:
    """The lane with its model file, built where it needs one. Raises NotEnoughRoom, HarnessError."""
    model = lane.target.model
    if not needs_file(lane, door) or model is None:
        return lane
    path = Store().build(model, lane.target.quant, progress=building)
    return replace(lane, target=replace(lane.target, path=path))
