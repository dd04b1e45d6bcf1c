"""A Model from a Hugging Face `config.json`: what the configuration states, and what its class leaves unsaid.

The keys are those of transformers' configuration classes; FAMILIES holds, per `model_type`, llama.cpp's name of the
architecture and the defaults of the class (transformers: models/*/configuration_*.py) for keys that files leave out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from estimator.errors import UnreadableFile
from estimator.shapes import tensor_shapes
from estimator.specs import Model

_MOST_BYTES = 2**20
_MOST = 2**31
_MOST_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class Family:
    """llama.cpp's architecture of a `model_type`, and the defaults of its configuration class."""

    architecture: str
    tied: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


_GEMMA3 = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "sliding_window_pattern": 6,
}
_LLAMA4 = {"attention_chunk_size": 8192, "sliding_window_pattern": 4}
FAMILIES = {
    "llama": Family("llama"),
    "mistral": Family("llama"),
    "mixtral": Family("llama"),
    "llama4_text": Family("llama4", defaults=_LLAMA4),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
    "qwen3_moe": Family("qwen3moe"),
    "gemma": Family("gemma", tied=True),
    "gemma2": Family("gemma2", tied=True, defaults={"head_dim": 256, "sliding_window_pattern": 2}),
    "gemma3_text": Family("gemma3", tied=True, defaults=_GEMMA3),
    "phi3": Family("phi3"),
    "falcon": Family("falcon", defaults={"max_position_embeddings": 2048}),
    "cohere": Family("command-r", tied=True),
    "cohere2": Family("cohere2", tied=True, defaults={"sliding_window_pattern": 4}),
    "deepseek_v2": Family("deepseek2"),
    "deepseek_v3": Family("deepseek2"),
    "gpt_oss": Family("gpt-oss", defaults={"sliding_window_pattern": 2}),
}


def read_config(path: Path) -> Model:
    """The model that the `config.json` at `path` describes. Raises UnreadableFile with one line of why."""
    config = _Config(path, _loaded(path))
    kind = config.kind
    if kind not in FAMILIES:
        raise UnreadableFile(f"{path} is of model_type {kind!r}, which is not laid out here: known are {_known()}")
    parameters = config.parameters()
    model = Model(
        names=(path.absolute().parent.name,),
        title=path.absolute().parent.name,
        architecture=FAMILIES[kind].architecture,
        layers=config.layers(),
        vocabulary=config.number("vocab_size"),
        context_tokens=config.number("max_position_embeddings"),
        tied_embeddings=bool(config.values.get("tie_word_embeddings", FAMILIES[kind].tied)),
        source=f"config.json in {path.absolute().parent.name}",
        rope_theta=config.real(parameters, "rope_theta", config.real(config.values, "rope_theta", 10_000.0)),
        norm_epsilon=_norm_epsilon(config),
        **_attention(config),
        **_window(config),
        **_feed_forward(config),
    )
    return _counted(model)


def _known() -> str:
    return ", ".join(FAMILIES)


def _counted(model: Model) -> Model:
    counts = (_elements(shape) for name, shape in tensor_shapes(model) if not name.startswith("rope_"))
    return replace(model, parameters=sum(counts))


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for axis in shape:
        product *= axis
    return product


