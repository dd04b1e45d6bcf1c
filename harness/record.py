"""The record of a run: what was asked, what the engine said of itself, each request, each sample.

Owns the record format. A journal is a sequence of lines, each one of the types below as a JSON
object with its `kind`; `Record` is the whole journal read back. Everything is raw: metrics are
computed on reading (metrics.py), so that a definition can be corrected without measuring again.

All instants are `time.perf_counter_ns()` of the machine that measured, shared by its processes;
wall-clock time stands once, in the header. SI units; the unit is the last word of a name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from harness.samples import Gpu
from harness.samples import Sample as Sample  # noqa: PLC0414 - part of this format
from harness.samples import Samples as Samples  # noqa: PLC0414

FORMAT = 3
# History: 1 (November 2026) first format.
# 2: load shapes (Cell.arrival, rate_per_s), characters of a chunk, the back end's client and what it claims,
#    HTTP status and rate limits of a request, the client's CPU time; power, energy and state of GPUs, energy of CPUs
#    and their faults beside each sample, and what was found of such sensors. All have defaults: 1 reads as it is.
# 3: readings of the whole machine (Sample.system), swap, threads, page faults and the part that cannot be evicted
#    beside each sample, the sampled process and what ended its sampling; more of the machine and of the probes in the
#    header. All have defaults: 2 reads as it is.

Phase = Literal["load", "warmup", "prime", "counted"]
Arrivals = Literal["closed", "constant", "poisson"]


class Chunk(NamedTuple):
    """One piece of the stream: bytes off the socket at `wire_ns`, parsed at `delivered_ns`.

    `tokens` is how many generated tokens the server says the piece holds, `characters` the length of
    its text; None where nobody says. `delivered_ns` is None where the client library passed nothing on.
    """

    wire_ns: int
    delivered_ns: int | None
    tokens: int | None
    characters: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server states them; None where it does not.

    `output_tokens` include `reasoning_tokens`; `hidden_tokens` are those of them that were not streamed.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    hidden_tokens: int | None = None

    def __post_init__(self) -> None:
        """Raises TypeError for a count that is no whole number: a journal that holds one cannot be read."""
        counts = self.prompt_tokens, self.output_tokens, self.cached_tokens, self.reasoning_tokens, self.hidden_tokens
        for count in counts:
            if count is not None and type(count) is not int:
                raise TypeError(f"{count!r} is no number of tokens")


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """Durations that the engine reports for itself; None where it does not.

    `prefill_s` covers the prompt tokens that were not cached; `decode_s` covers the output tokens
    after the first.
    """

    load_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the plan: what every request of it has in common.

    `depth_tokens` stand in the engine's KV cache before the prompt arrives (llama-bench's `-d`);
    `prompt_tokens` are prefilled, `output_tokens` generated. A closed load keeps `concurrency` streams
    busy; an open one sends `rate_per_s` requests whatever the server does.
    """

    backend: str
    model: str
    quant: str
    prompt_tokens: int
    output_tokens: int
    depth_tokens: int = 0
    concurrency: int = 1
    arrival: Arrivals = "closed"
    rate_per_s: float | None = None

    @property
    def is_load(self) -> bool:
        """Whether several requests run at once."""
        return self.concurrency > 1 or self.rate_per_s is not None

    @property
    def longest_tokens(self) -> int:
        """Tokens that one sequence of this cell holds at its end."""
        return self.depth_tokens + self.prompt_tokens + self.output_tokens

    @property
    def shape(self) -> str:
        """The request shape in words: "prompt 64, output 32, depth 512"."""
        parts = [f"prompt {self.prompt_tokens}", f"output {self.output_tokens}"]
        parts += [f"depth {self.depth_tokens}"] if self.depth_tokens else []
        parts += [f"{self.concurrency} streams"] if self.concurrency > 1 else []
        parts += [f"{self.arrival} {self.rate_per_s:g}/s"] if self.rate_per_s is not None else []
        return ", ".join(parts)

    @property
    def label(self) -> str:
        """The cell in words: "mistral:7b Q4_K_M, prompt 64, output 32"."""
        return f"{self.name}, {self.shape}"

    @property
    def name(self) -> str:
        """The model, with its weight type where one is known."""
        return f"{self.model} {self.quant}".strip()


