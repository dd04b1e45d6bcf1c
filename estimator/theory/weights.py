"""Bytes and FLOP of the weights: what the file holds, what a token reads, what the engine copies.

Formulas of formula family 1 (weights). Repacking: on x86 with AVX2, llama.cpp copies the matrices of some
block types into an anonymous buffer in an order that suits its kernels (ggml-cpu/repack.cpp).
"""

from __future__ import annotations

from collections import defaultdict

from estimator.specs import Model, ModelFile, WeightGroup

# Roles whose groups are multiplied once per token.
MATRIX_ROLES = ("matrix", "latent", "expert")
# Found by loading a small file of every GGML type with xllamacpp 2026.10.11549 (AVX2, no AVX-512).
# A build with other CPU features repacks other types.
X86_AVX2_REPACKED_TYPES = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})


def multiplied_groups(file: ModelFile) -> tuple[WeightGroup, ...]:
    """The groups that tokens are multiplied with: matrices, experts and the head, not the gathered embedding."""
    return tuple(group for group in file.groups if group.role in (*MATRIX_ROLES, "head"))


def touched_experts(model: Model, rows: int) -> float:
    """Mean number of a layer's E experts that a batch of `rows` tokens reads, k of them each: E·(1 - (1 - k/E)^rows).

    As if every choice were independent and all experts equally likely, which routers are trained for; text of one
    subject touches fewer. Source: probability that none of the rows chose an expert.
    """
    return model.experts * (1.0 - (1.0 - model.experts_used / model.experts) ** rows)


def read_bytes(group: WeightGroup, model: Model, rows: int) -> float:
    """Bytes of `group` that a batch of `rows` tokens reads: all of them, or of experts the share that is touched."""
    if group.role != "expert":
        return group.size_bytes
    return group.size_bytes * touched_experts(model, rows) / model.experts


def flop_per_row(group: WeightGroup, model: Model) -> int:
    """2 x elements: a multiplication and an addition each, for one token; of experts k / E of the elements."""
    if group.role != "expert":
        return 2 * group.elements
    return 2 * group.elements * model.experts_used // model.experts


def flop_per_row_by_type(file: ModelFile) -> dict[str, int]:
    """Σ `flop_per_row` of the multiplied groups, by block type."""
    found: defaultdict[str, int] = defaultdict(int)
    for group in multiplied_groups(file):
        found[group.quant_type] += flop_per_row(group, file.model)
    return dict(found)


def read_bytes_by_type(file: ModelFile, rows: int) -> dict[str, float]:
    """Σ `read_bytes` of the multiplied groups, by block type."""
    found: defaultdict[str, float] = defaultdict(float)
    for group in multiplied_groups(file):
        found[group.quant_type] += read_bytes(group, file.model, rows)
    return dict(found)


def mapped_bytes(file: ModelFile) -> int:
    """Bytes of the memory-mapped model buffer: Σ tensors: rows x ceil(row / block) x block bytes.

    The engine maps the span of the tensors that it uses from the file; the tensors of every mixture
    here end in one that is not repacked, so the span is all of them. Source: llama-model.cpp, dry runs.
    """
    return file.weight_bytes


def repacked_bytes(file: ModelFile, repacked_types: frozenset[str] = X86_AVX2_REPACKED_TYPES) -> int:
    """Bytes of the CPU_REPACK buffer: Σ matrices, experts and head whose block type is in `repacked_types`.

    The repacked copy is as large as the original. The gathered embedding is never repacked; a head
    would be, but the mixtures give it Q6_K, Q8_0 or F16. Matrices a head (latent) are not.
    Source: ggml-cpu/repack.cpp, loads of tiny files of every architecture.
    """
    copied = (group for group in multiplied_groups(file) if group.role != "latent")
    return sum(group.size_bytes for group in copied if group.quant_type in repacked_types)


def host_weight_bytes(file: ModelFile) -> int:
    """Bytes of the embedding table, which engines of the llama.cpp family leave to the CPU: a token gathers one row.

    A tied embedding is the head as well and goes to the GPU. Source: llama-model.cpp (the input layer is the CPU's).
    """
    return sum(group.size_bytes for group in file.groups if group.role == "embedding")


def bytes_read_per_step(file: ModelFile, rows: int = 1) -> float:
    """Bytes of weights that a pass over `rows` tokens reads: Σ matrices and head, of experts those that are touched.

    Of the embedding only a row a token, ignored.
    """
    groups = multiplied_groups(file)
    read = sum(group.size_bytes for group in groups if group.role != "expert")
    experts = [group.size_bytes for group in groups if group.role == "expert"]
    return read + sum(experts) * touched_experts(file.model, rows) / file.model.experts if experts else read


def matrix_flop_per_token(file: ModelFile) -> int:
    """2 x elements of the matrices and of k / E of the experts, for one token (head excluded)."""
    return sum(flop_per_row(group, file.model) for group in file.groups if group.role in MATRIX_ROLES)


def active_parameters(file: ModelFile) -> int:
    """Weights that one token is multiplied with or added to: all but the experts that it does not choose."""
    total = sum(group.elements for group in file.groups)
    experts = sum(group.elements for group in file.groups if group.role == "expert")
    return total - experts + (experts * file.model.experts_used // file.model.experts if experts else 0)


def head_flop_per_token(file: ModelFile) -> int:
    """2 x elements of the head, for one token whose logits are wanted."""
    return sum(2 * group.elements for group in file.groups if group.role == "head")


def head_read_bytes(file: ModelFile) -> int:
    """Bytes of the head, which a pass reads when logits of it are wanted."""
    return sum(group.size_bytes for group in file.groups if group.role == "head")
