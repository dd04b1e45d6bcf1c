"""The engine's models: which are installed, which are loaded and until when, which blobs were uploaded.

One law holds for all of them. Whatever a request asks for by name comes from here; the nameless
model of llama.cpp's protocol is loaded as long as the engine runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256

from harness.simulated.clock import Clock

# The model of an engine that was told of none: nobody takes it for a real one.
NAMELESS = "simulated"
DEFAULT_MODELS = ("mistral:latest",)
KEEP_ALIVE_S = 300.0

# What can be pulled, by its size.
REGISTRY_BYTES = {
    "mistral:latest": 4_372_824_384,
    "mistral:7b": 4_372_824_384,
    "llama3.2:1b": 1_321_098_329,
    "llama3.2:3b": 2_019_393_189,
    "qwen2.5:0.5b": 397_821_319,
    "tinyllama:latest": 637_700_138,
}
CREATED_BYTES = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Installed:
    """A model on the engine's disk."""

    name: str
    size_bytes: int
    modified_wall_s: float

    @property
    def digest(self) -> str:
        """A digest that the name determines."""
        return sha256(self.name.encode()).hexdigest()


@dataclass(slots=True)
class Loaded:
    """A model in memory: since `ready_s`, until `expires_s` unless `users` requests still need it."""

    context_tokens: int
    ready_s: float
    expires_s: float = math.inf
    users: int = 0


@dataclass(slots=True, eq=False)
class Library:
    """All models. `load_s` is what loading one takes; `keep_alive_s` how long one stays where no request says."""

    clock: Clock
    load_s: float
    context_tokens: int
    keep_alive_s: float = KEEP_ALIVE_S
    installed: dict[str, Installed] = field(default_factory=dict)
    blobs: dict[str, int] = field(default_factory=dict)
    in_memory: dict[str, Loaded] = field(default_factory=dict)

    def install(self, name: str, size_bytes: int = CREATED_BYTES) -> None:
        """Put a model on the disk; whatever had its name is gone."""
        self.in_memory.pop(full_name(name), None)
        self.installed[full_name(name)] = Installed(full_name(name), size_bytes, time.time())

    def remove(self, name: str) -> bool:
        """Take a model from disk and memory; whether there was one."""
        self.in_memory.pop(full_name(name), None)
        return self.installed.pop(full_name(name), None) is not None

    def knows(self, name: str) -> bool:
        """Whether requests may name it."""
        return name == NAMELESS or full_name(name) in self.installed

    def loaded(self) -> dict[str, Loaded]:
        """What is in memory now."""
        now_s = self.clock.now_s()
        for name, entry in list(self.in_memory.items()):
            if not entry.users and entry.expires_s <= now_s:
                del self.in_memory[name]
        return self.in_memory

    def unload(self, name: str) -> None:
        """Drop it from memory, as soon as no request needs it."""
        entry = self.in_memory.get(full_name(name))
        if entry is not None:
            entry.expires_s = self.clock.now_s()

    async def ready_s(self, name: str, context_tokens: int, since_s: float) -> float:
        """Return when the model is in memory, and say since when: `since_s` where it has been all along.

        A model that is loaded for another context is loaded anew, as in Ollama.
        """
        if name == NAMELESS:
            return since_s
        entry = self.loaded().get(full_name(name))
        if entry is None or entry.context_tokens != context_tokens:
            entry = Loaded(context_tokens, since_s + self.load_s, users=0)
            self.in_memory[full_name(name)] = entry
        if entry.ready_s <= since_s:
            return since_s
        await self.clock.until(entry.ready_s)
        return entry.ready_s

    @contextmanager
    def in_use(self, name: str, keep_alive_s: float | None) -> Iterator[None]:
        """Keep the model in memory for the block and so long after it."""
        entry = self.in_memory.get(full_name(name))
        if entry is None:
            yield
            return
        entry.users += 1
        try:
            yield
        finally:
            entry.users -= 1
            entry.expires_s = self.clock.now_s() + (self.keep_alive_s if keep_alive_s is None else keep_alive_s)


def library(clock: Clock, load_s: float, context_tokens: int, models: Sequence[str], load_on_request: bool) -> Library:
    """A library with those models; the first is loaded, for good, unless models wait for a request that needs them."""
    made = Library(clock, load_s, context_tokens, KEEP_ALIVE_S if load_on_request else math.inf)
    for name in models:
        made.install(name, REGISTRY_BYTES.get(full_name(name), CREATED_BYTES))
    if models and not load_on_request:
        made.in_memory[full_name(models[0])] = Loaded(context_tokens, clock.now_s())
    return made


def full_name(name: str) -> str:
    """A name with its tag."""
    return name if ":" in name else f"{name}:latest"
