"""Works as columns: what the theory's formulas are given in place of one workload after the other.

A `Workload` of columns has an array in place of each number; what formulas branch on (KV type, flash attention,
micro-batch, whether a context was stated) is the same for all its entries. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.specs import Workload
from estimator.theory.roofline import micro_batches

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Passes:
    """The micro-batches of several prompts, one prompt after the other.

    `starts` is where each prompt begins, `last` is 1 for the last micro-batch of each, `by_kv_type` says which
    micro-batches read a cache of which type.
    """

    batch_tokens: Any
    past_tokens: Any
    last: Floats
    starts: Indices
    by_kv_type: dict[str, Indices]


class Works:
    """The works at `chosen` of all works of a sweep, with the columns of their numbers."""

    def __init__(self, everything: Sequence[Workload], chosen: Sequence[int]) -> None:
        self.works = works = [everything[index] for index in chosen]
        self.indices = np.array(chosen, dtype=np.int32)
        self.concurrency: Floats = _column(works, "concurrency")
        alike: dict[tuple[Any, ...], list[int]] = {}
        prompts: dict[tuple[int, int, int, str], int] = {}
        prompt_of = []
        for at, work in enumerate(works):
            key = (work.kv_type, work.flash_attention, work.ubatch_tokens, work.context_tokens is None)
            alike.setdefault(key, []).append(at)
            prompt = (work.prompt_tokens, work.depth_tokens, work.ubatch_tokens, work.kv_type)
            prompt_of.append(prompts.setdefault(prompt, len(prompts)))
        self.prompt_of = np.array(prompt_of, dtype=np.int32)
        self._prompts = list(prompts)
        self._passes: dict[int, tuple[Passes, ...]] = {}
        self._alike = [(np.array(at, dtype=np.int32), _columns([works[i] for i in at])) for at in alike.values()]

    def each(self, amount: Callable[[Workload], Any]) -> Floats:
        """`amount` of each work, asked of columns of them."""
        found = np.empty(len(self.works))
        for at, columns in self._alike:
            found[at] = amount(columns)
        return found

    def passes(self, most: int) -> tuple[Passes, ...]:
        """The micro-batches of the different prompts, in the order of `prompt_of`, at most about `most` at a time."""
        if most not in self._passes:
            self._passes[most] = tuple(self._cut(most))
        return self._passes[most]

    def _cut(self, most: int) -> Iterator[Passes]:
        some: list[tuple[int, int, str]] = []
        starts: list[int] = []
        for prompt, depth, ubatch, kv_type in self._prompts:
            if len(some) >= most:
                yield _passes(some, starts)
                some, starts = [], []
            starts.append(len(some))
            some += [(batch, past, kv_type) for batch, past in micro_batches(prompt, depth, ubatch)]
        yield _passes(some, starts)


def _passes(some: list[tuple[int, int, str]], starts: list[int]) -> Passes:
    batch, past, kinds = (np.array(column) for column in zip(*some, strict=True))
    last = np.zeros(len(some))
    last[[*(start - 1 for start in starts[1:]), -1]] = 1.0
    by_kv_type = {str(kind): np.flatnonzero(kinds == kind).astype(np.int32) for kind in np.unique(kinds)}
    return Passes(batch.astype(np.float64), past.astype(np.float64), last, np.array(starts, dtype=np.int32), by_kv_type)


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
