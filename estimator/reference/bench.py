"""What llama-bench printed (`-o json`, `jsonl` or `csv`) as entries of checked fields; nothing is interpreted here.

The fields are those of llama.cpp's tools/llama-bench/README.md; what is not named in `Entry` is not looked at.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from estimator.errors import UnreadableFile
from estimator.plain import from_plain

# A result takes 2 kB of JSON.
_MOST_BYTES = 16 * 2**20
_HOW = "`llama-bench -o json` writes what can be read"
_TRUE = {"true": 1, "false": 0, "": 0}


@dataclass(frozen=True, slots=True)
class Entry:
    """One result: `n_prompt` tokens processed or `n_gen` generated after `n_depth`, at `avg_ts` tokens per second."""

    cpu_info: str
    gpu_info: str
    backends: str
    model_type: str
    model_size: int
    model_n_params: int
    n_batch: int
    n_ubatch: int
    type_k: str
    type_v: str
    n_gpu_layers: int
    flash_attn: int
    n_prompt: int
    n_gen: int
    avg_ts: float
    n_depth: int = 0
    split_mode: str = "layer"
    devices: str = "auto"
    no_kv_offload: int = 0
    n_cpu_moe: int = 0
    embeddings: int = 0
    tensor_buft_overrides: str = "none"


def entries_in(path: Path) -> tuple[Entry, ...]:
    """Every result in `path`. Raises UnreadableFile with one line of why."""
    try:
        with path.open("rb") as file:
            whole = file.read(_MOST_BYTES + 1)
        if len(whole) > _MOST_BYTES:
            raise UnreadableFile(f"{path} is larger than {_MOST_BYTES / 2**20:.0f} MiB: no output of llama-bench is")
        found = _objects(whole.decode("utf-8-sig"))
    except OSError as error:
        raise UnreadableFile(f"cannot read {path}: {error.strerror or error}; {_HOW}") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise UnreadableFile(f"{path} is neither JSON nor CSV of llama-bench ({error}): {_HOW}") from error
    if not found:
        raise UnreadableFile(f"{path} holds no result: {_HOW}")
    return tuple(_entry(plain, f"{path}, result {number}") for number, plain in enumerate(found, start=1))


def _objects(whole: str) -> list[Any]:
    """The results in the text, from the first line that begins one: messages of the loader may stand before them."""
    begun = re.search(r"^\s*(\[\s*\{|\[\s*$|\{|\"?build_commit\"?,)", whole, re.MULTILINE)
    text = whole[begun.start() :].lstrip() if begun else whole.lstrip()
    if text[:1] == "[":
        found, _ = json.JSONDecoder().raw_decode(text)
        return found if isinstance(found, list) else [found]
    if text[:1] == "{":
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return list(csv.DictReader(io.StringIO(text), strict=True))


def _entry(plain: Any, where: str) -> Entry:
    if not isinstance(plain, dict):
        raise UnreadableFile(f"{where} is no object: {_HOW}")
    given = {field.name: _value(plain, field.name, str(field.type), where) for field in _given(plain, where)}
    return from_plain(Entry, given, where)


def _given(plain: Mapping[str, Any], where: str) -> list[Any]:
    """The fields that `plain` has; older builds lack those with a default."""
    for field in fields(Entry):
        if plain.get(field.name) is None and field.default is MISSING:
            raise UnreadableFile(f"{where} lacks {field.name}: {_HOW}")
    return [field for field in fields(Entry) if plain.get(field.name) is not None]


def _value(plain: Mapping[str, Any], name: str, kind: str, where: str) -> str | int | float:
    value = plain[name]
    if kind == "str":
        return str(value)
    try:
        number = float(_TRUE.get(value.lower(), value) if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or abs(number) > 1e18 or (kind == "int" and number != int(number)):
        raise UnreadableFile(f"{where}: {name} is {str(value)[:40]!r}, which is no number")
    return int(number) if kind == "int" else number
