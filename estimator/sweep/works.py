"""Works as columns: what the theory's formulas are given in place of one workload after the other.

A `Workload` of columns has an array in place of each number; what formulas branch on (KV type, flash attention,
micro-batch, whether a context was stated) is the same for all its entries. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from estimator.specs import Workload
from estimator.theory.roofline import micro_batches

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]
Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Passes:
    """The micro-batches of several prompts, one prompt after the other.

    `prompts` says which they are, `starts` where each begins, `last` is 1 for the last micro-batch of each.
    """

    prompts: slice
    batch_tokens: Any
    past_tokens: Any
    last: Floats
    starts: Indices


class Works:
    """The works at `chosen` of all works of a sweep, with the columns of their numbers."""

    def __init__(self, everything: Sequence[Workload], chosen: Sequence[int]) -> None:
        self.works = works = [everything[index] for index in chosen]
        self.indices = np.array(chosen, dtype=np.int32)
        self.concurrency: Floats = _column(works, "concurrency")
        self.room_tokens: Floats = _column(works, "room_tokens")
        self._of_one_cache = _alike(works, lambda work: (*_branches(work), work.kv_type))
        self._of_any_cache = _alike(works, _branches)
        self.kv_types, self.kv_type_of = _places([work.kv_type for work in works])
        prompts = [(work.prompt_tokens, work.depth_tokens, work.ubatch_tokens) for work in works]
        self._prompts, self.prompt_of = _places(prompts)
        self.prompts = len(self._prompts)
        self._passes: dict[int, tuple[Passes, ...]] = {}

    def each(self, amount: Callable[[Workload], Any], files: int, any_cache: bool = False) -> Floats:
        """`amount` of each file (a row) and work (a column), asked of columns of works.

        `any_cache`: it is the same whatever the type of the cache, which need not be alike in a column.
        """
        found = np.empty((files, len(self.works)))
        for at, columns in self._of_any_cache if any_cache else self._of_one_cache:
            found[:, at] = amount(columns)
        return found

    def passes(self, most: int) -> tuple[Passes, ...]:
        """The micro-batches of the different prompts, in the order of `prompt_of`, at most about `most` at a time."""
        if most not in self._passes:
            self._passes[most] = tuple(self._cut(most))
        return self._passes[most]

    def _cut(self, most: int) -> Iterator[Passes]:
        some: list[tuple[int, int]] = []
        starts: list[int] = []
        for end, (prompt, depth, ubatch) in enumerate(self._prompts, start=1):
            starts.append(len(some))
            some += micro_batches(prompt, depth, ubatch)
            if len(some) >= most or end == self.prompts:
                yield _passes(slice(end - len(starts), end), some, starts)
                some, starts = [], []


def _places(values: list[Value]) -> tuple[list[Value], Indices]:
    """The different values, and which of them each is."""
    place = {value: at for at, value in enumerate(dict.fromkeys(values))}
    return list(place), np.array([place[value] for value in values], dtype=np.int32)


def _passes(prompts: slice, some: list[tuple[int, int]], starts: list[int]) -> Passes:
    batch, past = np.array(some, dtype=np.float64).T
    last = np.zeros(len(some))
    last[[*(start - 1 for start in starts[1:]), -1]] = 1.0
    return Passes(prompts, batch, past, last, np.array(starts, dtype=np.int32))


def _branches(work: Workload) -> tuple[Any, ...]:
    """All of a work that formulas branch on, but the type of its cache."""
    return work.flash_attention, work.ubatch_tokens, work.context_tokens is None


def _alike(works: list[Workload], key: Callable[[Workload], Any]) -> list[tuple[Indices | slice, Workload]]:
    """Columns of works that have the same key, and which works they are."""
    alike: dict[Any, list[int]] = {}
    for at, work in enumerate(works):
        alike.setdefault(key(work), []).append(at)
    if len(alike) == 1:
        return [(slice(None), _columns(works))]
    return [(np.array(at, dtype=np.int32), _columns([works[index] for index in at])) for at in alike.values()]


def _columns(works: Sequence[Workload]) -> Workload:
    """One workload of columns, of works that are alike in all that formulas branch on."""
    first = works[0]
    context: Any = None if first.context_tokens is None else _column(works, "context_tokens")
    prompt, output, depth, concurrency = (
        _column(works, name) for name in ("prompt_tokens", "output_tokens", "depth_tokens", "concurrency")
    )
    return Workload(
        prompt, output, depth, concurrency, context, first.ubatch_tokens, first.flash_attention, first.kv_type
    )


def _column(works: Sequence[Workload], name: str) -> Any:
    # Not whole numbers: their products would overflow at 2^63 without a word.
    return np.array([getattr(work, name) for work in works], dtype=np.float64)
