"""A user's own llama-bench results as cells that can move the reference, and what of them cannot, by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from estimator import catalog
from estimator.belonging import Elsewhere
from estimator.errors import EstimatorError, UnknownName
from estimator.hardware import Part, find_part
from estimator.nearest import machine_key
from estimator.quants import block_bytes
from estimator.reference.bench import Entry, entries_in
from estimator.reference.files import block_type, file_by_name
from estimator.reference.machine import BACK_ENDS, BackEnd
from estimator.reference.moving import Measured, Own
from estimator.specs import Model, ModelFile, Workload

# Other names of back ends, in older and newer builds.
_ALSO = {"MTL": "Metal", "HIP": "ROCm"}
# Back ends beside the one that computes.
_BESIDE = ("CPU", "BLAS", "RPC", "")
# Parameters of the engine's count differ from the catalogue's by tensors such as rope's factors.
_SAME_PARAMETERS = 1e-3
_MOST_TOKENS = 10_000_000
_LEAST_PER_S, _MOST_PER_S = 1e-4, 1e8


class NoUsableCell(EstimatorError):
    """Measurements of which none can move the reference."""

    exit_status = 8


def own_measurements(path: Path, part: Part, anyway: bool = False) -> Own:
    """The results in `path`, which must be of `part` unless they are wanted all the same.

    Raises UnreadableFile, Elsewhere for those of other hardware, NoUsableCell where nothing is left.
    """
    entries = entries_in(path)
    back_end = _back_end(entries, part, path)
    elsewhere = _elsewhere(entries, part, back_end)
    if elsewhere and not anyway:
        raise Elsewhere(
            f"{path} was measured on {elsewhere}, not on {part.name}: name that with --hardware, or use it all the "
            "same with --anyway"
        )
    reasons: Counter[str] = Counter()
    cells = []
    for entry in entries:
        found = _measured(entry)
        if isinstance(found, Measured):
            cells.append(found)
        else:
            reasons[found] += 1
    if not cells:
        raise NoUsableCell(f"no result in {path} can move the reference: {_counted(reasons)}")
    return Own(str(path), back_end, tuple(cells), dict(reasons), elsewhere)


def _back_end(entries: Iterable[Entry], part: Part, path: Path) -> BackEnd:
    names = sorted({_computing(entry.backends) for entry in entries})
    if len(names) > 1:
        raise NoUsableCell(f"{path} holds results of {' and '.join(names)}: give those of one back end at a time")
    if names[0] == "CPU" and part.kind == "gpu":
        raise NoUsableCell(
            f"{path} was measured on the processor, not on {part.name}: build llama.cpp with its back end"
        )
    if names[0] not in BACK_ENDS:
        raise NoUsableCell(f"{path}: nothing was published for {names[0]!r}, only for {', '.join(BACK_ENDS)}")
    return names[0]


def _computing(backends: str) -> str:
    """ "Metal,BLAS" -> "Metal"; "BLAS" -> "CPU"."""
    names = [_ALSO.get(name.strip(), name.strip()) for name in backends.split(",")]
    return next((name for name in names if name not in _BESIDE), "CPU")


def _elsewhere(entries: Iterable[Entry], part: Part, back_end: BackEnd) -> str:
    """The devices of the first result that is not of `part`, or may be another card's beside it; "" where all are."""
    for entry in entries:
        names = [entry.cpu_info] if back_end == "CPU" else [name.strip() for name in entry.gpu_info.split(",")]
        if not any(_is_of(name, part) for name in names) or any(_is_other(name, part) for name in names):
            return ", ".join(names)[:80] or "unnamed hardware"
    return ""


def _is_other(name: str, part: Part) -> bool:
    """Whether the device is another card of the catalogue: which of a machine's cards computed is not told."""
    found = _found(name)
    return found is not None and found.kind == "gpu" and not _is_of(name, part)


def _is_of(name: str, part: Part) -> bool:
    """Whether the engine's name of a device is that of `part`; "Apple M2 Max" is any of the chips called so."""
    if part.kind == "unified":
        return machine_key(_plain(name)) == machine_key(_plain(part.name))
    found = _found(name)
    return found is not None and found.name == part.name


@cache
def _found(name: str) -> Part | None:
    """The part of the catalogue that the engine calls so."""
    for shown in (_plain(name), _plain(name).removesuffix(" Graphics")):
        try:
            return find_part(shown)
        except UnknownName:
            continue
    return None


