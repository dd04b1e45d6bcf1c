"""Whether two sides of a comparison are the same engine, model file and machine: what differs, in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from estimator.gpus import NO_GPU_DRIVER, NO_GPU_LISTED
from harness.record import Machine, Record, Subject
from harness.samples import PowerSources

# What a catalogue says about a model besides its shape: it may change with the program, not with the file.
_CATALOGUE = ("names", "title", "source", "published_bytes")
# Options that say where an engine was, not how it computes.
_PLACES = ("port", "model", "base_url")
_MEMORY_STEP_BYTES = 2**30
_LONGEST = 60
T = TypeVar("T")


def barring(
    records: tuple[Sequence[Record], Sequence[Record]], subjects: tuple[list[Subject], list[Subject]]
) -> list[str]:
    """What makes it a comparison of other things than meant: engine build, model file, server or machine differ."""
    urls = {id(subject): _server(record, subject) for side in records for record in side for subject in record.subjects}
    return _lines(
        _told("engine build", subjects, lambda s: f"{s.engine} {s.engine_version} {s.system_info}".strip()),
        _told("model", subjects, lambda s: f"{s.model_name} {s.quant}".strip()),
        *_files(subjects),
        _told("server", subjects, lambda s: urls.get(id(s), "")),
        _told("machine", records, _machine),
        _told("CPU flags", records, lambda r: " ".join(r.header.machine.flags) if r.header.machine else ""),
        _told("GPUs", records, _gpus),
    )


def noted(
    records: tuple[Sequence[Record], Sequence[Record]], subjects: tuple[list[Subject], list[Subject]]
) -> list[str]:
    """What else differs: perhaps what is to be compared (options), perhaps not (operating system, client library)."""
    names = sorted({name for side in subjects for subject in side for name in subject.options} - set(_PLACES))
    options = [_told(f"option {name}", subjects, _option(name)) for name in names]
    return _lines(
        _told("back end", subjects, lambda s: s.backend),
        _told("client", subjects, lambda s: s.client),
        _told("system", records, lambda r: r.header.host.system),
        _told("CPU governor", records, lambda r: (r.header.machine and r.header.machine.governor) or ""),
        _told("virtualisation", records, lambda r: (r.header.machine and r.header.machine.virtualisation) or ""),
        _told("GPU driver", records, _drivers),
        _told("harness", records, lambda r: r.header.harness_version),
        *options,
    )


def _lines(*found: str | None) -> list[str]:
    return [line for line in found if line is not None]


def _told(what: str, sides: tuple[Sequence[T], Sequence[T]], word: Callable[[T], str]) -> str | None:
    """A line where the sides do not say the same. What one side does not say at all is not held against the other."""
    a, b = ({word(entry) for entry in side} - {""} for side in sides)
    if not a or not b or len(a | b) == 1:
        return None
    return f"{what}: {_shortened(a, b)} | {_shortened(b, a)}"


def _shortened(words: set[str], others: set[str]) -> str:
    """The words, from a little before where they begin to differ from the others."""
    text, other = ", ".join(sorted(words)), ", ".join(sorted(others))
    same = next((at for at, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), 0)
    start = 0 if len(text) <= _LONGEST else max(0, same - 20)
    end = start + _LONGEST
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def _files(subjects: tuple[list[Subject], list[Subject]]) -> list[str]:
    """One line for the first fact of the model file that differs; size first, since it is the shortest to tell."""
    names = {name for side in subjects for subject in side for name in subject.model}
    facts = [_told(f"model file ({name})", subjects, _fact(name)) for name in sorted(names, key=_size_first)]
    return [fact for fact in facts if fact is not None][:1]


def _size_first(name: str) -> tuple[bool, str]:
    return name != "file_bytes", name


def _fact(name: str) -> Callable[[Subject], str]:
    def word(subject: Subject) -> str:
        fact = subject.model.get(name, "")
        if isinstance(fact, dict):
            fact = {key: value for key, value in fact.items() if key not in _CATALOGUE}
        return json.dumps(fact, sort_keys=True, default=str) if fact != "" else ""

    return word


def _server(record: Record, subject: Subject) -> str:
    """Where a server is that is not on the machine of the run; nothing where it is."""
    door: dict[str, Any] = record.header.settings.get("door") or {}
    urls = door.get("base_urls") or {}
    return str(urls.get(subject.backend, "")) if subject.remote else ""


def _machine(record: Record) -> str:
    host = record.header.host
    memory = f"{host.memory_total_bytes / _MEMORY_STEP_BYTES:.0f} GiB"
    return f"{host.cpu}, {host.physical_cores} cores, {host.logical_cores} threads, {memory}"


def _gpus(record: Record) -> str:
    """The GPUs by name, "none" where there is none; "" where that is not known."""
    told = _told_gpus(record)
    names = ", ".join(sorted(gpu.name for gpu in told.gpus)) if told else ""
    return "none" if told and told.gpu_note in (NO_GPU_DRIVER, NO_GPU_LISTED) else names


def _drivers(record: Record) -> str:
    told = _told_gpus(record)
    return ", ".join(sorted({gpu.driver for gpu in told.gpus})) if told else ""


def _told_gpus(record: Record) -> Machine | PowerSources | None:
    """Who tells of GPUs: the machine before the run, else (older records) its sampler."""
    return record.header.machine or next((line.sources for line in record.samples if line.sources is not None), None)


def _option(name: str) -> Callable[[Subject], str]:
    return lambda subject: str(subject.options.get(name, ""))
