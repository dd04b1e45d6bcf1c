"""A model's shape as the metadata of a GGUF file: the keys that llama.cpp reads, and their values.

A fact about model files, written by the weight-free builder and read by readers/gguf_facts.py. Only what the
engine needs to lay the model out and to compute with it; tokens, names and licences are not here.
"""

from __future__ import annotations

from estimator.specs import Model

Value = int | float | bool

# llama.cpp's llama_expert_gating_func_type.
_SOFTMAX, _SIGMOID = 1, 2
_LAYER_NORM = ("falcon", "command-r", "cohere2")


def gguf_metadata(model: Model) -> dict[str, Value]:
    """Key (with its architecture) -> value; whole numbers are 32 bits without sign, fractions 32-bit floats."""
    keys = _sizes(model) | _attention(model) | _experts(model) | _constants(model)
    return {f"{model.architecture}.{key}": value for key, value in keys.items()}


def _sizes(m: Model) -> dict[str, Value]:
    norm = "layer_norm_epsilon" if m.architecture in _LAYER_NORM else "layer_norm_rms_epsilon"
    return {
        "context_length": m.context_tokens,
        "embedding_length": m.hidden,
        "block_count": m.layers,
        "feed_forward_length": m.ffn,
        "rope.dimension_count": m.rotated,
        "rope.freq_base": m.rope_theta,
        f"attention.{norm}": m.norm_epsilon,
    }


def _attention(m: Model) -> dict[str, Value]:
    keys: dict[str, Value] = {
        "attention.head_count": m.heads,
        "attention.head_count_kv": m.kv_heads,
        "attention.key_length": m.key_length,
        "attention.value_length": m.value_length,
    }
    if m.kv_lora_rank:
        # What the cache keeps is one key per token: the latent and the rotated part.
        keys |= {
            "attention.head_count_kv": 1,
            "attention.key_length": m.kv_lora_rank + m.rotated,
            "attention.value_length": m.kv_lora_rank,
            "attention.key_length_mla": m.key_length,
            "attention.value_length_mla": m.value_length,
            "attention.kv_lora_rank": m.kv_lora_rank,
        }
        if m.q_lora_rank:
            keys["attention.q_lora_rank"] = m.q_lora_rank
    if m.sliding_window_tokens:
        keys["attention.sliding_window"] = m.sliding_window_tokens
    return keys


def _experts(m: Model) -> dict[str, Value]:
    if not m.experts:
        return {}
    keys: dict[str, Value] = {"expert_count": m.experts, "expert_used_count": m.experts_used}
    if m.architecture != "llama":
        keys["expert_feed_forward_length"] = m.expert_ffn
    if m.shared_ffn:
        keys["expert_shared_count"] = m.shared_ffn // m.expert_ffn
    if m.architecture == "deepseek2":
        keys["leading_dense_block_count"] = m.dense_layers
        keys["expert_gating_func"] = _SIGMOID if m.expert_bias else _SOFTMAX
        keys["expert_weights_norm"] = m.expert_bias
        keys["expert_weights_scale"] = 2.5 if m.expert_bias else 1.0
    if m.architecture == "llama4":
        keys["interleave_moe_layer_step"] = m.expert_period
    return keys


def _constants(m: Model) -> dict[str, Value]:
    """Numbers that shape no tensor, but without which the engine refuses the file or computes nonsense."""
    if m.architecture == "gemma2":
        return {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    if m.architecture in ("command-r", "cohere2"):
        return {"logit_scale": 0.0625}
    return {}
