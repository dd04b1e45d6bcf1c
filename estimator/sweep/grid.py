"""The numbers of a sweep: theory's amounts for all works of a model at once, times all hardware at once.

No formula stands here: estimator.theory counts, of `Workload`s whose numbers are columns (works.py). Amounts of a
(model, work) are computed once for all weight types; the last step is amounts against rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.specs import Hardware, Model, ModelFile
from estimator.sweep.axes import Axes
from estimator.sweep.works import Works
from estimator.theory import bounds, roofline, weights
from estimator.theory.buffers import most_rows, output_buffer_bytes
from estimator.theory.kv_cache import kv_cache_bytes
from estimator.theory.memory import MemoryNeed, device_buffer_bytes
from estimator.theory.split import fullest_layers_bytes, host_share_bytes

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
_BLOCK_ROWS = 250_000
# So many numbers at a time stay in a processor's cache.
_CACHED_NUMBERS = 16_384


def computed(axes: Axes) -> Iterator[Rows]:
    """All scenarios of `axes` in its order (file, work, hardware), in blocks of one file, as arrays of ROW."""
    machines = _Machines(axes.hardware)
    # Models of the same context hold the same works.
    blocks_of: dict[tuple[int, ...], list[Works]] = {}
    step = max(1, _BLOCK_ROWS // len(axes.hardware))
    known: tuple[Model, list[_Amounts]] | None = None
    for index, file in enumerate(axes.files):
        if known is None or known[0] is not file.model:
            chosen = tuple(axes.works_of(file))
            if len(chosen) > _BLOCK_ROWS:
                blocks_of.clear()  # as many columns as may be held
            if chosen not in blocks_of:
                blocks = (chosen[at : at + step] for at in range(0, len(chosen), step))
                blocks_of[chosen] = [Works(axes.works, block) for block in blocks]
            known = file.model, [_Amounts(file, works) for works in blocks_of[chosen]]
        for amounts in known[1]:
            yield _rows(index, file, amounts, machines)


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
    """What the theory counts for works on a model whatever its weight types: bytes and FLOP, one entry a work.

    `file` is any file of the model: a process's bound counts its tensors, which are as many with every type.
    """

    def __init__(self, file: ModelFile, works: Works) -> None:
        model = file.model
        self.model, self.works = model, works
        self._buffers: dict[int, Floats] = {}
        self.cache = works.each(lambda work: kv_cache_bytes(model, work))
        self.compute = works.each(lambda work: bounds.most_compute_bytes(file, work))
        # The bound of a process is a whole number, as in `predict`.
        self.runtime = np.rint(works.each(lambda work: bounds.most_runtime_bytes(file, work)))
        self.output = works.each(lambda work: output_buffer_bytes(model, work))

    def device_buffers(self, devices: int) -> Floats:
        """The most that buffers take on each of `devices`."""
        if devices not in self._buffers:
            self._buffers[devices] = self.output + self.works.each(
                lambda work: device_buffer_bytes(self.model, work, devices, most_rows(work))
            )
        return self._buffers[devices]


def _rows(index: int, file: ModelFile, amounts: _Amounts, machines: _Machines) -> Rows:
    shape = len(amounts.works.works), len(machines.free)
    rows = np.empty(shape, dtype=ROW)
    rows["file"] = index
    rows["work"] = amounts.works.indices[:, None]
    rows["hardware"] = np.arange(shape[1])
    rows["needed_bytes"], rows["margin_bytes"], rows["fits"] = _memory(file, amounts, machines)
    prefill = _prefill_s(file, amounts, machines)
    # Prompts that arrive together are prefilled together, as in `predict`.
    rows["ttft_s"] = prefill * amounts.works.concurrency[:, None]
    rows["time_per_token_s"] = _step_s(file, amounts, machines)
    return rows.reshape(-1)


def _memory(file: ModelFile, amounts: _Amounts, machines: _Machines) -> tuple[Floats, Floats, npt.NDArray[np.int8]]:
    found = [_needed(file, amounts, kind, devices) for kind, devices in machines.classes]
    needed = np.stack([needed for needed, _ in found], axis=1)[:, machines.class_of]
    anonymous = np.stack([anonymous for _, anonymous in found], axis=1)[:, machines.class_of]
    yes = np.where(machines.on_cpu, YES, UNKNOWN if file.model.kv_lora_rank else YES)
    fits = np.where(needed <= machines.free, yes, np.where(anonymous <= machines.free, TIGHT, NO))
    fits = np.where(np.isnan(machines.free), UNKNOWN, fits)
    if not np.isnan(machines.host_free).all():
        fits = np.where(_on_host(file, amounts)[:, None] > machines.host_free, NO, fits)
    return needed, machines.free - needed, fits.astype(np.int8)


def _needed(file: ModelFile, amounts: _Amounts, kind: str, devices: int) -> tuple[Floats, Floats]:
    """Bytes that must stay for full speed, and of these what cannot be evicted at all, for each work."""
    if kind == "cpu":
        need = _process(weights.mapped_bytes(file), weights.repacked_bytes(file), amounts.cache, amounts)
        anonymous: Any = need.anonymous_bytes
        return anonymous + need.hot_file_bytes, anonymous
    whole: Any = amounts.cache
    if kind == "unified":
        whole = whole + file.weight_bytes
    elif devices == 1:
        whole = whole + file.weight_bytes - weights.host_weight_bytes(file)
    else:
        whole = np.array([fullest_layers_bytes(file, work, devices) for work in amounts.works.works], dtype=np.float64)
    whole = (whole + amounts.device_buffers(devices)) * devices
    return whole, whole


def _on_host(file: ModelFile, amounts: _Amounts) -> Floats:
    """What the host of GPUs that hold all layers needs: its own buffers and the weights that stay with it."""
    held = host_share_bytes(file, amounts.works.works[0])[0]
    need = _process(held, min(held, weights.repacked_bytes(file)), 0.0, amounts)
    needed: Any = need.anonymous_bytes + need.hot_file_bytes
    found: Floats = needed
    return found


def _process(held: int, repacked: int, cache: Floats | float, amounts: _Amounts) -> MemoryNeed:
    """The upper bound of a process on the CPU, with arrays for what differs by work."""
    parts: Any = (held, repacked, cache, amounts.compute, amounts.output, amounts.runtime, bounds.LIBRARIES_BYTES)
    return MemoryNeed(*parts)


def _step_s(file: ModelFile, amounts: _Amounts, machines: _Machines) -> Floats:
    works = amounts.works
    read = works.each(lambda work: roofline.decode_bytes(file, work, roofline.mean_context_tokens(work)))
    flop = works.each(lambda work: roofline.decode_flop(file, work, roofline.mean_context_tokens(work)))
    arithmetic_s = flop[:, None] / np.where(np.isnan(machines.compute), np.inf, machines.compute)
    longest: Floats = np.maximum(read[:, None] / machines.bandwidth, arithmetic_s)
    return longest


def _prefill_s(file: ModelFile, amounts: _Amounts, machines: _Machines) -> Floats:
    """Of each work's prompt: Σ micro-batches max(bytes / bandwidth, FLOP / compute), as in roofline.prefill_time_s."""
    found = []
    for passes in amounts.works.passes(_CACHED_NUMBERS // len(machines.free)):
        batch, past, last = passes.batch_tokens, passes.past_tokens, passes.last
        flop = roofline.pass_flop(file, batch, past) + last * weights.head_flop_per_token(file)
        read = np.empty(len(batch))
        for kv_type, at in passes.by_kv_type.items():
            read[at] = roofline.pass_bytes(file, batch[at], past[at], kv_type)
        read += last * weights.head_read_bytes(file)
        passes_s = np.maximum(read[:, None] / machines.bandwidth, flop[:, None] / machines.compute)
        found.append(np.add.reduceat(passes_s, passes.starts, axis=0))
    return np.concatenate(found)[amounts.works.prompt_of]


def _column(values: Iterator[float | None] | Any) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
