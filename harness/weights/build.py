"""Builds a weight-free GGUF file, streamed to disk tensor by tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from estimator.metadata import gguf_metadata
from estimator.quants import block_bytes, block_elements
from estimator.specs import Model, Tensor
from estimator.tensors import model_tensors, tensor_bytes
from harness.weights.blocks import random_blocks, random_floats
from harness.weights.vocabulary import BEGIN_ID, END_ID, FIRST_WORD_ID, vocabulary

_PIECE_BYTES = 16 * 2**20
_FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q8_0": 7, "Q4_K_M": 15, "Q5_K_M": 17, "Q6_K": 18, "MXFP4_MOE": 38}

Progress = Callable[[int], None]


# Part of the key of cached files: raise it when the contents change.
BUILDER_VERSION = 2


def write_model(path: Path, model: Model, mixture: str, seed: int, progress: Progress = lambda _: None) -> None:
    """Writes `model` typed as `mixture` to `path`; `progress` is told the bytes of each piece written.

    The rows of the head that belong to control and byte tokens are all zero, so their logits are
    exactly 0 and greedy decoding (over thousands of random logits) never picks them: no early end,
    and every token is a printable word. Peak memory is a few pieces of 16 MiB. Raises OSError.
    """
    with _header(path, model, mixture, seed) as (writer, tensors):
        assert writer.fout is not None
        file = writer.fout[0]
        for tensor in tensors:
            for piece in _pieces(tensor, _is_head(tensor, model), seed):
                file.write(piece.data)
                progress(piece.nbytes)
            writer.write_padding(file, tensor_bytes(tensor))


def write_header(path: Path, model: Model, mixture: str) -> None:
    """Writes the header alone and extends the file to its full size: holes, no data. Raises OSError."""
    with _header(path, model, mixture, seed=0) as (writer, tensors):
        assert writer.fout is not None
        file = writer.fout[0]
        padded = (-(-tensor_bytes(tensor) // writer.data_alignment) * writer.data_alignment for tensor in tensors)
        file.truncate(file.tell() + sum(padded))


@contextmanager
def _header(path: Path, model: Model, mixture: str, seed: int) -> Iterator[tuple[gguf.GGUFWriter, tuple[Tensor, ...]]]:
    tensors = model_tensors(model, mixture)
    writer = gguf.GGUFWriter(path, arch=model.architecture)
    try:
        _write_metadata(writer, model, mixture, seed)
        for tensor in tensors:
            kind = gguf.GGMLQuantizationType[tensor.quant_type]
            byte_shape = gguf.quant_shape_to_byte_shape(tensor.shape[::-1], kind)
            writer.add_tensor_info(tensor.name, byte_shape, np.dtype(np.uint8), tensor_bytes(tensor), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        writer.write_padding(writer.fout[0], writer.fout[0].tell())
        yield writer, tensors
    finally:
        writer.close()


def _is_head(tensor: Tensor, model: Model) -> bool:
    return tensor.name == ("token_embd.weight" if model.tied_embeddings else "output.weight")


def _pieces(tensor: Tensor, head: bool, seed: int) -> Iterator[np.ndarray]:
    # Each tensor has its own stream of numbers, so that a file does not depend on the order of writing.
    digest = hashlib.sha256(f"{seed}:{tensor.name}".encode()).digest()
    rng = np.random.Generator(np.random.SFC64(int.from_bytes(digest[:8], "little")))
    size = block_bytes(tensor.quant_type)
    row_blocks = tensor.shape[0] // block_elements(tensor.quant_type)
    router = tensor.name.endswith("ffn_gate_inp.weight")
    zero_blocks = FIRST_WORD_ID * row_blocks if head else 0
    left, per_piece = tensor_bytes(tensor) // size, _PIECE_BYTES // size
    while left:
        count = min(left, per_piece)
        blocks = random_floats(count, rng) if router else random_blocks(tensor.quant_type, count, rng)
        blocks[:zero_blocks] = 0
        zero_blocks = max(0, zero_blocks - len(blocks))
        left -= len(blocks)
        yield blocks


def _write_metadata(writer: gguf.GGUFWriter, model: Model, mixture: str, seed: int) -> None:
    writer.add_name(f"{model.title} (weight-free, seed {seed})")
    writer.add_file_type(_FILE_TYPES[mixture])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
    }
    for key, value in gguf_metadata(model).items():
        add[type(value)](key, value)
    tokens, scores, types = vocabulary(model.vocabulary)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(BEGIN_ID)
    writer.add_eos_token_id(END_ID)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
