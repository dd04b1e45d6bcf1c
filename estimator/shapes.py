"""The names and shapes of a model's weight tensors, by architecture as llama.cpp names it.

A fact about model files: each list is what the engine's loader asks for (llama.cpp: src/models/*.cpp), in
GGUF order of axes (the row that is multiplied first). Which block type a tensor has stands in tensors.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from estimator.errors import EstimatorError
from estimator.specs import Model

Shapes = dict[str, tuple[int, ...]]


def tensor_shapes(model: Model) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of `model`, in file order. Raises EstimatorError for an unknown architecture."""
    block = ARCHITECTURES.get(model.architecture)
    if block is None:
        known = ", ".join(ARCHITECTURES)
        raise EstimatorError(
            f"architecture {model.architecture!r} of {model.name} is not laid out here: known are {known}"
        )
    yield "token_embd.weight", (model.hidden, model.vocabulary)
    if model.rope_factors:
        names = ("rope_factors_long", "rope_factors_short") if model.architecture == "phi3" else ("rope_freqs",)
        yield from ((f"{name}.weight", (model.rotated // 2,)) for name in names)
    for layer in range(model.layers):
        for name, shape in block(model, layer).items():
            yield f"blk.{layer}.{name}", shape
    yield "output_norm.weight", (model.hidden,)
    if model.architecture == "falcon":
        yield "output_norm.bias", (model.hidden,)
    if not model.tied_embeddings:
        yield "output.weight", (model.hidden, model.vocabulary)


def _attention(m: Model) -> Shapes:
    return {
        "attn_norm.weight": (m.hidden,),
        "attn_q.weight": (m.hidden, m.heads * m.key_length),
        "attn_k.weight": (m.hidden, m.kv_heads * m.key_length),
        "attn_v.weight": (m.hidden, m.kv_heads * m.value_length),
        "attn_output.weight": (m.heads * m.value_length, m.hidden),
    }


def _qkv_biases(m: Model) -> Shapes:
    return {
        "attn_q.bias": (m.heads * m.key_length,),
        "attn_k.bias": (m.kv_heads * m.key_length,),
        "attn_v.bias": (m.kv_heads * m.value_length,),
    }


def _head_norms(m: Model) -> Shapes:
    return {"attn_q_norm.weight": (m.key_length,), "attn_k_norm.weight": (m.key_length,)}


def _gated(m: Model, width: int, suffix: str = "") -> Shapes:
    return {
        f"ffn_gate{suffix}.weight": (m.hidden, width),
        f"ffn_up{suffix}.weight": (m.hidden, width),
        f"ffn_down{suffix}.weight": (width, m.hidden),
    }


def _feed_forward(m: Model, layer: int) -> Shapes:
    """The dense feed-forward of `layer`, or its router, experts and shared expert."""
    if not m.has_experts(layer):
        return _gated(m, m.ffn)
    router: Shapes = {"ffn_gate_inp.weight": (m.hidden, m.experts)}
    if m.expert_bias:
        router["exp_probs_b.bias"] = (m.experts,)
    experts = {name: (*shape, m.experts) for name, shape in _gated(m, m.expert_ffn, "_exps").items()}
    return router | experts | (_gated(m, m.shared_ffn, "_shexp") if m.shared_ffn else {})


def _llama(m: Model, layer: int) -> Shapes:
    return _attention(m) | {"ffn_norm.weight": (m.hidden,)} | _feed_forward(m, layer)


def _qwen2(m: Model, layer: int) -> Shapes:
    return _llama(m, layer) | _qkv_biases(m)


def _qwen3(m: Model, layer: int) -> Shapes:
    return _llama(m, layer) | _head_norms(m)


def _gemma2(m: Model, layer: int) -> Shapes:
    return _llama(m, layer) | {"post_attention_norm.weight": (m.hidden,), "post_ffw_norm.weight": (m.hidden,)}


def _gemma3(m: Model, layer: int) -> Shapes:
    return _gemma2(m, layer) | _head_norms(m)


def _phi3(m: Model, layer: int) -> Shapes:
    qkv = m.heads * m.key_length + m.kv_heads * (m.key_length + m.value_length)
    return {
        "attn_norm.weight": (m.hidden,),
        "attn_qkv.weight": (m.hidden, qkv),
        "attn_output.weight": (m.heads * m.value_length, m.hidden),
        "ffn_norm.weight": (m.hidden,),
        "ffn_up.weight": (m.hidden, 2 * m.ffn),
        "ffn_down.weight": (m.ffn, m.hidden),
    }


def _falcon(m: Model, layer: int) -> Shapes:
    qkv = m.heads * m.key_length + m.kv_heads * (m.key_length + m.value_length)
    # Falcon 40B and 180B have a norm each for attention and feed-forward; 7B shares one.
    second: Shapes = {f"attn_norm_2.{part}": (m.hidden,) for part in ("weight", "bias")} if m.kv_heads > 1 else {}
    return {
        "attn_norm.weight": (m.hidden,),
        "attn_norm.bias": (m.hidden,),
        **second,
        "attn_qkv.weight": (m.hidden, qkv),
        "attn_output.weight": (m.heads * m.value_length, m.hidden),
        "ffn_up.weight": (m.hidden, m.ffn),
        "ffn_down.weight": (m.ffn, m.hidden),
    }


def _cohere(m: Model, layer: int) -> Shapes:
    # Attention and feed-forward share the norm; Command R+ (64 layers) has a norm for each head of its own.
    norms: Shapes = {}
    if m.architecture == "command-r" and m.layers >= 64:
        norms = {"attn_q_norm.weight": (m.key_length, m.heads), "attn_k_norm.weight": (m.key_length, m.kv_heads)}
    return _attention(m) | norms | _feed_forward(m, layer)


def _deepseek2(m: Model, layer: int) -> Shapes:
    queries: Shapes = {"attn_q.weight": (m.hidden, m.heads * m.key_length)}
    if m.q_lora_rank:
        queries = {
            "attn_q_a.weight": (m.hidden, m.q_lora_rank),
            "attn_q_a_norm.weight": (m.q_lora_rank,),
            "attn_q_b.weight": (m.q_lora_rank, m.heads * m.key_length),
        }
    return {
        "attn_norm.weight": (m.hidden,),
        **queries,
        "attn_kv_a_mqa.weight": (m.hidden, m.kv_lora_rank + m.rotated),
        "attn_kv_a_norm.weight": (m.kv_lora_rank,),
        "attn_k_b.weight": (m.key_length - m.rotated, m.kv_lora_rank, m.heads),
        "attn_v_b.weight": (m.kv_lora_rank, m.value_length, m.heads),
        "attn_output.weight": (m.heads * m.value_length, m.hidden),
        "ffn_norm.weight": (m.hidden,),
        **_feed_forward(m, layer),
    }


def _gpt_oss(m: Model, layer: int) -> Shapes:
    return {
        **_attention(m),
        **_qkv_biases(m),
        "attn_output.bias": (m.hidden,),
        "attn_sinks.weight": (m.heads,),
        "post_attention_norm.weight": (m.hidden,),
        **_feed_forward(m, layer),
        "ffn_gate_inp.bias": (m.experts,),
        "ffn_gate_exps.bias": (m.expert_ffn, m.experts),
        "ffn_up_exps.bias": (m.expert_ffn, m.experts),
        "ffn_down_exps.bias": (m.hidden, m.experts),
    }


ARCHITECTURES: dict[str, Callable[[Model, int], Shapes]] = {
    "llama": _llama,
    "llama4": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3,
    "gemma": _llama,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "falcon": _falcon,
    "command-r": _cohere,
    "cohere2": _cohere,
    "deepseek2": _deepseek2,
    "gpt-oss": _gpt_oss,
}
