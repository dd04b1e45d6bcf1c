"""GGUF files that hold their header only: sparse to full size, so that the engine's dry run accepts them."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np

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
    names = {"F16": "MOSTLY_F16", "Q8_0": "MOSTLY_Q8_0"}
    writer.add_file_type(int(gguf.LlamaFileType[names.get(mixture, f"MOSTLY_{mixture}")]))
    writer.add_context_length(model.context_tokens)
    writer.add_embedding_length(model.hidden)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.ffn)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.key_length)
    writer.add_value_length(model.value_length)
    writer.add_rope_dimension_count(model.key_length)
    writer.add_rope_freq_base(model.rope_theta)
    writer.add_layer_norm_rms_eps(model.norm_epsilon)
    if model.sliding_window_tokens:
        writer.add_sliding_window(model.sliding_window_tokens)
    if model.architecture == "gemma2":
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
    # No token list: the engine then takes the size of the vocabulary from here, and loads in milliseconds.
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(model.vocabulary)
