"""How an engine is set up beside its law and its faults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from harness.simulated.demands import BadLaw
from harness.simulated.library import DEFAULT_MODELS

CONTEXT_TOKENS = 4096


class Setup(TypedDict, total=False):
    """The fields of Options as keyword arguments."""

    slots: int
    context_tokens: int
    port: int
    models: tuple[str, ...]
    load_on_request: bool
    requests_per_minute: int | None
    log: Path | None


@dataclass(frozen=True, slots=True)
class Options:
    """`context_tokens` is what each slot holds; port 0 is any free one. `models` are installed, and the
    first is loaded before the engine listens, unless `load_on_request`: then each is loaded by the
    first request that names it, and dropped when it was kept long enough.
    """

    slots: int = 1
    context_tokens: int = CONTEXT_TOKENS
    port: int = 0
    models: tuple[str, ...] = DEFAULT_MODELS
    load_on_request: bool = False
    requests_per_minute: int | None = None
    log: Path | None = None

    def __post_init__(self) -> None:
        if self.slots < 1 or self.context_tokens < 2:
            shape = f"{self.slots} slots of {self.context_tokens} tokens"
            raise BadLaw(f"simulated engine: {shape}: at least 1 of at least 2 needed")
        if self.requests_per_minute is not None and self.requests_per_minute < 1:
            raise BadLaw(f"simulated engine: {self.requests_per_minute} requests a minute: at least 1 needed")
