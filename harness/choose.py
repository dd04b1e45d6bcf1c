"""What a run without options measures: Mistral 7B Q4_K_M, or the largest catalogue model that this machine can hold."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from estimator.catalog import find_model, models
from estimator.specs import Model
from estimator.tensors import model_file
from harness.backends.launch import dry_run
from harness.errors import NotEnoughRoom
from harness.opening import engine_options
from harness.plan import Plan
from harness.weights.store import Store

DEFAULT_MODEL = "mistral:7b"
# Kept free for everything else on the machine.
_RESERVE_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Need:
    """What a model needs, in bytes: file on disk, memory at most (weights twice where the engine may repack them)."""

    disk_lacking_bytes: int
    memory_bytes: int

    def fits(self, free_bytes: int) -> bool:
        """Whether disk and memory allow it, with half a GiB to spare."""
        return not self.disk_lacking_bytes and self.memory_bytes + _RESERVE_BYTES <= free_bytes


async def need(model: Model, mixture: str, plan: Plan, store: Store) -> Need:
    """What `model` needs by the engine's own dry run. Raises EngineFailure where the engine cannot plan it."""
    file = model_file(model, mixture)
    sparse = store.sparse(model, mixture)
    try:
        with tempfile.TemporaryDirectory() as folder:
            planned = await dry_run(engine_options(plan, str(sparse)), Path(folder) / "dry-run.log")
    finally:
        sparse.unlink(missing_ok=True)
    repacked = sum(group.size_bytes for group in file.groups if group.role in ("matrix", "head"))
    memory = (
        file.weight_bytes + repacked + planned["kv_cache_bytes"] + planned["compute_bytes"] + planned["output_bytes"]
    )
    return Need(store.missing_bytes(model, mixture), memory)


async def default_model(mixture: str, plan: Plan, store: Store) -> tuple[Model, str]:
    """The model to measure, and a sentence on why where it is not the usual one. Raises NotEnoughRoom."""
    free = psutil.virtual_memory().available
    usual = find_model(DEFAULT_MODEL)
    smaller = sorted((m for m in models() if _size(m) < _size(usual)), key=_size, reverse=True)
    first: Need | None = None
    for model in (usual, *smaller):
        wanted = await need(model, mixture, plan, store)
        first = first or wanted
        if wanted.fits(free):
            why = (
                ""
                if model == usual
                else f"{usual.name} does not fit ({_lacks(first, free)}): measuring {model.name} instead"
            )
            return model, why
    assert first is not None
    raise NotEnoughRoom(f"no catalogue model fits this machine at {mixture}: {usual.name} {_lacks(first, free)}")


def _size(model: Model) -> int:
    return model.parameters or 0


def _lacks(wanted: Need, free_bytes: int) -> str:
    if wanted.disk_lacking_bytes:
        return f"lacks {wanted.disk_lacking_bytes / 1e9:.1f} GB of disk"
    return f"needs {wanted.memory_bytes / 2**30:.1f} GiB of memory, {free_bytes / 2**30:.1f} GiB are free"