def _plain(name: str) -> str:
    """Without what drivers, makers and the catalogue add: "(R)", "13th Gen", "(RADV NAVI31)", "16-Core Processor"."""
    marked = re.sub(r"\((R|TM)\)", " ", name, flags=re.IGNORECASE).strip()
    shown = re.sub(r"^\d+th Gen |\s*(\(.*|@.*|\bw/.*|\bwith .*|\d+-Core.*|\bCPU\b.*)$", "", marked)
    return re.sub(r"\s+", " ", shown)


def _measured(entry: Entry) -> Measured | str:
    """The cell, or why there is none."""
    model = _model(entry)
    reason = _unusable(entry, model)
    if model is None or reason:
        return reason
    file = _file(model, _quant(entry.model_type), entry.model_size)
    if file is None:
        return f"weight type {_quant(entry.model_type)[:40]!r} of that size is not known"
    phase = "prefill" if entry.n_prompt else "decode"
    work = Workload(
        prompt_tokens=entry.n_prompt or 1,
        output_tokens=entry.n_gen or 1,
        depth_tokens=entry.n_depth,
        ubatch_tokens=min(entry.n_ubatch, entry.n_batch),
        flash_attention=entry.flash_attn != 0,
    )
    return Measured(phase, file, work, (entry.n_prompt or 1) / entry.avg_ts)


def _unusable(entry: Entry, model: Model | None) -> str:
    """Why a result cannot be compared with the reference, the gravest reason first; "" where it can."""
    devices = [name for name in entry.gpu_info.split(",") if name.strip()]
    chosen = entry.split_mode == "none" or (entry.devices != "auto" and "/" not in entry.devices)
    off = 0 <= entry.n_gpu_layers <= (model.layers if model else 0) and _computing(entry.backends) != "CPU"
    placed = entry.no_kv_offload or entry.n_cpu_moe or entry.tensor_buft_overrides not in ("none", "")
    rules = (
        (bool(entry.n_prompt) == bool(entry.n_gen), "prompt and generation timed together"),
        (min(entry.n_prompt, entry.n_gen, entry.n_depth) < 0, "negative tokens"),
        (not _LEAST_PER_S <= entry.avg_ts <= _MOST_PER_S, "no speed of any machine"),
        (entry.n_prompt + entry.n_gen + entry.n_depth > _MOST_TOKENS, "more tokens than any context has"),
        (min(entry.n_ubatch, entry.n_batch) < 1, "no micro-batch"),
        (bool(entry.embeddings), "embeddings, not generation"),
        (len(devices) > 1 and not chosen, "several devices"),
        (model is None, f"no model of the catalogue is a {entry.model_type[:40]!r} of its size"),
        (off or bool(placed), "not whole on the device"),
        ({entry.type_k, entry.type_v} != {"f16"}, "a KV cache that is not F16"),
    )
    return next((reason for applies, reason in rules if applies), "")


def _model(entry: Entry) -> Model | None:
    """The model of the catalogue with this architecture and, within a thousandth, as many parameters."""
    architecture = entry.model_type.split(" ", maxsplit=1)[0].lower()
    near = [
        (abs(entry.model_n_params / model.parameters - 1), number, model)
        for number, model in enumerate(catalog.models())
        if model.architecture == architecture and model.parameters
    ]
    off, _, model = min(near, default=(1.0, 0, None))
    return model if off <= _SAME_PARAMETERS else None


@cache
def _file(model: Model, quant: str, size_bytes: int) -> ModelFile | None:
    try:
        block_bytes(block_type(quant.removesuffix("_MOE")))
    except UnknownName:
        return None
    file = file_by_name(model, quant, size_bytes)
    return file if file and all(group.size_bytes > 0 for group in file.groups) else None


def _quant(model_type: str) -> str:
    """ "qwen2 7B Q4_K - Medium" -> "Q4_K_M"."""
    words = re.sub(r"^\S+ \S+ |mostly |all |\(guessed\)|- [\d.]+ bpw", "", model_type).strip()
    sized = re.fullmatch(r"(Q\d_K) - ([SML])\w+", words)
    return f"{sized[1]}_{sized[2]}" if sized else re.sub(r"\s+", "_", words.upper())


def _counted(reasons: Counter[str]) -> str:
    return "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(3))
