"""Hugging Face folders: config.json as published, safetensors headers beside it."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from estimator.catalog import find_model
from estimator.errors import EstimatorError, UnreadableFile
from estimator.naming import model_file_named
from estimator.readers.hf_config import FAMILIES, read_config
from estimator.readers.safetensors import INDEX, read_weights
from estimator.shapes import ARCHITECTURES
from estimator.specs import Model
from estimator.tensors import model_file
from tests.estimator.examples import MODEL

# The keys of published files that shape the model; what they leave out the reader must know.
PUBLISHED: dict[str, dict[str, Any]] = {
    "mistral-nemo": {
        "model_type": "mistral", "hidden_size": 5120, "intermediate_size": 14336, "num_hidden_layers": 40,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
        "max_position_embeddings": 128000, "rope_theta": 1000000.0, "rms_norm_eps": 1e-05, "sliding_window": None,
        "tie_word_embeddings": False,
    },
    "mixtral": {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768,
        "rope_theta": 1000000.0, "rms_norm_eps": 1e-05, "num_local_experts": 8, "num_experts_per_tok": 2,
        "sliding_window": None, "tie_word_embeddings": False,
    },
    "llama3.1:8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
        "rope_theta": 500000.0, "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "rope_type": "llama3"},
        "tie_word_embeddings": False,
    },
    "qwen3:30b": {
        "model_type": "qwen3_moe", "decoder_sparse_step": 1, "head_dim": 128, "hidden_size": 2048,
        "intermediate_size": 6144, "max_position_embeddings": 40960, "mlp_only_layers": [],
        "moe_intermediate_size": 768, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": 48, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_scaling": None,
        "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False, "vocab_size": 151936,
    },
    "gemma3:4b": {
        "model_type": "gemma3", "vision_config": {"hidden_size": 1152},
        "text_config": {
            "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
        },
    },
    "gpt-oss:20b": {
        "model_type": "gpt_oss", "experts_per_token": 4, "head_dim": 64, "hidden_size": 2880,
        "intermediate_size": 2880, "layer_types": ["sliding_attention", "full_attention"] * 12,
        "max_position_embeddings": 131072, "num_attention_heads": 64, "num_experts_per_tok": 4,
        "num_hidden_layers": 24, "num_key_value_heads": 8, "num_local_experts": 32, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 32.0, "rope_type": "yarn"}, "rope_theta": 150000, "sliding_window": 128,
        "tie_word_embeddings": False, "vocab_size": 201088,
    },
    "llama4:maverick": {
        "model_type": "llama4",
        "text_config": {
            "attention_chunk_size": 8192, "head_dim": 128, "hidden_size": 5120, "interleave_moe_layer_step": 2,
            "intermediate_size": 8192, "intermediate_size_mlp": 16384, "max_position_embeddings": 1048576,
            "model_type": "llama4_text", "num_attention_heads": 40, "num_experts_per_tok": 1,
            "num_hidden_layers": 48, "num_key_value_heads": 8, "num_local_experts": 128, "rms_norm_eps": 1e-05,
            "rope_scaling": None, "rope_theta": 500000.0, "vocab_size": 202048,
        },
    },
    "deepseek-v3": {
        "model_type": "deepseek_v3", "first_k_dense_replace": 3, "hidden_size": 7168, "intermediate_size": 18432,
        "kv_lora_rank": 512, "max_position_embeddings": 163840, "moe_intermediate_size": 2048, "moe_layer_freq": 1,
        "n_routed_experts": 256, "n_shared_experts": 1, "num_attention_heads": 128, "num_experts_per_tok": 8,
        "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
        "rope_scaling": {"factor": 40, "type": "yarn"}, "rope_theta": 10000, "tie_word_embeddings": False,
        "topk_method": "noaux_tc", "v_head_dim": 128, "vocab_size": 129280,
    },
    "phi4-mini": {
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 200064, "rms_norm_eps": 1e-05,
        "max_position_embeddings": 131072, "partial_rotary_factor": 0.75, "rope_theta": 10000.0,
        "rope_scaling": {"type": "longrope"}, "sliding_window": 262144, "tie_word_embeddings": True,
    },
    "falcon:40b": {
        "model_type": "falcon", "hidden_size": 8192, "num_hidden_layers": 60, "num_attention_heads": 128,
        "num_kv_heads": 8, "new_decoder_architecture": True, "vocab_size": 65024, "layer_norm_epsilon": 1e-05,
    },
    "falcon:7b": {
        "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
        "multi_query": True, "new_decoder_architecture": False, "vocab_size": 65024, "layer_norm_epsilon": 1e-05,
    },
}  # fmt: skip


def written(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_configuration_is_the_catalogue_model(name: str, tmp_path: Path) -> None:
    known = find_model(name)
    same: dict[str, Any] = {field: getattr(known, field) for field in ("names", "title", "source", "published_bytes")}
    assert replace(read_config(written(tmp_path / "model", PUBLISHED[name])), **same) == known


def test_every_known_model_type_has_an_architecture_that_is_laid_out() -> None:
    assert {family.architecture for family in FAMILIES.values()} == set(ARCHITECTURES)


def test_a_folder_is_typed_as_asked_and_named_after_itself(tmp_path: Path) -> None:
    written(tmp_path / "my-mixtral", PUBLISHED["mixtral"])
    file = model_file_named(str(tmp_path / "my-mixtral"), "q8_0", "")
    assert (file.model.name, file.quant) == ("my-mixtral", "Q8_0")
    assert file.groups == model_file(find_model("mixtral"), "Q8_0").groups
    by_file = model_file_named(str(tmp_path / "my-mixtral/config.json"), None, "")
    assert by_file.quant == "Q4_K_M"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba', which is not laid out here: known are llama, mistral"),
        ({"model_type": None}, "names no model_type"),
        ({"hidden_size": None}, r"no usable hidden_size \(None\)"),
        ({"hidden_size": -1}, r"no usable hidden_size \(-1\)"),
        ({"vocab_size": "many"}, r"no usable vocab_size \('many'\)"),
        ({"num_hidden_layers": 10**9}, "claims 1,000,000,000 layers"),
        ({"num_experts_per_tok": 9}, "uses 9 of 8 experts"),
        ({"model_type": "qwen3_moe", "decoder_sparse_step": 2}, "dense layers among its experts"),
        (
            {"model_type": "gpt_oss", "sliding_window": 128, "layer_types": ["full_attention", "x"]},
            "pattern of windowed",
        ),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=message):
        read_config(written(tmp_path / "model", PUBLISHED["mixtral"] | change))


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="give the folder of a Hugging Face model"):
        model_file_named(str(tmp_path), None, "")
    with pytest.raises(EstimatorError, match="unknown model"):
        model_file_named(str(tmp_path / "nothing"), None, "")


TOY = {
    "model.embed_tokens.weight": ("BF16", [1000, 256]),
    "lm_head.weight": ("BF16", [1000, 256]),
    "model.norm.weight": ("BF16", [256]),
    "model.layers.0.self_attn.q_proj.weight": ("BF16", [256, 256]),
    "model.layers.1.mlp.down_proj.weight": ("F8_E4M3", [256, 512]),
    "model.layers.1.mlp.experts.3.down_proj.weight": ("BF16", [256, 128]),
    "model.layers.1.mlp.up_proj.qweight": ("I32", [32, 512]),
    "model.layers.2.mtp.weight": ("BF16", [64, 64]),
    "vision_tower.patch.weight": ("F32", [64, 64]),
}
_BYTES = {"BF16": 2, "F8_E4M3": 1, "I32": 4, "F32": 4}


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]], cut: int = 0) -> None:
    entries, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = _BYTES[dtype]
        for axis in shape:
            size *= axis
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(end - cut))


def test_weights_are_those_of_the_headers(tmp_path: Path) -> None:
    safetensors(tmp_path / "model.safetensors", TOY)
    weights = read_weights(tmp_path, replace(MODEL, experts=8, experts_used=2))
    assert weights is not None
    found = {(group.role, group.quant_type): (group.elements, group.size_bytes) for group in weights.groups}
    assert found == {
        ("embedding", "BF16"): (256_000, 512_000),
        ("head", "BF16"): (256_000, 512_000),
        ("vector", "BF16"): (256, 512),
        ("matrix", "BF16"): (65_536, 131_072),
        ("matrix", "F8_E4M3"): (131_072, 131_072),
        ("expert", "BF16"): (32_768, 65_536),
        ("matrix", "I32"): (131_072, 65_536),
    }
    assert weights.dtype == "BF16"
    assert weights.size_bytes == (tmp_path / "model.safetensors").stat().st_size


def test_a_tied_head_is_the_embedding_and_a_stored_copy_is_not_run(tmp_path: Path) -> None:
    safetensors(tmp_path / "model.safetensors", TOY)
    weights = read_weights(tmp_path, replace(MODEL, tied_embeddings=True))
    assert weights is not None
    assert [group.elements for group in weights.groups if group.role in ("head", "embedding")] == [256_000]


def test_files_of_an_index_add_up_and_others_do_not_count(tmp_path: Path) -> None:
    names = list(TOY)
    safetensors(tmp_path / "a.safetensors", {name: TOY[name] for name in names[:2]})
    safetensors(tmp_path / "b.safetensors", {name: TOY[name] for name in names[2:4]})
    safetensors(tmp_path / "old.safetensors", TOY)
    weight_map = dict.fromkeys(names[:2], "a.safetensors") | dict.fromkeys(names[2:4], "b.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    weights = read_weights(tmp_path, MODEL)
    assert weights is not None
    assert sum(group.tensors for group in weights.groups) == 4
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(UnreadableFile, match=r"names b\.safetensors, which is not beside it: download the rest"):
        read_weights(tmp_path, MODEL)


def test_no_safetensors_are_no_weights(tmp_path: Path) -> None:
    assert read_weights(tmp_path, MODEL) is None


def test_cut_safetensors_are_counted_in_bytes(tmp_path: Path) -> None:
    safetensors(tmp_path / "model.safetensors", TOY, cut=100)
    with pytest.raises(UnreadableFile, match="truncated: 100 bytes are missing"):
        read_weights(tmp_path, MODEL)


def test_a_folder_with_weights_is_predicted_as_it_is_stored(tmp_path: Path) -> None:
    config = PUBLISHED["llama3.1:8b"] | {"hidden_size": 256, "num_hidden_layers": 2, "vocab_size": 1000}
    written(tmp_path / "toy", config)
    safetensors(tmp_path / "toy/model.safetensors", TOY)
    file = model_file_named(str(tmp_path / "toy"), None, "")
    assert (file.quant, file.file_bytes) == ("BF16", (tmp_path / "toy/model.safetensors").stat().st_size)
    assert isinstance(file.model, Model)
    assert model_file_named(str(tmp_path / "toy"), "q4_0", "").quant == "Q4_0"
