"""Whether a model fits this machine, and which one a run measures that names none.

That is Mistral 7B Q4_K_M, or the largest catalogue model below it that disk and memory allow by the
engine's own dry run.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from estimator.catalog import find_model, models
from estimator.specs import Model
from harness.backends.launch import dry_run
from harness.backends.llamacpp import engine_options
from harness.errors import NotEnoughRoom
from harness.plan import Plan
from harness.target import Target, resolve
from harness.weights.store import Store

DEFAULT_MODEL = "mistral:7b"
# Kept free for everything else on the machine.
_RESERVE_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Need:
    """What a target needs, in bytes.

    `least_bytes` of memory hold the weights once and the engine's buffers: below that it can only
    read the weights from disk again for every token. `most_bytes` hold the weights twice, as an
    engine does that repacks all of them.
    """

    name: str
    disk_lacking_bytes: int
    least_bytes: int
    most_bytes: int

    def lacks(self, wanted_bytes: int, free_bytes: int) -> str | None:
        """What is missing for `wanted_bytes` of memory with half a GiB to spare; None where nothing is."""
        if self.disk_lacking_bytes:
            return f"{self.name} lacks {self.disk_lacking_bytes / 1e9:.1f} GB of disk for its model file"
        if wanted_bytes + _RESERVE_BYTES > free_bytes:
            return (
                f"{self.name} needs {wanted_bytes / 2**30:.1f} GiB of memory and {free_bytes / 2**30:.1f} GiB are free"
            )
        return None


async def need(target: Target, plan: Plan, store: Store) -> Need:
    """What `target` needs by the engine's own dry run. Raises EngineFailure where the engine cannot plan it."""
    path, lacking = target.path, 0
    if path is None:
        assert target.model is not None
        path, lacking = store.sparse(target.model, target.quant), store.missing_bytes(target.model, target.quant)
    try:
        with tempfile.TemporaryDirectory() as folder:
            planned = await dry_run(engine_options(plan, str(path)), Path(folder) / "dry-run.log")
    finally:
        if target.path is None:
            path.unlink(missing_ok=True)
    buffers = planned["kv_cache_bytes"] + planned["compute_bytes"] + planned["output_bytes"]
    least = target.weight_bytes + buffers
    return Need(f"{target.name} {target.quant}", lacking, least, least + target.multiplied_bytes)


async def require_room(target: Target, plan: Plan, store: Store, free_bytes: int) -> None:
    """Raises NotEnoughRoom where disk or memory cannot hold `target`."""
    wanted = await need(target, plan, store)
    if lack := wanted.lacks(wanted.least_bytes, free_bytes):
        raise NotEnoughRoom(f"{lack}: choose a smaller --model or --quant, or shorter --prompt-tokens and --depth")


async def default_model(plan: Plan, store: Store, free_bytes: int) -> tuple[Model, str]:
    """The model to measure, and a sentence on why where it is not the usual one. Raises NotEnoughRoom."""
    usual = find_model(DEFAULT_MODEL)
    smaller = sorted((m for m in models() if _size(m) < _size(usual)), key=_size, reverse=True)
    why = ""
    for model in (usual, *smaller):
        wanted = await need(resolve(model.name, plan.quants[0]), plan, store)
        lack = wanted.lacks(wanted.most_bytes, free_bytes)
        if lack is None:
            return model, f"{why}: measuring {model.name} instead" if why else ""
        why = why or lack
    raise NotEnoughRoom(f"no catalogue model fits this machine: {why}")


def _size(model: Model) -> int:
    return model.parameters or 0
