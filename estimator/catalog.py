"""The catalogue of known models: data/models/*.toml by the names that Ollama users write."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from estimator.errors import UnknownName
from estimator.nearest import did_you_mean
from estimator.specs import Model
from estimator.tensors import MIXTURES

# Ollama's name of what llama.cpp calls MXFP4_MOE.
_SHORT = {"MXFP4": "MXFP4_MOE"}
_FOLDER = Path(__file__).parent / "data/models"


@cache
def models() -> tuple[Model, ...]:
    """Every catalogue model, in the order of the data files."""
    rows = [row for entry in sorted(_FOLDER.glob("*.toml")) for row in tomllib.loads(entry.read_text("utf-8"))["model"]]
    return tuple(_model(row) for row in rows)


def _model(row: dict[str, Any]) -> Model:
    row = dict(row)
    row["names"] = tuple(row["names"])
    row["published_bytes"] = tuple(row.pop("published_bytes", {}).items())
    row.setdefault("key_length", row["hidden"] // row["heads"])
    row.setdefault("value_length", row["key_length"])
    return Model(**row)


@cache
def _by_name() -> dict[str, Model]:
    return {name: model for model in models() for name in model.names}


def find_model(name: str) -> Model:
    """The catalogue model called `name`. Raises UnknownName with the nearest known names."""
    found = _by_name().get(name.lower().removesuffix(":latest"))
    if found is None:
        raise UnknownName(
            f"unknown model {name!r}{did_you_mean(name, list(_by_name()))}; `python -m estimator models` shows all"
        )
    return found


def knows(name: str) -> bool:
    """Whether a catalogue model is called `name`."""
    return name.lower().removesuffix(":latest") in _by_name()


def find_mixture(quant: str) -> str:
    """The canonical spelling of a weight type ("q4_k_m" -> "Q4_K_M"). Raises UnknownName."""
    wanted = quant.upper().replace("-", "_")
    wanted = _SHORT.get(wanted, wanted)
    if wanted not in MIXTURES:
        raise UnknownName(
            f"unknown weight type {quant!r}{did_you_mean(wanted, list(MIXTURES))}; known: {', '.join(MIXTURES)}"
        )
    return wanted
