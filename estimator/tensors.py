"""The list of weight tensors of a model at a weight type: names, shapes and block types.

This is a fact about model files, not theory: the weight-free builder writes these tensors and the
theory adds up their bytes. The mixtures follow llama.cpp's `llama_tensor_get_type`
(src/llama-quant.cpp), which decides the block type of each tensor from its name and layer.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from estimator.errors import EstimatorError
from estimator.quants import block_bytes, block_elements
from estimator.shapes import tensor_shapes
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
    "MXFP4_MOE": "Q8_0",
}
_KEPT_TYPES = ("F16", "Q8_0")
# Files of one model, and layers of one file, share most of their names and shapes.
_REMEMBERED = 65_536


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes of the tensor's data: rows x ceil(row / block) x block bytes (formula: GGUF specification)."""
    return _data_bytes(tensor.shape, tensor.quant_type)


@lru_cache(_REMEMBERED)
def _data_bytes(shape: tuple[int, ...], quant_type: str) -> int:
    blocks = -(-shape[0] // block_elements(quant_type))
    return math.prod(shape[1:]) * blocks * block_bytes(quant_type)


def model_tensors(model: Model, mixture: str) -> tuple[Tensor, ...]:
    """Every tensor of `model` in file order, typed as the `mixture` types it.

    Raises EstimatorError for a mixture that is not in MIXTURES.
    """
    if mixture not in MIXTURES:
        raise EstimatorError(f"weight type {mixture!r} has no tensor mixture here: choose one of {', '.join(MIXTURES)}")
    return tuple(Tensor(name, shape, _type_of(name, shape, model, mixture)) for name, shape in tensor_shapes(model))


def mixtures_of(model: Model) -> tuple[str, ...]:
    """The weight types that files of `model` come in: MXFP4_MOE types experts, a dense model would be its Q8_0."""
    return tuple(name for name in MIXTURES if name != "MXFP4_MOE" or model.experts)


def model_file(model: Model, mixture: str) -> ModelFile:
    """`model` with its weights typed by `mixture`. Raises EstimatorError."""
    return typed_file(model, mixture, model_tensors(model, mixture))


def typed_file(model: Model, quant: str, tensors: Sequence[Tensor], file_bytes: int | None = None) -> ModelFile:
    """`model` with the weights that `tensors` are, added up by role and type, and by layer."""
    groups = weight_groups(tensors, model.tied_embeddings)
    return ModelFile(model, quant, groups, file_bytes, layer_bytes(tensors, model.layers))


def layer_bytes(tensors: Iterable[Tensor], layers: int) -> tuple[int, ...]:
    """Bytes of the tensors called `blk.N. ...`, by N; empty where a layer has none or the names are others."""
    found = [0] * layers
    for tensor in tensors:
        layer = _layer_of(tensor.name)
        if layer is not None and layer < layers:
            found[layer] += tensor_bytes(tensor)
    return tuple(found) if all(found) else ()


@lru_cache(_REMEMBERED)
def _layer_of(name: str) -> int | None:
    number = name.split(".", 2)[1] if name.startswith("blk.") else ""
    return int(number) if number.isdecimal() and len(number) < 10 else None


def weight_groups(tensors: Iterable[Tensor], tied: bool) -> tuple[WeightGroup, ...]:
    """The tensors added up by role and block type, in order of first appearance."""
    found: defaultdict[tuple[WeightRole, str], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        found[_role(tensor.name, len(tensor.shape), tied), tensor.quant_type].append(tensor)
    return tuple(
        WeightGroup(role, kind, sum(t.elements for t in group), sum(map(tensor_bytes, group)), len(group))
        for (role, kind), group in found.items()
    )


@lru_cache(_REMEMBERED)
def _role(name: str, axes: int, tied: bool) -> WeightRole:
    if axes == 1 or name.endswith((".bias", "_norm.weight")):
        return "vector"
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return "head"
    # Older files have a tensor for each expert: blk.0.ffn_up.3.weight.
    if name.endswith("_exps.weight") or (name.startswith("blk.") and name.split(".")[-2].isdigit()):
        return "expert"
    if axes == 3:
        return "latent"
    return "embedding" if name == "token_embd.weight" else "matrix"


def _type_of(name: str, shape: tuple[int, ...], model: Model, mixture: str) -> str:
    if len(shape) == 1 or name.endswith((".bias", "_norm.weight", "ffn_gate_inp.weight")):
        return "F32"
    chosen = MIXTURES[mixture]
    if mixture == "MXFP4_MOE":
        chosen = "MXFP4" if len(shape) == 3 else chosen
    elif _is_head(name, model):
        chosen = chosen if mixture in _KEPT_TYPES else "Q8_0" if model.architecture == "falcon" else "Q6_K"
    elif model.experts == 8 and chosen != "F16" and name.endswith(("attn_k.weight", "attn_v.weight")):
        chosen = "Q8_0"  # the eight-expert Mixtral files keep these small matrices at more bits, in every mixture
    elif mixture in ("Q4_K_M", "Q5_K_M"):
        chosen = _mixed_type(name, chosen, model)
    if shape[0] % block_elements(chosen):
        chosen = _FALLBACK.get(chosen, "F16")
    return chosen


def _is_head(name: str, model: Model) -> bool:
    return name == "output.weight" or (model.tied_embeddings and name == "token_embd.weight")


def _mixed_type(name: str, bulk: str, model: Model) -> str:
    """The type in Q4_K_M and Q5_K_M of a matrix that is neither head nor embedding."""
    if "attn_qkv" in name:
        return {"Q4_K": "Q5_K", "Q5_K": "Q6_K"}[bulk]
    if "attn_output" in name and model.experts == 8:
        return "Q5_K"
    if "attn_v.weight" not in name and "ffn_down" not in name:
        return bulk
    layer = int(name.split(".")[1])
    more_bits = _use_more_bits(layer, model.layers)
    if model.architecture == "falcon" and bulk == "Q4_K" and layer >= model.layers // 16:
        return "Q5_K" if more_bits else bulk
    # llama.cpp gives the shared V heads of the 70B shapes one step more precision.
    shared = "attn_v" in name and model.layers == 80 and bulk == "Q4_K"
    return "Q6_K" if more_bits else "Q5_K" if shared else bulk


def _use_more_bits(layer: int, layers: int) -> bool:
    """The layers that K mixtures keep at higher precision: the first and last eighth, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2