@dataclass(frozen=True, slots=True)
class Host:
    """The machine: identity, not state."""

    cpu: str
    physical_cores: int
    logical_cores: int
    memory_total_bytes: int
    system: str
    python: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What makes two machines of one CPU differ; None: the system does not tell. Settings, such as the governor, too.

    `flags` are the CPU's instructions that engines choose kernels by; `virtualisation` is who virtualises it, or none.
    """

    flags: tuple[str, ...] = ()
    sockets: int | None = None
    numa_nodes: int | None = None
    governor: str | None = None
    max_hz: float | None = None
    virtualisation: str | None = None
    gpus: tuple[Gpu, ...] = ()
    gpu_note: str = ""


# Of the CPUs' time during a probe of half a second, which systems count in hundredths of a second.
DISTURBED_SHARE = 0.075


@dataclass(frozen=True, slots=True)
class Probes:
    """Short measurements of the machine before the run (None: not measured, with the reason in `note`).

    `client_overhead_s` is the median TTFT of an instant server on loopback; `temperature_c` the hottest sensor's;
    `others_share` the share of all CPUs that other processes and guests took while rates were probed.
    """

    read_bytes_per_s: float | None
    matmul_flop_per_s: float | None
    client_overhead_s: float | None
    load_average: float | None
    steal_share: float | None
    note: str = ""
    timer_resolution_s: float | None = None
    memory_available_bytes: int | None = None
    temperature_c: float | None = None
    others_share: float | None = None

    @property
    def disturbed(self) -> bool:
        """Whether other work made the rates lower than the machine's: then they bound nothing. Old runs do not say."""
        return self.others_share is not None and self.others_share > DISTURBED_SHARE


@dataclass(frozen=True, slots=True)
class RunHeader:
    """First line of a journal. `settings` is the plan as resolved; prompts are a recipe, not text."""

    run_id: str
    started_at: str
    harness_version: str
    host: Host
    probes: Probes
    settings: dict[str, Any]
    machine: Machine | None = None
    format: int = FORMAT
    kind: Literal["run"] = "run"


@dataclass(frozen=True, slots=True)
class Subject:
    """One engine with one model loaded, as the engine and the model file describe themselves.

    `model` holds the header facts of the model file (architecture, layers, ... and bytes per tensor
    type); `memory` the engine's own account in bytes (weights, repacked, kv_cache, compute, output);
    `options` what the engine was told. `client` is the library that sent the requests, with its
    version. `remote` engines run on another machine: no process of theirs can be sampled.
    """

    subject_id: str
    backend: str
    model_name: str
    quant: str
    engine: str
    engine_version: str
    system_info: str
    options: dict[str, Any]
    model: dict[str, Any]
    memory: dict[str, int]
    started_ns: int
    ready_ns: int
    client: str = ""
    remote: bool = False
    kind: Literal["subject"] = "subject"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, finished or failed; failed ones keep their chunks and their error.

    `status` is the HTTP status (None: no answer), `limits` the rate-limit headers that came with it.
    `claimed` is what the client library says of tokens; `cpu_s` this process's CPU time at the
    beginning and the end. `cost_usd` is what the server's own token counts cost, at the price in the
    run's header.
    """

    subject_id: str
    cell: Cell
    repeat: int
    phase: Phase
    scheduled_ns: int
    sent_ns: int
    ended_ns: int
    chunks: tuple[Chunk, ...]
    usage: Usage
    timings: ServerTimings
    error: str | None = None
    status: int | None = None
    limits: dict[str, str] = field(default_factory=dict)
    claimed: Usage | None = None
    cpu_s: tuple[float, float] | None = None
    cost_usd: float | None = None
    kind: Literal["request"] = "request"


@dataclass(frozen=True, slots=True)
class RunEnd:
    """Last line of a session of a run: why it stopped. A resumed run has one a session."""

    reason: Literal["done", "budget", "interrupted", "failed", "money"]
    detail: str = ""
    kind: Literal["end"] = "end"


Line = RunHeader | Subject | Request | Samples | RunEnd


@dataclass(frozen=True, slots=True)
class Record:
    """A journal read back: the header, and the lines of each kind in their order."""

    header: RunHeader
    subjects: tuple[Subject, ...] = ()
    requests: tuple[Request, ...] = ()
    samples: tuple[Samples, ...] = ()
    ends: tuple[RunEnd, ...] = ()
    torn_lines: int = 0
    path: str = field(default="", compare=False)
