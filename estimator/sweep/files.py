"""Model files as columns: what the theory's formulas are given in place of one file after the other.

A `ModelFile` of columns has a column (files x 1) in place of each number that differs; with the columns of works
(works.py) a formula makes tables of files x works. What formulas branch on is the same for all of its files.
Nothing is computed here.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from estimator.specs import Model, ModelFile, WeightGroup, WeightRole
from estimator.theory.columns import PECULIAR
from estimator.theory.weights import X86_AVX2_REPACKED_TYPES

_NUMBERS = (*(field.name for field in fields(Model) if field.type == "int"), "sliding_window_tokens")
# Of its block type theory asks only whether a matrix is repacked: two types stand for all.
_TYPES = ("F16", min(X86_AVX2_REPACKED_TYPES))


@dataclass(frozen=True, slots=True)
class Stack:
    """Files alike: the files, where each stands among all that were given, and `columns`, their numbers."""

    files: tuple[ModelFile, ...]
    at: list[int] | slice
    columns: ModelFile


def stacked(files: Sequence[ModelFile]) -> list[Stack]:
    """`files` as few stacks."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for at, file in enumerate(files):
        alike.setdefault(_structure(file.model), []).append(at)
    if len(alike) == 1:
        return [Stack(tuple(files), slice(None), _columns(files))]
    stacks = ((at, tuple(files[index] for index in at)) for at in alike.values())
    return [Stack(some, at, _columns(some)) for at, some in stacks]


def _structure(model: Model) -> tuple[Any, ...]:
    """All of a model that formulas branch on."""
    peculiar = model.architecture if model.architecture in PECULIAR else ""
    latent = (model.kv_lora_rank, model.rope_length) if model.kv_lora_rank else ()
    return peculiar, latent, model.sliding_window_tokens is None, model.experts > 0


def _columns(files: Sequence[ModelFile]) -> ModelFile:
    models = {id(file.model): file.model for file in files}
    place = {key: at for at, key in enumerate(models)}
    of_file = [place[id(file.model)] for file in files]
    values = zip(*map(operator.attrgetter(*_NUMBERS), models.values()), strict=True)
    numbers: dict[str, Any] = dict(zip(_NUMBERS, map(_column, values), strict=True))
    spread = {name: number if np.ndim(number) == 0 else number[of_file] for name, number in numbers.items()}
    return ModelFile(replace(files[0].model, **spread), "", _groups(files))


def _groups(files: Sequence[ModelFile]) -> tuple[WeightGroup, ...]:
    """The groups by role and whether they are repacked, added up; a file that has none of a kind has no elements."""
    found: dict[tuple[WeightRole, bool], list[list[int]]] = {}
    for at, file in enumerate(files):
        for group in file.groups:
            kind = group.role, group.quant_type in X86_AVX2_REPACKED_TYPES
            if kind not in found:
                found[kind] = [[0] * len(files) for _ in range(3)]
            elements, sizes, tensors = found[kind]
            elements[at] += group.elements
            sizes[at] += group.size_bytes
            tensors[at] += group.tensors
    return tuple(
        WeightGroup(role, _TYPES[repacked], *(_column(numbers) for numbers in columns))
        for (role, repacked), columns in found.items()
    )


def _column(values: Sequence[Any]) -> Any:
    """An upright column; of numbers that are all the same the number itself."""
    first = values[0]
    if all(value == first for value in values):
        return first
    return np.array(values, dtype=np.float64)[:, None]
