"""Runs of this harness on a GPU as results in llama-bench's format, which `estimator predict --measured` reads.

A fit to a machine's own prices (`calibration fit`) needs five models; a few cells are worth more as what moves the
reference. One format for both sources of such cells: what a run of ours and one of llama-bench say of a card is the
same. TTFT and TPOT stand for llama-bench's prefill and decode; they are what `predict` answers with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calibration.dataset import Observation, dataset
from calibration.errors import CalibrationError, NothingToFit
from calibration.reading import engine_records
from harness.devices import holding_gpus, used_gpus
from harness.metrics import computes_on_cpu
from harness.record import Record, Subject
from harness.samples import Gpu

# What an engine's system-info line calls them -> llama-bench's name.
_BACK_ENDS = {"CUDA": "CUDA", "ROCm": "ROCm", "Vulkan": "Vulkan", "Metal": "Metal", "MTL": "Metal"}


@dataclass(frozen=True, slots=True)
class OwnResults:
    """`entries` in llama-bench's format, all of `device` with `back_end`; `left_out` says what is not in them."""

    device: str
    back_end: str
    entries: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...]


def own_results(paths: list[Path], include_noisy: bool = False, device: str | None = None) -> OwnResults:
    """The usable cells of the runs at `paths` that a single GPU computed; `device` names it where no driver told.

    Raises CalibrationError for runs of several GPUs or back ends, NothingToFit where no cell is left, BadResults.
    """
    left_out: list[str] = []
    parts: dict[tuple[str, str], list[Record]] = {}
    for record in engine_records(paths, left_out):
        for key, subjects in _on_devices(record, device, left_out).items():
            parts.setdefault(key, []).append(replace(record, subjects=tuple(subjects)))
    if len(parts) > 1:
        named = " and ".join(f"{name} with {back_end}" for name, back_end in sorted(parts))
        raise CalibrationError(f"runs of {named}: name those of one of them")
    if not parts:
        raise NothingToFit(f"no run on a GPU in {', '.join(map(str, paths))}: {'; '.join(left_out[:3]) or 'no model'}")
    ((name, back_end), records), *_ = parts.items()
    data = dataset(records, include_noisy)
    left_out += data.left_out
    if not data.observations:
        raise NothingToFit(f"no usable cell of {name}: {'; '.join(left_out[:3])}")
    entries = tuple(_entry(found, name, back_end) for found in data.observations)
    return OwnResults(name, back_end, entries, tuple(left_out))


def _on_devices(record: Record, device: str | None, left_out: list[str]) -> dict[tuple[str, str], list[Subject]]:
    """The subjects that one GPU computed whole, by its name and their back end."""
    found: dict[tuple[str, str], list[Subject]] = {}
    for subject in record.subjects:
        back_end = next((ours for word, ours in _BACK_ENDS.items() if word in subject.system_info), "")
        names = [device] if device else _devices(record, subject, back_end)
        reason = _unusable(subject, back_end, names)
        if reason:
            left_out.append(f"{subject.model_name} in {record.header.run_id}: {reason}")
        else:
            found.setdefault((names[0], back_end), []).append(subject)
    return found


def _devices(record: Record, subject: Subject, back_end: str) -> list[str]:
    """The names of the GPUs that held memory of the engine, as NVML has them; an Apple chip is its processor."""
    if back_end == "Metal":
        return [record.header.host.cpu]
    lines = [line for line in record.samples if line.subject_id == subject.subject_id]
    told = next((line.sources.gpus for line in record.samples if line.sources is not None), ())
    machine = record.header.machine
    there: dict[int, Gpu] = {gpu.device: gpu for gpu in told or (machine.gpus if machine else ())}
    holding = holding_gpus(sample for line in lines for sample in line.samples)
    return [there[number].name for number in sorted(used_gpus(holding, set(there), on_cpu=False))]


def _unusable(subject: Subject, back_end: str, names: list[str]) -> str:
    """Why a subject cannot be one GPU's, the gravest reason first; "" where it can."""
    facts, told = subject.model.get("model"), subject.options.get("gpu_layers", -1)
    layers = facts.get("layers") if isinstance(facts, dict) else None
    partly = isinstance(told, int) and isinstance(layers, int) and 0 <= told <= layers
    rules = (
        (subject.remote, "it ran on another machine"),
        (not subject.system_info, "the engine does not say what it computes on"),
        (computes_on_cpu(subject.system_info), "computed on the CPU: `calibration fit` is for it"),
        (not back_end, "a back end that is not known"),
        (partly, "not whole on the GPU"),
        (subject.options.get("flash_attention") in ("disabled", "off"), "without flash attention"),
        (not names, "no driver told which GPU: name it with --gpu"),
        (len(names) > 1, "several GPUs"),
    )
    return next((reason for applies, reason in rules if applies), "")


def _entry(found: Observation, device: str, back_end: str) -> dict[str, Any]:
    """One phase of one cell: a prompt after what was cached, or an output after both."""
    work, file = found.work, found.file
    prefill = found.phase == "prefill"
    tokens = work.prompt_tokens if prefill else 1
    return {
        "cpu_info": found.build.cpu,
        "gpu_info": device,
        "backends": back_end,
        "model_type": f"{file.model.architecture} ? {file.quant}",
        "model_size": file.weight_bytes,
        "model_n_params": file.parameters,
        "n_batch": max(2048, work.ubatch_tokens),
        "n_ubatch": work.ubatch_tokens,
        "type_k": "f16",
        "type_v": "f16",
        "n_gpu_layers": -1,
        "flash_attn": 1,
        "n_prompt": work.prompt_tokens if prefill else 0,
        "n_gen": 0 if prefill else work.output_tokens,
        "n_depth": work.depth_tokens + (0 if prefill else work.prompt_tokens),
        "avg_ts": tokens / found.seconds,
    }
