"""The weights of a folder of safetensors files, added up from their headers alone.

A file begins with the length of its header (8 bytes, little endian) and the header, JSON: tensor -> dtype, shape and
data_offsets (specification: safetensors README). What reading may cost is limited, whatever the headers claim.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

from estimator.errors import UnreadableFile
from estimator.specs import Model, WeightGroup, WeightRole

INDEX = "model.safetensors.index.json"
_NAMED_FILE = re.compile(rb'"([^"/\\]{1,200}\.safetensors)"')
_LAYER = re.compile(r"(?:^|\.)(?:layers|h)\.(\d+)\.")
_MOST_INDEX_BYTES = 32 * 2**20
_MOST_HEADER_BYTES = 2 * 2**20
_MOST_FILES = 1000
_MOST_NUMBER = 2**40
_MOST_BYTES_OF_ALL = 32 * 2**20
# Parts of a checkpoint that a language model does not run: towers for pictures, and their bridges.
_OTHER_PARTS = ("vision", "visual", "multi_modal_projector", "image", "audio")
# Dtypes of whole numbers hold four-bit weights in packs.
_PACKED = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one folder by role and dtype; `size_bytes` of all its files, `dtype` of most bytes."""

    groups: tuple[WeightGroup, ...]
    size_bytes: int
    dtype: str


@dataclass(slots=True)
class _Sum:
    elements: int = 0
    size_bytes: int = 0
    tensors: int = 0


def read_weights(folder: Path, model: Model) -> Weights | None:
    """The weights in `folder` that `model` runs, None where there are no safetensors files. Raises UnreadableFile."""
    paths = _files(folder)
    if not paths:
        return None
    sums: defaultdict[tuple[WeightRole, str], _Sum] = defaultdict(_Sum)
    left = _MOST_BYTES_OF_ALL
    for path in paths:
        tensors, header_bytes = _header(path)
        left -= header_bytes
        if left < 0:
            raise UnreadableFile(f"{folder} has safetensors headers of over {_MOST_BYTES_OF_ALL:,} bytes: too many")
        for name, dtype, elements, size in tensors:
            if role := _role(name, model):
                found = sums[role, dtype]
                found.elements, found.size_bytes = found.elements + elements, found.size_bytes + size
                found.tensors += 1
    groups = tuple(WeightGroup(*key, s.elements, s.size_bytes, s.tensors) for key, s in sums.items())
    by_dtype: defaultdict[str, int] = defaultdict(int)
    for group in groups:
        by_dtype[group.quant_type] += group.size_bytes
    if not by_dtype:
        raise UnreadableFile(f"the safetensors files in {folder} hold no weights of a language model")
    return Weights(groups, sum(path.stat().st_size for path in paths), max(by_dtype, key=lambda kind: by_dtype[kind]))


def _files(folder: Path) -> list[Path]:
    """The files that the index names, else all of the folder."""
    index = folder / INDEX
    try:
        if not index.is_file():
            return sorted(folder.glob("*.safetensors"))[:_MOST_FILES]
        if index.stat().st_size > _MOST_INDEX_BYTES:
            raise UnreadableFile(f"{index} has over {_MOST_INDEX_BYTES:,} bytes: it is damaged")
        # A tree of its 100,000 entries would take ten times the file's bytes, and only the names are needed.
        names: set[str] = set()
        for match in _NAMED_FILE.finditer(index.read_bytes()):
            names.add(match[1].decode("utf-8", "replace"))
            if len(names) > _MOST_FILES:
                raise UnreadableFile(f"{index} names over {_MOST_FILES:,} files, more than any model has")
    except OSError as error:
        raise UnreadableFile(f"cannot read {index}: {error.strerror}") from error
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnreadableFile(f"{index} names {missing[0]}{more}, which is not beside it: download the rest")
    return [folder / name for name in sorted(names)]


def _header(path: Path) -> tuple[Iterator[tuple[str, str, int, int]], int]:
    """Name, dtype, elements and bytes of each tensor of a file, and the length of its header."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MOST_HEADER_BYTES or 8 + length > size:
                raise UnreadableFile(
                    f"{path} claims a header of {length:,} bytes in a file of {size:,}: it is damaged or no safetensors"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise UnreadableFile(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{path} has a header that is no JSON: download it again") from None
    if not isinstance(header, dict):
        raise UnreadableFile(f"{path} has a header that lists no tensors: it is damaged")
    header.pop("__metadata__", None)
    return (_entry(path, name, entry, size - 8 - length) for name, entry in header.items()), length


def _entry(path: Path, name: str, entry: Any, data_bytes: int) -> tuple[str, str, int, int]:
    found = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = found.get("dtype"), found.get("shape"), found.get("data_offsets")
    if not isinstance(dtype, str) or not _whole(shape, 8) or not _whole(offsets, 2) or len(offsets) != 2:
        raise UnreadableFile(f"{path} describes tensor {name[:80]!r} in a way that makes no sense: it is damaged")
    begin, end = offsets
    if end > data_bytes:
        raise UnreadableFile(f"{path} is truncated: {end - data_bytes:,} bytes are missing; download it again")
    size = max(0, end - begin)
    return name, dtype, 2 * size if dtype in _PACKED else prod(shape), size


def _whole(numbers: Any, most: int) -> TypeGuard[list[int]]:
    """Whether they are at most that many whole numbers from 0 to 2^40."""
    return (
        isinstance(numbers, list)
        and len(numbers) <= most
        and all(isinstance(number, int) and 0 <= number <= _MOST_NUMBER for number in numbers)
    )


def _role(name: str, model: Model) -> WeightRole | None:
    """What a tensor is for; None for one that the language model does not run."""
    layer = _LAYER.search(name)
    if any(part in name for part in _OTHER_PARTS) or (layer and int(layer[1][:9]) >= model.layers):
        return None
    if "lm_head" in name:
        return None if model.tied_embeddings else "head"
    if "embed_tokens" in name or "word_embeddings" in name:
        return "head" if model.tied_embeddings else "embedding"
    if "norm" in name or name.endswith(("bias", "sinks")):
        return "vector"
    return "expert" if model.experts and ".experts." in name else "matrix"
