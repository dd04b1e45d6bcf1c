"""The numbers of a sweep: theory's amounts for all works of a model at once, times all hardware at once.

No formula stands here: estimator.theory counts, of `Workload`s whose numbers are columns (works.py). Amounts of a
(model, work) are computed once for all weight types; the last step is amounts against rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.specs import Hardware, Workload
from estimator.sweep.axes import Axes
from estimator.sweep.files import Stack, stacked
from estimator.sweep.works import Works
from estimator.theory import bounds, roofline, weights
from estimator.theory.buffers import most_rows, output_buffer_bytes
from estimator.theory.columns import smaller
from estimator.theory.kv_cache import kv_cache_bytes
from estimator.theory.memory import MemoryNeed, device_buffer_bytes
from estimator.theory.split import host_share_bytes, largest_run_bytes, layer_cache_bytes, layer_runs

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.void]

FITS = ("no", "tight", "yes", "unknown")
NO, TIGHT, YES, UNKNOWN = range(len(FITS))
# One scenario: indices into the axes, and its numbers; NaN where unknown.
ROW = np.dtype(
    [
        ("file", "i4"),
        ("work", "i4"),
        ("hardware", "i4"),
        ("fits", "i1"),
        ("needed_bytes", "f8"),
        ("margin_bytes", "f8"),
        ("ttft_s", "f8"),
        ("time_per_token_s", "f8"),
    ]
)
# So many rows are held at a time.
_BLOCK_ROWS = 65_536
# So many numbers at a time stay in a processor's cache.
_CACHED_NUMBERS = 16_384


def computed(axes: Axes) -> Iterator[Rows]:
    """All scenarios of `axes` in its order (file, work, hardware), in blocks, as arrays of ROW."""
    machines = _Machines(axes.hardware)
    for indices, works in _blocks(axes):
        yield _rows(axes, indices, works, machines)


def _blocks(axes: Axes) -> Iterator[tuple[range, Works]]:
    """Which files with which works make a block: some files with all works, or of one file some at a time."""
    most = max(1, _BLOCK_ROWS // len(axes.hardware))
    step = max(1, most // len(axes.works))
    # The works that models of a context hold, of several files those of the longest.
    blocks_of: dict[int, list[Works]] = {}
    for first in range(0, len(axes.files), step):
        files = axes.files[first : first + step]
        longest = max(files, key=lambda file: file.model.context_tokens)
        context = longest.model.context_tokens
        if context not in blocks_of:
            if len(axes.works) > _BLOCK_ROWS:
                blocks_of.clear()  # as many columns as may be held
            chosen = axes.works_of(longest)
            blocks_of[context] = [Works(axes.works, chosen[at : at + most]) for at in range(0, len(chosen), most)]
        for works in blocks_of[context]:
            yield range(first, first + len(files)), works


class _Machines:
    """The hardware as columns; NaN where unknown. `classes` are the kinds of memory that there are among it."""

    def __init__(self, hardware: Sequence[Hardware]) -> None:
        self.bandwidth = _column(machine.bandwidth_bytes_per_s for machine in hardware)
        self.compute = _column(machine.compute_flop_per_s for machine in hardware)
        self.free = _column(machine.memory_free_bytes for machine in hardware)
        self.host_free = _column(
            None if machine.host is None else machine.host.memory_free_bytes for machine in hardware
        )
        kinds = [(machine.kind, machine.devices) for machine in hardware]
        self.classes = sorted(set(kinds))
        self.class_of = np.array([self.classes.index(kind) for kind in kinds])
        self.on_cpu = np.array([machine.kind == "cpu" for machine in hardware])


class _Amounts:
    """What the theory counts for the files of a stack and works: bytes, in tables of files x works."""

    def __init__(self, stack: Stack, works: Works) -> None:
        self.stack, self.file, self.works = stack, stack.columns, works
        self._buffers: dict[int, Floats] = {}

    def each(self, amount: Callable[[Workload], Any], any_cache: bool = False) -> Floats:
        """`amount` of every file and work; see `Works.each`."""
        return self.works.each(amount, len(self.stack.files), any_cache)

    @cached_property
    def cache(self) -> Floats:
        return self.each(lambda work: kv_cache_bytes(self.file.model, work))

    @cached_property
    def compute(self) -> Floats:
        return self.each(lambda work: bounds.most_compute_bytes(self.file, work), any_cache=True)

    @cached_property
    def runtime(self) -> Floats:
        """A whole number, as in `predict`."""
        return np.rint(self.each(lambda work: bounds.most_runtime_bytes(self.file, work), any_cache=True))

    @cached_property
    def output(self) -> Floats:
        return self.each(lambda work: output_buffer_bytes(self.file.model, work), any_cache=True)

    def device_buffers(self, devices: int) -> Floats:
        """The most that buffers take on each of `devices`: as many as those of two where they are more."""
        devices = min(devices, 2)
        if devices not in self._buffers:
            self._buffers[devices] = self.output + self.each(
                lambda work: device_buffer_bytes(self.file.model, work, devices, most_rows(work)), any_cache=True
            )
        return self._buffers[devices]

    @cached_property
    def layer_caches(self) -> tuple[Floats, Floats]:
        """Cache of a layer that attends over the whole context, and of one with a window."""
        model = self.file.model
        whole = self.each(lambda work: layer_cache_bytes(model, work)[0])
        return whole, self.each(lambda work: layer_cache_bytes(model, work)[1])

    def fullest_layers(self, devices: int) -> Floats:
        """Weights and cache of the fullest of `devices`: no two models share out their layers alike."""
        found: list[Any] = []
        for file, *caches in zip(self.stack.files, *self.layer_caches, strict=True):
            found.append(largest_run_bytes(layer_runs(file, file.model.layers + 1, devices), *caches))
        return np.stack(found)


def _rows(axes: Axes, indices: range, works: Works, machines: _Machines) -> Rows:
    files = [axes.files[index] for index in indices]
    rows = np.empty((len(files), len(works.works), len(machines.free)), dtype=ROW)
    rows["file"] = np.array(indices)[:, None, None]
    rows["work"] = works.indices[:, None]
    rows["hardware"] = np.arange(len(machines.free))
    for stack in stacked(files):
        amounts = _Amounts(stack, works)
        for name, column in zip(("needed_bytes", "margin_bytes", "fits"), _memory(amounts, machines), strict=True):
            rows[name][stack.at] = column
        # Prompts that arrive together are prefilled together, as in `predict`.
        rows["ttft_s"][stack.at] = _prefill_s(amounts, machines) * works.concurrency[:, None]
        rows["time_per_token_s"][stack.at] = _step_s(amounts, machines)
    held = works.room_tokens <= np.array([file.model.context_tokens for file in files])[:, None]
    if held.all():
        return rows.reshape(-1)
    # Seventy times as fast as rows[held], which copies field by field.
    return rows.reshape(-1, rows.shape[2]).take(np.flatnonzero(held), axis=0).reshape(-1)


def _memory(amounts: _Amounts, machines: _Machines) -> tuple[Floats, Floats, npt.NDArray[np.int8]]:
    found = [_needed(amounts, kind, devices) for kind, devices in machines.classes]
    needed = np.stack([needed for needed, _ in found], axis=2)[:, :, machines.class_of]
    anonymous = np.stack([anonymous for _, anonymous in found], axis=2)[:, :, machines.class_of]
    yes = np.where(machines.on_cpu, YES, UNKNOWN if amounts.file.model.kv_lora_rank else YES)
    fits = np.where(needed <= machines.free, yes, np.where(anonymous <= machines.free, TIGHT, NO))
    fits = np.where(np.isnan(machines.free), UNKNOWN, fits)
    if not np.isnan(machines.host_free).all():
        fits = np.where(_on_host(amounts)[:, :, None] > machines.host_free, NO, fits)
    return needed, machines.free - needed, fits.astype(np.int8)


def _needed(amounts: _Amounts, kind: str, devices: int) -> tuple[Floats, Floats]:
    """Bytes that must stay for full speed, and of these what cannot be evicted at all."""
    file = amounts.file
    if kind == "cpu":
        need = _process(weights.mapped_bytes(file), weights.repacked_bytes(file), amounts.cache, amounts)
        anonymous: Any = need.anonymous_bytes
        return anonymous + need.hot_file_bytes, anonymous
    whole: Any
    if kind == "unified":
        whole = amounts.cache + file.weight_bytes
    elif devices == 1:
        whole = amounts.cache + file.weight_bytes - weights.host_weight_bytes(file)
    else:
        whole = amounts.fullest_layers(devices)
    whole = (whole + amounts.device_buffers(devices)) * devices
    return whole, whole


def _on_host(amounts: _Amounts) -> Floats:
    """What the host of GPUs that hold all layers needs: its own buffers and the weights that stay with it."""
    held: Any = np.array([[host_share_bytes(file, amounts.works.works[0])[0]] for file in amounts.stack.files])
    need = _process(held, smaller(held, weights.repacked_bytes(amounts.file)), 0.0, amounts)
    needed: Any = need.anonymous_bytes + need.hot_file_bytes
    found: Floats = needed
    return found


def _process(held: int, repacked: int, cache: Floats | float, amounts: _Amounts) -> MemoryNeed:
    """The upper bound of a process on the CPU, with tables for what differs by file and work."""
    parts: Any = (held, repacked, cache, amounts.compute, amounts.output, amounts.runtime, bounds.LIBRARIES_BYTES)
    return MemoryNeed(*parts)


def _step_s(amounts: _Amounts, machines: _Machines) -> Floats:
    file = amounts.file
    read = amounts.each(lambda work: roofline.decode_bytes(file, work, roofline.mean_context_tokens(work)))
    flop = amounts.each(
        lambda work: roofline.decode_flop(file, work, roofline.mean_context_tokens(work)), any_cache=True
    )
    arithmetic_s = flop[:, :, None] / np.where(np.isnan(machines.compute), np.inf, machines.compute)
    longest: Floats = np.maximum(read[:, :, None] / machines.bandwidth, arithmetic_s)
    return longest


def _prefill_s(amounts: _Amounts, machines: _Machines) -> Floats:
    """Of each work's prompt: Σ micro-batches max(bytes / bandwidth, FLOP / compute), as in roofline.prefill_time_s."""
    file, works, files, hardware = amounts.file, amounts.works, len(amounts.stack.files), len(machines.free)
    sums = np.empty((files, len(works.kv_types), works.prompts, hardware))
    for passes in works.passes(max(1, _CACHED_NUMBERS // (files * hardware))):
        batch, past, last = passes.batch_tokens, passes.past_tokens, passes.last
        shape = files, len(batch), 1
        flop = _table(roofline.pass_flop(file, batch, past) + last * weights.head_flop_per_token(file), shape)
        head = last * weights.head_read_bytes(file)
        read = [_table(roofline.pass_bytes(file, batch, past, kv_type) + head, shape) for kv_type in works.kv_types]
        some = max(1, _CACHED_NUMBERS // (len(batch) * hardware))
        for turn in (slice(at, at + some) for at in range(0, files, some)):
            arithmetic_s = flop[turn] / machines.compute
            for at, table in enumerate(read):
                passes_s = np.maximum(table[turn] / machines.bandwidth, arithmetic_s)
                sums[turn, at, passes.prompts] = np.add.reduceat(passes_s, passes.starts, axis=1)
    return sums[:, works.kv_type_of, works.prompt_of]


def _table(amounts: Any, shape: tuple[int, int, int]) -> Floats:
    """`amounts` of files x passes, whether they differ by file or not, ready for a column of hardware."""
    return np.broadcast_to(amounts, shape[:2]).reshape(shape)


def _column(values: Iterator[float | None] | Any) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
