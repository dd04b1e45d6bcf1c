"""Simulated runs to compare: records whose noise is stated. Used by tests and by `tests.benchmarks.comparing`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from harness.goal import Counted
from harness.metrics import is_settled
from harness.record import Cell, Chunk, Record, Request, ServerTimings, Usage
from tests.harness.making import header, subject

SHAPES = ((48, 16), (24, 24), (160, 8), (512, 32))
PREFILL_S, DECODE_S = 0.002, 0.020


@dataclass(frozen=True, slots=True)
class Noise:
    """Relative standard deviations: of the machine's drift, which all cells share and which is an autoregression over
    the visits with this memory (in visits); of each request; and the share and mean size of stalls (exponential)."""

    drift: float = 0.0
    memory: float = 10.0
    request: float = 0.02
    stalls: float = 0.05
    stall_size: float = 0.2


class Machine:
    """What a machine does to the speed from visit to visit."""

    def __init__(self, noise: Noise, rng: np.random.Generator) -> None:
        self._noise, self._rng = noise, rng
        self._keep = math.exp(-1 / noise.memory)
        self._state = rng.normal()

    def visited(self) -> None:
        """Goes on by a visit."""
        self._state = self._keep * self._state + math.sqrt(1 - self._keep**2) * self._rng.normal()

    def factor(self) -> float:
        """How much longer something takes now."""
        noise = self._noise
        log = noise.drift * self._state + noise.request * self._rng.normal()
        return math.exp(log) * (1 + (self._rng.random() < noise.stalls) * self._rng.exponential(noise.stall_size))


def asked(cell: Cell, machine: Machine, at_ns: int, repeat: int, slower: float = 1.0) -> Request:
    """A request of `cell`: TTFT and TPOT each with noise of their own, the machine's drift in both."""
    first = round(1e9 * slower * cell.prompt_tokens * PREFILL_S * machine.factor())
    rest = round(1e9 * slower * (cell.output_tokens - 1) * DECODE_S * machine.factor())
    chunks = (Chunk(at_ns + first, None, 1), Chunk(at_ns + first + rest, None, cell.output_tokens - 1))
    usage = Usage(cell.prompt_tokens, cell.output_tokens, 0)
    return Request(
        "0.0", cell, repeat, "counted", at_ns, at_ns, at_ns + first + rest, chunks, usage, ServerTimings()
    )  # fmt: skip


def cells(backend: str = "simulated") -> list[Cell]:
    """Four cells of one model."""
    return [Cell(backend, "m", "Q8_0", prompt, output) for prompt, output in SHAPES]


def run(noise: Noise, seed: int, slower: float = 1.0, repeats: int | None = None, budget_s: float = 300.0) -> Record:
    """A run of four cells in rounds of random order, as `harness run` does it: until the medians are settled to 3 %
    or the budget is spent; or of so many repeats."""
    rng = np.random.default_rng(seed)
    machine, found, done = Machine(noise, rng), list[Request](), {cell: Counted() for cell in cells()}
    at_ns = 0
    while due := [cell for cell, counted in done.items() if not _enough(counted, repeats)]:
        for cell in (due[at] for at in rng.permutation(len(due))):
            machine.visited()
            request = asked(cell, machine, at_ns, done[cell].count, slower)
            found.append(request)
            done[cell].take(request)
            at_ns = request.ended_ns
        if repeats is None and at_ns > budget_s * 1e9:
            break
    return _record(found, f"run-{seed}")


def _enough(counted: Counted, repeats: int | None) -> bool:
    if repeats is not None:
        return counted.count >= repeats
    return all(is_settled(values, 0.03) for values in (counted.ttft_s, counted.tpot_s))


def interleaved(noise: Noise, seed: int, slower: float, repeats: int) -> Record:
    """One run of two back ends, x and y, whose cells alternate; y is slower by the factor."""
    rng = np.random.default_rng(seed)
    machine, found, at_ns = Machine(noise, rng), list[Request](), 0
    for repeat in range(repeats):
        due = [*cells("x"), *cells("y")]
        for cell in (due[at] for at in rng.permutation(len(due))):
            machine.visited()
            found.append(asked(cell, machine, at_ns, repeat, slower if cell.backend == "y" else 1.0))
            at_ns = found[-1].ended_ns
    return _record(found, f"run-{seed}", ("x", "y"))


def queue(load: float, seed: int, count: int = 300, slower: float = 1.0) -> Record:
    """An open Poisson load on a server with one slot: latency holds the wait in the queue, so neighbours depend."""
    rng = np.random.default_rng(seed)
    machine = Machine(Noise(request=0.05), rng)
    cell = Cell("simulated", "m", "Q8_0", 48, 16, arrival="poisson", rate_per_s=load / 0.4)
    found, free_ns = list[Request](), 0
    for due_ns in _arrivals_ns(rng, load / 0.4, count):
        start = max(free_ns, due_ns)
        request = asked(cell, machine, start, 0, slower)
        found.append(replace(request, scheduled_ns=due_ns, sent_ns=due_ns))
        free_ns = request.ended_ns
    return _record(found, f"run-{seed}")


def _arrivals_ns(rng: np.random.Generator, rate_per_s: float, count: int) -> Iterator[int]:
    yield from (round(1e9 * at) for at in np.sort(rng.random(count)) * count / rate_per_s)


def _record(requests: list[Request], name: str, backends: tuple[str, ...] = ("simulated",)) -> Record:
    subjects = tuple(replace(subject(), backend=backend, model_name="m", quant="Q8_0") for backend in backends)
    return Record(replace(header(), run_id=name), subjects, tuple(requests), path=name)