def _loaded(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise UnreadableFile(f"{path} has over {_MOST_BYTES:,} bytes: it is no configuration of a model")
        values = json.loads(text)
    except OSError as error:
        raise UnreadableFile(f"cannot read {path}: {error.strerror}; give a config.json or its folder") from error
    except (ValueError, RecursionError):
        raise UnreadableFile(f"{path} is no JSON: download it again") from None
    inner = values.get("text_config") if isinstance(values, dict) else None
    values = {**values, **inner} if isinstance(inner, dict) else values
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise UnreadableFile(f"{path} names no model_type: it is not the configuration of a language model")
    return values


class _Config:
    """The keys of one configuration, with the defaults of its family below them."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        kind = values["model_type"]
        # Gemma 3 and Llama 4 of one modality write the name of the whole.
        self.kind: str = {"gemma3": "gemma3_text", "llama4": "llama4_text"}.get(kind, kind)
        family = FAMILIES.get(self.kind, Family(""))
        self.values = {**family.defaults, **{key: value for key, value in values.items() if value is not None}}

    def number(self, *keys: str, default: int | None = None) -> int:
        """The whole number under the first of `keys` that is there."""
        found = next((self.values[key] for key in keys if key in self.values), default)
        if isinstance(found, bool) or not isinstance(found, int) or not (0 < found <= _MOST or found == default):
            raise UnreadableFile(f"{self.path} has no usable {keys[0]} ({found!r}): choose another model")
        return found

    def real(self, values: Mapping[str, Any], key: str, default: float) -> float:
        """The number under `key` of `values`, or `default`."""
        found = values.get(key, default)
        return float(found) if isinstance(found, float | int) else default

    def parameters(self) -> Mapping[str, Any]:
        """What is said of the rotation: `rope_parameters`, in older files `rope_scaling`."""
        found = self.values.get("rope_parameters") or self.values.get("rope_scaling") or {}
        return found if isinstance(found, dict) else {}

    def layers(self) -> int:
        """How many layers there are."""
        found = self.number("num_hidden_layers", "n_layer")
        if found > _MOST_LAYERS:
            raise UnreadableFile(f"{self.path} claims {found:,} layers, more than any model has")
        return found


def _norm_epsilon(config: _Config) -> float:
    keys = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon")
    return next((config.real(config.values, key, 1e-5) for key in keys if key in config.values), 1e-5)


def _attention(config: _Config) -> dict[str, Any]:
    hidden, heads = config.number("hidden_size"), config.number("num_attention_heads", "n_head")
    found: dict[str, Any] = {"hidden": hidden, "heads": heads}
    if "kv_lora_rank" in config.values:
        rotated = config.number("qk_rope_head_dim")
        latent = {"kv_lora_rank": config.number("kv_lora_rank"), "q_lora_rank": config.number("q_lora_rank", default=0)}
        key_length = config.number("qk_nope_head_dim") + rotated
        lengths = {"key_length": key_length, "value_length": config.number("v_head_dim"), "rope_length": rotated}
        return found | {"kv_heads": heads} | latent | lengths
    length = config.number("head_dim", default=hidden // heads or 1)
    partial = config.real(config.values, "partial_rotary_factor", 1.0)
    scaling = config.parameters()
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    factors = kind == "llama3" or (config.kind == "phi3" and kind != "default")
    return found | {
        "kv_heads": _kv_heads(config, heads),
        "key_length": length,
        "value_length": length,
        "rope_length": 0 if partial >= 1.0 else round(length * partial),
        "rope_factors": factors,
    }


def _kv_heads(config: _Config, heads: int) -> int:
    if config.kind == "falcon" and not config.values.get("new_decoder_architecture"):
        return 1 if config.values.get("multi_query", True) else heads
    return config.number("num_key_value_heads", "num_kv_heads", "n_head_kv", default=heads)


def _window(config: _Config) -> dict[str, Any]:
    """The window of the families whose window llama.cpp honours, and how many layers have it."""
    if "sliding_window_pattern" not in FAMILIES[config.kind].defaults:
        return {}
    key = "attention_chunk_size" if config.kind == "llama4_text" else "sliding_window"
    period = config.number("sliding_window_pattern")
    kinds = config.values.get("layer_types")
    if isinstance(kinds, list) and kinds:
        period = _period(config.path, kinds)
    return {"sliding_window_tokens": config.number(key), "window_period": period}


def _period(path: Path, kinds: Sequence[Any]) -> int:
    first = next((layer + 1 for layer, kind in enumerate(kinds) if kind == "full_attention"), len(kinds) + 1)
    if any((kind == "full_attention") != (layer % first == first - 1) for layer, kind in enumerate(kinds)):
        raise UnreadableFile(f"{path} has a pattern of windowed layers that no formula here describes")
    return first


def _feed_forward(config: _Config) -> dict[str, Any]:
    hidden, values = config.number("hidden_size"), config.values
    ffn = config.number("intermediate_size", "ffn_hidden_size", default=4 * hidden)
    if config.kind == "llama4_text":
        dense = config.number("intermediate_size_mlp")
        shared, period = ffn, config.number("interleave_moe_layer_step", default=1)
        return _experts(config, ffn, shared) | {"ffn": dense, "expert_period": period}
    keys = ("num_local_experts", "num_experts", "n_routed_experts")
    if not any(key in values for key in keys):
        return {"ffn": ffn}
    if (
        values.get("mlp_only_layers")
        or values.get("decoder_sparse_step", 1) != 1
        or values.get("moe_layer_freq", 1) != 1
    ):
        raise UnreadableFile(f"{config.path} has dense layers among its experts, which no formula here describes")
    width = config.number("moe_intermediate_size", default=ffn)
    shared = config.number("n_shared_experts", default=0) * width
    return _experts(config, width, shared) | {"ffn": ffn}


def _experts(config: _Config, width: int, shared: int) -> dict[str, Any]:
    experts = config.number("num_local_experts", "num_experts", "n_routed_experts")
    used = config.number("num_experts_per_tok", "experts_per_token")
    if used > experts:
        raise UnreadableFile(f"{config.path} uses {used} of {experts} experts: it is damaged")
    return {
        "experts": experts,
        "experts_used": used,
        "expert_ffn": width,
        "shared_ffn": shared,
        "dense_layers": config.number("first_k_dense_replace", default=0),
        "expert_bias": config.values.get("topk_method") == "noaux_tc",
    }
