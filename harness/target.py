"""What is measured and how it is reached: a model (Target), a way in (Door)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from estimator.catalog import find_mixture, find_model
from estimator.errors import EstimatorError
from estimator.facts import model_file_facts
from estimator.readers.gguf import read_model_file
from estimator.specs import Model
from estimator.tensors import model_file
from harness.errors import BadModelFile


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to measure: a catalogue model with a mixture, a user's file, or a name that a server knows.

    `quant` is "" and `facts` are empty where only the server knows what is behind the name; `served`
    is that name.
    """

    name: str
    quant: str
    facts: dict[str, Any]
    model: Model | None = None
    path: Path | None = None
    served: str = ""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights; 0 where they are not known."""
        return sum(int(group["size_bytes"]) for group in self.facts.get("groups", ()))

    @property
    def multiplied_bytes(self) -> int:
        """Bytes of the matrices, experts and the head: what an engine may hold a second time, repacked."""
        groups = self.facts.get("groups", ())
        return sum(
            int(group["size_bytes"]) for group in groups if group["role"] in ("matrix", "latent", "expert", "head")
        )


@dataclass(frozen=True, slots=True)
class Door:
    """Which servers to speak to. `base_urls` by back end; without one, each has its own default.

    `weights` "synthetic" gives an Ollama server our weight-free model file for the time of the run;
    `pull` lets it download a model that it lacks.
    """

    llama_server: str | None = None
    base_urls: dict[str, str] = field(default_factory=dict)
    port: int = 0
    law: str | None = None
    weights: Literal["own", "synthetic"] = "own"
    pull: bool = False


def resolve(name: str, quant: str) -> Target:
    """The target that a catalogue name with a weight type, or a path ending in .gguf, means.

    Raises BadModelFile for a file that cannot be read, EstimatorError for an unknown name.
    """
    if name.endswith(".gguf"):
        path = Path(name).expanduser().resolve()
        try:
            found = read_model_file(path)
        except EstimatorError as error:
            raise BadModelFile(str(error)) from error
        return Target(path.stem, found.quant, model_file_facts(found), None, path)
    model, mixture = find_model(name), find_mixture(quant)
    return Target(model.name, mixture, model_file_facts(model_file(model, mixture)), model)


def served_target(name: str) -> Target:
    """The target of a name that only the server knows."""
    return Target(name, "", {}, served=name)


def synthetic_target(name: str, quant: str) -> Target:
    """A catalogue model as a server will know our weight-free file of it. Raises EstimatorError."""
    target = resolve(name, quant)
    slug = f"{target.name}-{target.quant}".replace(":", "-").replace("_", "-").lower()
    return replace(target, served=f"yardstick-{slug}:weight-free")
