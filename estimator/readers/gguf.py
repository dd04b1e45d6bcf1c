"""Reads what a GGUF file says of itself: the header only, with the standard library only.

GGUF (versions 2 and 3, little endian): magic, version, counts, metadata pairs, tensor infos, then
the aligned tensor data (specification: docs/gguf.md of ggml). Metadata keys are turned into a Model
in `_model`; long arrays (token lists) are walked over and only their length is kept.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.errors import UnreadableFile
from estimator.quants import file_type_name, quant_types_by_id
from estimator.specs import Model, ModelFile, Tensor
from estimator.tensors import tensor_bytes, weight_groups

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_KEPT_ENTRIES = 1024
_DIMENSIONS = 4
# Architectures whose sliding window llama.cpp honours, and every how many layers one sees everything
# (llama.cpp: src/models/*.cpp, set_swa_pattern). It ignores the window of `llama` and `phi3` files.
_WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6}
# Keys of models whose memory and speed the theory here does not describe.
_BEYOND_THEORY = {
    "expert_count": "a mixture of experts",
    "attention.kv_lora_rank": "multi-head latent attention",
    "ssm.state_size": "a state-space layer",
}


@dataclass(frozen=True, slots=True)
class _Array:
    """An array of the metadata: its values where they are few numbers, else only its length."""

    length: int
    values: tuple[Any, ...] | None


@dataclass(frozen=True, slots=True)
class _Info:
    tensor: Tensor
    offset_bytes: int


class _Damaged(Exception):
    """The header goes on where the file ends, or holds what no header can."""


def read_model_file(path: Path) -> ModelFile:
    """The facts in the header of the GGUF file `path`. Raises UnreadableFile with one line of why."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < 24:
                raise UnreadableFile(f"{path} is {size} bytes, too short for a GGUF file: download or build it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
                return _read(path, buffer, size)
    except _Damaged:
        raise UnreadableFile(
            f"{path} ends inside its header, or the header is damaged: download or build it again"
        ) from None
    except OSError as error:
        why = error.strerror or error
        raise UnreadableFile(f"cannot read {path}: {why}; give the path of a .gguf model file") from error


def _read(path: Path, buffer: mmap.mmap, size: int) -> ModelFile:
    _check_magic(path, buffer)
    tensor_count, pair_count = struct.unpack_from("<QQ", buffer, 8)
    cursor = _Cursor(buffer, size, 24)
    metadata = {}
    for _ in range(pair_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("<I"))
    infos = [_info(path, cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _Damaged
    _check_data(path, infos, cursor.at, alignment, size)
    tensors = tuple(info.tensor for info in infos)
    model = _model(path, metadata, tensors)
    groups = weight_groups(tensors, model.tied_embeddings)
    return ModelFile(model, file_type_name(metadata.get("general.file_type")), groups, size)


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
    """A place in the header that moves on as values are read. Raises _Damaged at the end."""

    def __init__(self, buffer: mmap.mmap, size: int, at: int) -> None:
        self.buffer, self.size, self.at = buffer, size, at

    def scalar(self, form: str) -> Any:
        try:
            (value,) = struct.unpack_from(form, self.buffer, self.at)
        except struct.error:
            raise _Damaged from None
        self.at += struct.calcsize(form)
        return value

    def string(self) -> str:
        length = self.scalar("<Q")
        start = self.at
        self._skip(length)
        return self.buffer[start : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array(self.scalar("<I"), self.scalar("<Q"))
        if kind not in _SCALARS:
            raise _Damaged
        return self.scalar(_SCALARS[kind])

    def _array(self, kind: int, length: int) -> _Array:
        if kind == _STRING:
            self._skip_strings(length)
            return _Array(length, None)
        if kind not in _SCALARS:
            raise _Damaged
        start = self.at
        self._skip(length * struct.calcsize(_SCALARS[kind]))
        if length > _KEPT_ENTRIES:
            return _Array(length, None)
        return _Array(length, struct.unpack_from(f"<{length}{_SCALARS[kind][1]}", self.buffer, start))

    def _skip(self, length: int) -> None:
        if length > self.size - self.at:
            raise _Damaged
        self.at += length

    def _skip_strings(self, count: int) -> None:
        # A vocabulary has up to 256,000 strings: the loop below is all that is paid for them.
        length_at, buffer, at = struct.Struct("<Q").unpack_from, self.buffer, self.at
        try:
            for _ in range(count):
                at += 8 + length_at(buffer, at)[0]
        except struct.error:
            raise _Damaged from None
        self._skip(at - self.at)


def _info(path: Path, cursor: _Cursor) -> _Info:
    name = cursor.string()
    dimensions = cursor.scalar("<I")
    if not 1 <= dimensions <= _DIMENSIONS:
        raise UnreadableFile(f"{path} gives tensor {name!r} {dimensions} dimensions: its header is damaged")
    shape = tuple(cursor.scalar("<Q") for _ in range(dimensions))
    number = cursor.scalar("<I")
    if number not in quant_types_by_id() or 0 in shape:
        raise UnreadableFile(f"{path} gives tensor {name!r} the unknown type {number} or an empty shape {shape}")
    return _Info(Tensor(name, shape, quant_types_by_id()[number]), cursor.scalar("<Q"))


def _check_data(path: Path, infos: list[_Info], header_end: int, alignment: int, size: int) -> None:
    start = -(-header_end // alignment) * alignment
    end = max((start + info.offset_bytes + tensor_bytes(info.tensor) for info in infos), default=start)
    if size < end:
        raise UnreadableFile(
            f"{path} is truncated: {end - size:,} of {end:,} bytes are missing; download or build it again"
        )


def _model(path: Path, metadata: dict[str, Any], tensors: tuple[Tensor, ...]) -> Model:
    facts = _Facts(path, metadata)
    architecture = facts.architecture
    facts.refuse_what_is_beyond_theory()
    names = {tensor.name for tensor in tensors}
    hidden, heads = facts.number("embedding_length"), facts.number("attention.head_count")
    key_length = facts.number("attention.key_length", hidden // heads)
    period = _WINDOW_PERIODS.get(architecture)
    window = facts.number("attention.sliding_window", 0) if period else 0
    return Model(
        names=(path.stem,),
        title=str(metadata.get("general.name", path.stem)),
        architecture=architecture,
        layers=facts.number("block_count"),
        hidden=hidden,
        heads=heads,
        kv_heads=facts.number("attention.head_count_kv", heads),
        key_length=key_length,
        value_length=facts.number("attention.value_length", hidden // heads),
        ffn=facts.number("feed_forward_length"),
        vocabulary=_vocabulary(metadata, tensors),
        context_tokens=facts.number("context_length"),
        tied_embeddings="output.weight" not in names,
        source=f"GGUF header of {path.name}",
        parameters=sum(tensor.elements for tensor in tensors if not tensor.name.startswith("rope_")),
        sliding_window_tokens=window or None,
        window_period=period if period and window else 1,
        rope_theta=facts.real("rope.freq_base", 10_000.0),
        rope_factors="rope_freqs.weight" in names,
        norm_epsilon=facts.real("attention.layer_norm_rms_epsilon", 1e-5),
    )


class _Facts:
    """The metadata of one file, asked for by the name without its architecture prefix."""

    def __init__(self, path: Path, metadata: dict[str, Any]) -> None:
        self.path, self.metadata = path, metadata
        if metadata.get("split.count", 0) not in (0, 1):
            raise UnreadableFile(f"{path} is one part of a split model: join the parts with llama-gguf-split --merge")
        if "general.architecture" not in metadata:
            raise UnreadableFile(f"{path} does not say its architecture: it is not a language model")
        self.architecture = str(metadata["general.architecture"])

    def number(self, name: str, default: int | None = None) -> int:
        """The whole number `name`; the largest where the file gives one a layer."""
        found = self.metadata.get(f"{self.architecture}.{name}", default)
        if isinstance(found, _Array):
            found = max(found.values or (), default=None)
        if not isinstance(found, int) or (found <= 0 and found != default):
            key = f"{self.architecture}.{name}"
            raise UnreadableFile(
                f"{self.path} has no usable {key} ({found!r}): it is not a decoder-only language model"
            )
        return found

    def real(self, name: str, default: float) -> float:
        """The number `name`, or `default` where the file does not give one."""
        found = self.metadata.get(f"{self.architecture}.{name}", default)
        return float(found) if isinstance(found, float | int) else default

    def refuse_what_is_beyond_theory(self) -> None:
        for key, what in _BEYOND_THEORY.items():
            if self.metadata.get(f"{self.architecture}.{key}"):
                raise UnreadableFile(
                    f"{self.path} is {what} model, which no formula here describes: choose a dense model"
                )


def _vocabulary(metadata: dict[str, Any], tensors: tuple[Tensor, ...]) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, _Array):
        return tokens.length
    return next((tensor.shape[1] for tensor in tensors if tensor.name == "token_embd.weight"), 0)
