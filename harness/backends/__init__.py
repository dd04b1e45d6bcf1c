"""Back ends: what each engine or API looks like to the runner. One file each; none looks at the clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.plan import Plan
from harness.record import Usage
from harness.target import Door, Target
from harness.watch import Watcher
from harness.wire.streams import Reader
from harness.wire.tap import Clock


class NotThere(HarnessError):
    """A back end that cannot be reached or lacks something; the line says what, and the others go on."""

    exit_status = 6


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `prompt` is of what `vocabulary` gives: token ids, or words where the server takes text.

    The first `keep` of them are expected in the cache of `slot` already; with 0 the engine must
    prefill everything.
    """

    prompt: tuple[int, ...] | tuple[str, ...]
    output_tokens: int
    keep: int = 0
    slot: int = -1


@dataclass(frozen=True, slots=True)
class Facts:
    """What a running engine says of itself; see record.Subject for the fields.

    `slots` is how many sequences can be addressed one by one (None: the server deals them out, and
    nothing can be kept in its cache on purpose). `exact` is whether an answer has as many tokens as
    were asked, and a prompt as many as were drawn. `cold` is whether the first request loads the model.
    """

    engine: str
    engine_version: str = ""
    system_info: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    pid: int | None = None
    slots: int | None = None
    context_tokens: int = 0
    client: str = ""
    remote: bool = False
    exact: bool = False
    cold: bool = False


class Backend(Protocol):
    """A running engine with one model. Made by an opener of its file, closed by it."""

    @property
    def stream(self) -> Reader | None:
        """How to read its answers off the wire; None where only the library's deliveries can be seen."""

    async def describe(self) -> Facts:
        """What the engine says of itself. Raises RequestFailed."""

    async def vocabulary(self) -> tuple[int, ...] | tuple[str, ...]:
        """What prompts are drawn from: ids of ordinary tokens, or words. Raises RequestFailed."""

    def generate(self, ask: Ask) -> AsyncGenerator[Usage | None, None]:
        """Sends the request and yields as the client library delivers.

        None for each event with generated text, a Usage where the library says one. Raises
        RequestFailed.
        """

    def learn(self, ask: Ask, usage: Usage) -> None:
        """Takes into account how many tokens the server counted for `ask`."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A back end that answers. `pid` is the process to sample; `log` holds the engine's own words, where it is ours."""

    backend: Backend
    pid: int | None = None
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a back end is opened for. `log` is where an engine of ours writes."""

    target: Target
    plan: Plan
    door: Door
    log: Path
    clock: Clock
    watcher: Watcher


# Opens a back end for the time of a block. Raises NotThere, HarnessError.
Opener = Callable[[Call], AbstractAsyncContextManager[Opened]]
