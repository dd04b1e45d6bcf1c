"""Which rows of a sweep are wanted: those that fit, the best by some quantity, or all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from estimator.errors import EstimatorError
from estimator.sweep.axes import Axes
from estimator.sweep.grid import YES, Floats, Rows

# Of what rows can be sorted by (options.SORTS), these are better the more.
MOST_FIRST = ("decode_tokens_per_s", "throughput_tokens_per_s", "margin_bytes")
# Sorting holds every row in memory (50 bytes each) unless --top says how many are wanted.
MOST_SORTED = 20_000_000


@dataclass(slots=True)
class Wanted:
    """Filter, order and number of rows. `computed` and `matching` count the scenarios while rows are taken."""

    axes: Axes
    only_fitting: bool = False
    sort: str | None = None
    top: int | None = None
    computed: int = 0
    matching: int = 0
    _output: Floats = field(init=False)
    _concurrency: Floats = field(init=False)

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise EstimatorError(f"--top {self.top}: ask for at least one row")
        self._output = np.array([work.output_tokens for work in self.axes.works], dtype=np.float64)
        self._concurrency = np.array([work.concurrency for work in self.axes.works], dtype=np.float64)

    def taken(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        """The wanted rows of `blocks`, in the wanted order. Raises EstimatorError where they are too many to sort."""
        if self.sort is None:
            yield from self._first(blocks)
            return
        best: list[Rows] = []
        for block in self._matching(blocks):
            best.append(block)
            if self.top is not None:
                best = [self._sorted(best)[: self.top]]
            elif self.matching > MOST_SORTED:
                raise EstimatorError(f"more than {MOST_SORTED:,} rows are too many to sort: say how many with --top")
        yield from [self._sorted(best)] if best else []

    def _first(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        left = self.top
        for block in self._matching(blocks):
            yield block if left is None else block[:left]
            left = None if left is None else max(0, left - len(block))

    def _matching(self, blocks: Iterable[Rows]) -> Iterator[Rows]:
        for block in blocks:
            self.computed += len(block)
            kept = block[block["fits"] == YES] if self.only_fitting else block
            self.matching += len(kept)
            yield kept

    def _sorted(self, parts: list[Rows]) -> Rows:
        rows = np.concatenate(parts)
        keys = self.quantity(rows, self.sort or "")
        keys = -keys if self.sort in MOST_FIRST else keys
        if self.top is not None and len(rows) > self.top:
            # Only what is no worse than the last wanted row needs an order; unknown (NaN) is worse than anything.
            keys = np.where(np.isnan(keys), np.inf, keys)
            near = keys <= np.partition(keys, self.top - 1)[self.top - 1]
            rows, keys = rows[near], keys[near]
        return rows[np.argsort(keys, kind="stable")]

    def quantity(self, rows: Rows, name: str) -> Floats:
        """A column of `rows`, or one that follows from columns: rates, and TTFT + (output - 1) x time per token."""
        step = rows["time_per_token_s"]
        found: Floats
        if name == "decode_tokens_per_s":
            found = 1 / step
        elif name == "throughput_tokens_per_s":
            found = self._concurrency[rows["work"]] / step
        elif name == "end_to_end_s":
            found = rows["ttft_s"] + (self._output[rows["work"]] - 1) * step
        else:
            found = rows[name]
        return found
