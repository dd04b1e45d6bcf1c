"""GGUF files that hold their header only: sparse to full size, so that the engine's dry run accepts them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from estimator.metadata import gguf_metadata
from estimator.specs import Model
from estimator.tensors import model_tensors, tensor_bytes


def write_header_only(path: Path, model: Model, mixture: str) -> None:
    """Writes the header of `model` typed as `mixture`, then a hole where the weights would be."""
    writer = gguf.GGUFWriter(path, arch=model.architecture)
    try:
        _add_metadata(writer, model, mixture)
        size = 0
        for tensor in model_tensors(model, mixture):
            kind = gguf.GGMLQuantizationType[tensor.quant_type]
            shape = gguf.quant_shape_to_byte_shape(tensor.shape[::-1], kind)
            writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), tensor_bytes(tensor), raw_dtype=kind)
            size += -(-tensor_bytes(tensor) // 32) * 32
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        assert writer.fout is not None
        file = writer.fout[0]
        writer.write_padding(file, file.tell())
        file.flush()
        os.truncate(path, file.tell() + size)
    finally:
        writer.close()


def _add_metadata(writer: gguf.GGUFWriter, model: Model, mixture: str) -> None:
    writer.add_file_type(int(gguf.LlamaFileType[f"MOSTLY_{mixture}"]))
    add_metadata(writer, model)
    # No token list: the engine then takes the size of the vocabulary from here, and loads in milliseconds.
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(model.vocabulary)


def add_metadata(writer: gguf.GGUFWriter, model: Model) -> None:
    """The model's shape, as the weight-free builder writes it."""
    for key, value in gguf_metadata(model).items():
        kinds: dict[type, Callable[[str, Any], None]] = {
            bool: writer.add_bool,
            int: writer.add_uint32,
            float: writer.add_float32,
        }
        kinds[type(value)](key, value)
