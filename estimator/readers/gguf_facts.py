"""A Model from the metadata of a GGUF file and its list of tensors, wherever they were read.

The keys are those of llama.cpp (src/llama-arch.cpp); estimator/metadata.py writes them. Where metadata and tensors
both tell a width, the tensors are believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from estimator.errors import UnreadableFile
from estimator.readers.gguf_header import Array
from estimator.specs import Model, Tensor

# Architectures whose sliding window llama.cpp honours, and every how many layers one sees everything
# (llama.cpp: src/models/*.cpp, set_swa_pattern). It ignores the window of `llama` and `phi3` files.
_WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2, "llama4": 4}
# Llama 4 attends in chunks, whose length its files do not state.
_CHUNK_TOKENS = 8192
_MOST_LAYERS = 10_000
# Keys of models whose memory and speed the theory here does not describe.
_BEYOND_THEORY = {"ssm.state_size": "a state-space", "wkv.head_size": "an RWKV"}


def model_from_facts(where: str, name: str, metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> Model:
    """The model `name` that `metadata` and `tensors` describe. Raises UnreadableFile, which begins with `where`."""
    facts = _Facts(where, metadata)
    facts.refuse_what_is_beyond_theory()
    names = {tensor.name for tensor in tensors}
    return Model(
        names=(name,),
        title=str(metadata.get("general.name", name)),
        architecture=facts.architecture,
        layers=facts.layers(),
        hidden=facts.number("embedding_length"),
        vocabulary=_vocabulary(facts, tensors),
        context_tokens=facts.number("context_length"),
        tied_embeddings="output.weight" not in names,
        source=f"GGUF header of {where.rpartition('/')[2]}",
        parameters=sum(tensor.elements for tensor in tensors if not tensor.name.startswith("rope_")) or None,
        rope_theta=facts.real("rope.freq_base", 10_000.0),
        rope_factors=bool(names & {"rope_freqs.weight", "rope_factors_long.weight"}),
        norm_epsilon=facts.real("attention.layer_norm_rms_epsilon", facts.real("attention.layer_norm_epsilon", 1e-5)),
        **_attention(facts),
        **_window(facts),
        **_experts(facts, tensors),
    )


class _Facts:
    """The metadata of one model, asked for by the name without its architecture prefix."""

    def __init__(self, where: str, metadata: Mapping[str, Any]) -> None:
        self.where, self.metadata = where, metadata
        if not isinstance(metadata.get("general.architecture"), str):
            raise UnreadableFile(f"{where} does not say its architecture: it is not a language model")
        self.architecture: str = metadata["general.architecture"]

    def number(self, name: str, default: int | None = None) -> int:
        """The whole number `name`; the largest where the file gives one a layer."""
        found = self.metadata.get(f"{self.architecture}.{name}", default)
        if isinstance(found, Array):
            found = max(found.values or (), default=None)
        if isinstance(found, bool) or not isinstance(found, int) or (found <= 0 and found != default):
            key = f"{self.architecture}.{name}"
            raise UnreadableFile(
                f"{self.where} has no usable {key} ({found!r}): it is not a decoder-only language model"
            )
        return found

    def layers(self) -> int:
        """How many there are: a number that can be counted to."""
        found = self.number("block_count")
        if found > _MOST_LAYERS:
            raise UnreadableFile(f"{self.where} claims {found:,} layers, more than any model has: it is damaged")
        return found

    def real(self, name: str, default: float) -> float:
        """The number `name`, or `default` where the file does not give one."""
        found = self.metadata.get(f"{self.architecture}.{name}", default)
        return float(found) if isinstance(found, float | int) else default

    def refuse_what_is_beyond_theory(self) -> None:
        for key, what in _BEYOND_THEORY.items():
            if self.metadata.get(f"{self.architecture}.{key}"):
                raise UnreadableFile(
                    f"{self.where} is {what} model, which no formula here describes: choose a transformer"
                )


def _attention(facts: _Facts) -> dict[str, Any]:
    hidden, heads = facts.number("embedding_length"), facts.number("attention.head_count")
    if facts.number("attention.key_length_mla", 0):
        found = {
            "kv_heads": heads,
            "key_length": facts.number("attention.key_length_mla"),
            "value_length": facts.number("attention.value_length_mla"),
            "kv_lora_rank": facts.number("attention.kv_lora_rank"),
            "q_lora_rank": facts.number("attention.q_lora_rank", 0),
        }
    else:
        # Older DeepSeek files too: without the absorbed matrices the engine unpacks the latent and caches all heads.
        found = {
            "kv_heads": facts.number("attention.head_count_kv", heads),
            "key_length": facts.number("attention.key_length", hidden // heads or 1),
            "value_length": facts.number("attention.value_length", hidden // heads or 1),
        }
    rotated = facts.number("rope.dimension_count", found["key_length"])
    return found | {"heads": heads, "rope_length": rotated if rotated != found["key_length"] else 0}


def _window(facts: _Facts) -> dict[str, Any]:
    pattern = facts.metadata.get(f"{facts.architecture}.attention.sliding_window_pattern")
    period = _WINDOW_PERIODS.get(facts.architecture, 0)
    if isinstance(pattern, Array):
        period = _period(facts, pattern.values or ())
    elif isinstance(pattern, int) and pattern > 0:
        period = pattern
    chunk = _CHUNK_TOKENS if facts.architecture == "llama4" else 0
    window = facts.number("attention.sliding_window", chunk) if period else 0
    return {"sliding_window_tokens": window, "window_period": period} if window and period > 1 else {}


def _period(facts: _Facts, windowed: Sequence[Any]) -> int:
    """Every how many layers one sees everything, from the list that says which layers do not."""
    for period in range(1, len(windowed) + 2):
        if all(bool(flag) == (layer % period != period - 1) for layer, flag in enumerate(windowed)):
            return period
    raise UnreadableFile(
        f"{facts.where} has a pattern of windowed layers that no formula here describes: choose another model"
    )


def _experts(facts: _Facts, tensors: Sequence[Tensor]) -> dict[str, Any]:
    experts, ffn = facts.number("expert_count", 0), facts.number("feed_forward_length", 0)
    if not experts:
        return {"ffn": facts.number("feed_forward_length")}
    used = facts.number("expert_used_count")
    if used > experts:
        raise UnreadableFile(f"{facts.where} uses {used} of {experts} experts: its header is damaged")
    widths = {
        tensor.name.partition(".ffn_down")[2]: tensor.shape[0] for tensor in tensors if ".ffn_down" in tensor.name
    }
    expert_ffn = widths.get("_exps.weight") or facts.number("expert_feed_forward_length", ffn)
    shared = facts.number("expert_shared_count", 0) * expert_ffn
    return {
        "ffn": ffn or expert_ffn,
        "experts": experts,
        "experts_used": used,
        "expert_ffn": expert_ffn,
        "shared_ffn": widths.get("_shexp.weight") or facts.number("expert_shared_feed_forward_length", shared),
        "dense_layers": facts.number("leading_dense_block_count", 0),
        "expert_period": facts.number("interleave_moe_layer_step", 1),
        "expert_bias": any(tensor.name.endswith("exp_probs_b.bias") for tensor in tensors),
    }


def _vocabulary(facts: _Facts, tensors: Sequence[Tensor]) -> int:
    tokens = facts.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Array):
        return tokens.length
    rows = (tensor.shape[1] for tensor in tensors if tensor.name == "token_embd.weight" and len(tensor.shape) == 2)
    return next(rows, 0) or facts.number("vocab_size", 0)
