"""Bytes and FLOP of the weights: what the file holds, what a token reads, what the engine copies.

Formulas of formula family 1 (weights). Repacking: on x86 with AVX2, llama.cpp copies the matrices of some
block types into an anonymous buffer in an order that suits its kernels (ggml-cpu/repack.cpp).
"""

from __future__ import annotations

from estimator.specs import ModelFile, WeightGroup

# Found by loading a small file of every GGML type with xllamacpp 2026.10.11549 (AVX2, no AVX-512).
# A build with other CPU features repacks other types.
X86_AVX2_REPACKED_TYPES = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})


def multiplied_groups(file: ModelFile) -> tuple[WeightGroup, ...]:
    """The groups that a token is multiplied with: matrices and the head, not the gathered embedding."""
    return tuple(group for group in file.groups if group.role in ("matrix", "head"))


def mapped_bytes(file: ModelFile) -> int:
    """Bytes of the memory-mapped model buffer: Σ tensors: rows x ceil(row / block) x block bytes.

    The engine maps the span of the tensors that it uses from the file; the tensors of every mixture
    here end in one that is not repacked, so the span is all of them. Source: llama-model.cpp, dry runs.
    """
    return file.weight_bytes


def repacked_bytes(file: ModelFile, repacked_types: frozenset[str] = X86_AVX2_REPACKED_TYPES) -> int:
    """Bytes of the CPU_REPACK buffer: Σ matrices and head whose block type is in `repacked_types`.

    The repacked copy is as large as the original. The gathered embedding is never repacked; a head
    would be, but the mixtures give it Q6_K, Q8_0 or F16. Source: ggml-cpu/repack.cpp, dry runs.
    """
    return sum(group.size_bytes for group in multiplied_groups(file) if group.quant_type in repacked_types)


def host_weight_bytes(file: ModelFile) -> int:
    """Bytes of the embedding table, which engines of the llama.cpp family leave to the CPU: a token gathers one row.

    A tied embedding is the head as well and goes to the GPU. Source: llama-model.cpp (the input layer is the CPU's).
    """
    return sum(group.size_bytes for group in file.groups if group.role == "embedding")


def bytes_read_per_token(file: ModelFile) -> int:
    """Bytes of weights that one decoded token reads: Σ matrices and head; of the embedding only one row, ignored."""
    return sum(group.size_bytes for group in multiplied_groups(file))


def matrix_flop_per_token(file: ModelFile) -> int:
    """2 x elements of the matrices: one multiplication and one addition each, for one token (head excluded)."""
    return sum(2 * group.elements for group in file.groups if group.role == "matrix")


def head_flop_per_token(file: ModelFile) -> int:
    """2 x elements of the head, for one token whose logits are wanted."""
    return sum(2 * group.elements for group in file.groups if group.role == "head")
