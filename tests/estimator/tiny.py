"""A tiny model of every architecture: real widths of blocks, few enough bytes to build and load really."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from estimator.catalog import find_model
from estimator.specs import Model

# Rows of 256 and more, where a block type needs them.
_WIDE: dict[str, int] = {"hidden": 512, "heads": 8, "kv_heads": 2, "key_length": 64, "value_length": 64, "ffn": 1536}
_FULL: dict[str, int] = {**_WIDE, "kv_heads": 8}
_LONG: dict[str, int] = {**_WIDE, "heads": 4, "key_length": 256, "value_length": 256, "ffn": 2048}
_EIGHT: dict[str, int] = {"experts": 8, "experts_used": 2, "expert_ffn": 768}
_LATENT: dict[str, int] = {"kv_lora_rank": 256, "rope_length": 32, "key_length": 96, "value_length": 64}
SHAPES: dict[str, dict[str, int]] = {
    "mistral:7b": _WIDE,
    "qwen2.5:7b": {**_WIDE, "hidden": 320, "heads": 5, "kv_heads": 5, "ffn": 1024},
    "qwen3:4b": _WIDE,
    "gemma:2b": _LONG,
    "gemma2:2b": _LONG,
    "gemma3:4b": _LONG,
    "phi3:mini": _FULL,
    "falcon:40b": _WIDE,
    "command-r": _WIDE,
    "command-r7b": _WIDE,
    "mixtral": {**_WIDE, **_EIGHT, "ffn": 768},
    "qwen3:30b": {**_WIDE, **_EIGHT, "experts": 16},
    "gpt-oss": {**_WIDE, **_EIGHT, "experts": 16},
    "llama4:maverick": {**_WIDE, **_EIGHT, "experts_used": 1, "shared_ffn": 768},
    "deepseek-v2": {**_FULL, **_EIGHT, **_LATENT, "experts": 16, "shared_ffn": 1536, "layers": 27},
    "deepseek-v3": {**_FULL, **_EIGHT, **_LATENT, "experts": 16, "shared_ffn": 768, "q_lora_rank": 256},
}
_ALWAYS_TIED = ("gemma", "gemma2", "gemma3", "command-r", "cohere2")
_NEVER_TIED = ("gpt-oss", "deepseek2")


def tiny_models() -> list[Model]:
    """Four layers (Llama 4: two of them mixtures) of each of SHAPES, embeddings tied and not where both exist."""
    return [
        tiny_model(origin, tied)
        for origin in SHAPES
        for tied in (True, False)
        if find_model(origin).architecture not in (_NEVER_TIED if tied else _ALWAYS_TIED)
    ]


def tiny_model(origin: str, tied: bool) -> Model:
    """The catalogue model `origin`, made small."""
    small: dict[str, Any] = {"layers": 4, "vocabulary": 4096, **SHAPES[origin]}
    return replace(
        find_model(origin),
        names=(f"{origin}-{tied}",),
        tied_embeddings=tied,
        rope_factors=False,
        parameters=None,
        **small,
    )
