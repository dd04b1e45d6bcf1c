"""The bytes of a GGUF header: metadata and the list of tensors, as they stand there and no further.

GGUF (versions 2 and 3, little endian): magic, version, counts, metadata pairs, tensor infos, then the aligned
tensor data (specification: docs/gguf.md of ggml). Long arrays (token lists) are walked over and only their length
is kept. A header may come from anybody, so a Budget limits what reading it can cost, whatever its counts claim.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.errors import UnreadableFile
from estimator.quants import quant_types_by_id
from estimator.specs import Tensor
from estimator.tensors import tensor_bytes

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_KEPT_ENTRIES = 1024
_KEPT_TEXT_BYTES = 256
_LONGEST_NAME_BYTES = 1024
_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class Array:
    """An array of the metadata: its values where they are few numbers, else only its length."""

    length: int
    values: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says of itself; `size_bytes` is the file's."""

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    size_bytes: int


class Budget:
    """What all parts of one model may hold: far more than any model has, and cheap to read (1 s, 100 MB)."""

    def __init__(self) -> None:
        self._left = {"metadata pairs": 16_384, "tensors": 16_384, "strings": 2_000_000, "kept numbers": 65_536}
        self._left["header bytes"] = 48 * 2**20

    def spend(self, what: str, amount: int) -> None:
        """Raises _Excessive where no more than that is left."""
        if amount > self._left[what]:
            raise _Excessive(f"{amount:,} {what}")
        self._left[what] -= amount

    def left(self, what: str) -> int:
        """How much of it may still be spent."""
        return self._left[what]


class _Damaged(Exception):
    """The header goes on where the file ends, or holds what no header can."""


class _Excessive(Exception):
    """The header claims more than any model has."""


def read_header(path: Path, budget: Budget) -> Header:
    """The header of the GGUF file `path`. Raises UnreadableFile with one line of why."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 24:
                raise UnreadableFile(f"{path} is {size} bytes, too short for a GGUF file: download or build it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                return _read(path, buffer, size, budget)
    except _Damaged:
        raise UnreadableFile(
            f"{path} ends inside its header, or the header is damaged: download or build it again"
        ) from None
    except _Excessive as error:
        raise UnreadableFile(f"{path} claims {error}, more than any model has: its header is damaged") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UnreadableFile(f"cannot read {path}: {why}; give the path of a .gguf model file") from error


def _read(path: Path, buffer: mmap.mmap, size: int, budget: Budget) -> Header:
    _check_magic(path, buffer)
    tensor_count, pair_count = struct.unpack_from("<QQ", buffer, 8)
    budget.spend("tensors", tensor_count)
    budget.spend("metadata pairs", pair_count)
    cursor = _Cursor(buffer, size, budget)
    metadata = {}
    for _ in range(pair_count):
        key = cursor.name()
        metadata[key] = cursor.value(cursor.scalar("<I"))
    infos = [_info(path, cursor) for _ in range(tensor_count)]
    budget.spend("header bytes", cursor.at)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _Damaged
    _check_data(path, infos, -(-cursor.at // alignment) * alignment, size)
    return Header(path, metadata, tuple(tensor for tensor, _ in infos), size)


def _check_magic(path: Path, buffer: mmap.mmap) -> None:
    if buffer[:4] != b"GGUF":
        raise UnreadableFile(
            f"{path} is not a GGUF file (it starts with {bytes(buffer[:4])!r}): give a .gguf model file"
        )
    (version,) = struct.unpack_from("<I", buffer, 4)
    if version not in (2, 3):
        why = "a big-endian file" if version & 0xFFFF == 0 else f"GGUF version {version}"
        raise UnreadableFile(
            f"{path} is {why}; only little-endian versions 2 and 3 are read: convert it with llama.cpp"
        )


class _Cursor:
    """A place in the header that moves on as values are read. Raises _Damaged at the end of the file."""

    def __init__(self, buffer: mmap.mmap, size: int, budget: Budget) -> None:
        self.buffer, self.size, self.budget, self.at = buffer, size, budget, 24
        self._most = budget.left("header bytes")

    def scalar(self, form: str) -> Any:
        try:
            (value,) = struct.unpack_from(form, self.buffer, self.at)
        except struct.error:
            raise _Damaged from None
        self._skip(struct.calcsize(form))
        return value

    def name(self) -> str:
        """A key or a tensor's name: a string that is short."""
        length = self.scalar("<Q")
        if length > _LONGEST_NAME_BYTES:
            raise _Damaged
        return self._text(length)

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._text(self.scalar("<Q"))
        if kind == _ARRAY:
            return self._array(self.scalar("<I"), self.scalar("<Q"))
        if kind not in _SCALARS:
            raise _Damaged
        return self.scalar(_SCALARS[kind])

    def _text(self, length: int) -> str:
        start = self.at
        self._skip(length)
        kept = length if length <= _LONGEST_NAME_BYTES else _KEPT_TEXT_BYTES
        return self.buffer[start : start + kept].decode("utf-8", "replace")

    def _array(self, kind: int, length: int) -> Array:
        if kind == _STRING:
            self._skip_strings(length)
            return Array(length, None)
        if kind not in _SCALARS:
            raise _Damaged
        start = self.at
        self._skip(length * struct.calcsize(_SCALARS[kind]))
        if length > min(_KEPT_ENTRIES, self.budget.left("kept numbers")):
            return Array(length, None)
        self.budget.spend("kept numbers", length)
        return Array(length, struct.unpack_from(f"<{length}{_SCALARS[kind][1]}", self.buffer, start))

    def _skip(self, length: int) -> None:
        self.at += length
        if self.at > self.size:
            raise _Damaged
        if self.at > self._most:
            raise _Excessive(f"a header of over {self._most:,} bytes")

    def _skip_strings(self, count: int) -> None:
        # A vocabulary has up to 256,000 strings: the loop below is all that is paid for them.
        self.budget.spend("strings", count)
        length_at, buffer, at, most = struct.Struct("<Q").unpack_from, self.buffer, self.at, self._most
        try:
            for _ in range(count):
                at += 8 + length_at(buffer, at)[0]
                if at > most:
                    break
        except struct.error:
            raise _Damaged from None
        self._skip(at - self.at)


def _info(path: Path, cursor: _Cursor) -> tuple[Tensor, int]:
    """A tensor and where its data begins, in bytes from the start of all data."""
    name = cursor.name()
    dimensions = cursor.scalar("<I")
    if not 1 <= dimensions <= _DIMENSIONS:
        raise UnreadableFile(f"{path} gives tensor {name!r} {dimensions} dimensions: its header is damaged")
    shape = tuple(cursor.scalar("<Q") for _ in range(dimensions))
    number = cursor.scalar("<I")
    if number not in quant_types_by_id() or 0 in shape:
        raise UnreadableFile(f"{path} gives tensor {name!r} the unknown type {number} or an empty shape {shape}")
    return Tensor(name, shape, quant_types_by_id()[number]), cursor.scalar("<Q")


def _check_data(path: Path, infos: list[tuple[Tensor, int]], start: int, size: int) -> None:
    end = max((start + offset + tensor_bytes(tensor) for tensor, offset in infos), default=0)
    if size < end:
        raise UnreadableFile(
            f"{path} is truncated: {end - size:,} of {end:,} bytes are missing; download or build it again"
        )
