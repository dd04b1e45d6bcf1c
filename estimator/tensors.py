"""The list of weight tensors of a model at a weight type: names, shapes and block types.

This is a fact about model files, not theory: the weight-free builder writes these tensors and the
theory adds up their bytes. The mixtures follow llama.cpp's `llama_tensor_get_type`
(src/llama-quant.cpp), which decides the block type of each tensor from its name and layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from estimator.errors import EstimatorError
from estimator.quants import block_bytes, block_elements
from estimator.specs import Model, ModelFile, Tensor, WeightGroup, WeightRole

# Block types that a row must fall back to when its length is no multiple of 256 (llama-quant.cpp).
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}

# Weight type of the bulk of the tensors, for each mixture that can be built.
MIXTURES = {
    "F16": "F16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q4_K_M": "Q4_K",
    "Q4_0": "Q4_0",
}


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of the tensor's data: rows x ceil(row / block) x block bytes (formula: GGUF specification)."""
    row = tensor.shape[0]
    blocks = -(-row // block_elements(tensor.quant_type))
    return tensor.elements // row * blocks * block_bytes(tensor.quant_type)


def model_tensors(model: Model, mixture: str) -> tuple[Tensor, ...]:
    """Every tensor of `model` in file order, typed as the `mixture` types it.

    Raises EstimatorError for a mixture that is not in MIXTURES.
    """
    if mixture not in MIXTURES:
        raise EstimatorError(f"weight type {mixture!r} has no tensor mixture here: choose one of {', '.join(MIXTURES)}")
    shapes = _SHAPES.get(model.architecture)
    if shapes is None:
        known = ", ".join(_SHAPES)
        raise EstimatorError(
            f"architecture {model.architecture!r} of {model.name} is not laid out here: known are {known}"
        )
    return tuple(
        Tensor(name, shape, _type_of(name, shape, model, mixture))
        for name, shape in _model_shapes(model, shapes(model))
    )


def model_file(model: Model, mixture: str) -> ModelFile:
    """`model` with its weights typed by `mixture`. Raises EstimatorError."""
    return ModelFile(model, mixture, weight_groups(model_tensors(model, mixture), model.tied_embeddings))


def weight_groups(tensors: Iterable[Tensor], tied: bool) -> tuple[WeightGroup, ...]:
    """The tensors added up by role and block type, in order of first appearance."""
    found: defaultdict[tuple[WeightRole, str], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        found[_role(tensor, tied), tensor.quant_type].append(tensor)
    return tuple(
        WeightGroup(role, kind, sum(t.elements for t in group), sum(map(tensor_bytes, group)), len(group))
        for (role, kind), group in found.items()
    )


def _role(tensor: Tensor, tied: bool) -> WeightRole:
    if len(tensor.shape) == 1:
        return "vector"
    if tensor.name == "output.weight" or (tied and tensor.name == "token_embd.weight"):
        return "head"
    return "embedding" if tensor.name == "token_embd.weight" else "matrix"


def _model_shapes(model: Model, block: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (model.hidden, model.vocabulary)
    if model.rope_factors:
        yield "rope_freqs.weight", (model.key_length // 2,)
    for layer in range(model.layers):
        for name, shape in block.items():
            yield f"blk.{layer}.{name}", shape
    yield "output_norm.weight", (model.hidden,)
    if not model.tied_embeddings:
        yield "output.weight", (model.hidden, model.vocabulary)


def _llama_block(m: Model) -> dict[str, tuple[int, ...]]:
    return {
        "attn_norm.weight": (m.hidden,),
        "attn_q.weight": (m.hidden, m.heads * m.key_length),
        "attn_k.weight": (m.hidden, m.kv_heads * m.key_length),
        "attn_v.weight": (m.hidden, m.kv_heads * m.value_length),
        "attn_output.weight": (m.heads * m.value_length, m.hidden),
        "ffn_norm.weight": (m.hidden,),
        "ffn_gate.weight": (m.hidden, m.ffn),
        "ffn_up.weight": (m.hidden, m.ffn),
        "ffn_down.weight": (m.ffn, m.hidden),
    }


def _qwen2_block(m: Model) -> dict[str, tuple[int, ...]]:
    return _llama_block(m) | {
        "attn_q.bias": (m.heads * m.key_length,),
        "attn_k.bias": (m.kv_heads * m.key_length,),
        "attn_v.bias": (m.kv_heads * m.value_length,),
    }


def _gemma2_block(m: Model) -> dict[str, tuple[int, ...]]:
    return _llama_block(m) | {"post_attention_norm.weight": (m.hidden,), "post_ffw_norm.weight": (m.hidden,)}


def _phi3_block(m: Model) -> dict[str, tuple[int, ...]]:
    qkv = m.heads * m.key_length + m.kv_heads * (m.key_length + m.value_length)
    return {
        "attn_norm.weight": (m.hidden,),
        "attn_qkv.weight": (m.hidden, qkv),
        "attn_output.weight": (m.heads * m.value_length, m.hidden),
        "ffn_norm.weight": (m.hidden,),
        "ffn_up.weight": (m.hidden, 2 * m.ffn),
        "ffn_down.weight": (m.ffn, m.hidden),
    }


_SHAPES = {"llama": _llama_block, "qwen2": _qwen2_block, "gemma2": _gemma2_block, "phi3": _phi3_block}


def _type_of(name: str, shape: tuple[int, ...], model: Model, mixture: str) -> str:
    if len(shape) == 1:
        return "F32"
    chosen = MIXTURES[mixture]
    if _is_head(name, model):
        chosen = chosen if mixture in ("F16", "Q8_0") else "Q6_K"
    elif mixture in ("Q4_K_M", "Q5_K_M"):
        chosen = _mixed_type(name, chosen, model)
    if shape[0] % block_elements(chosen):
        chosen = _FALLBACK.get(chosen, "F16")
    return chosen


def _is_head(name: str, model: Model) -> bool:
    return name == "output.weight" or (model.tied_embeddings and name == "token_embd.weight")


def _mixed_type(name: str, bulk: str, model: Model) -> str:
    if "attn_qkv" in name:
        return {"Q4_K": "Q5_K", "Q5_K": "Q6_K"}[bulk]
    if "attn_v" not in name and "ffn_down" not in name:
        return bulk
    if _use_more_bits(int(name.split(".")[1]), model.layers):
        return "Q6_K"
    # llama.cpp gives the shared V heads of the 70B shapes one step more precision.
    if "attn_v" in name and model.layers == 80 and bulk == "Q4_K":
        return "Q5_K"
    return bulk


def _use_more_bits(layer: int, layers: int) -> bool:
    """The layers that K mixtures keep at higher precision: the first and last eighth, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
