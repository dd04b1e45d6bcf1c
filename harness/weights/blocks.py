"""Random blocks of each GGML weight type: every bit pattern valid, every scale finite and fixed.

The quantised integers are uniform random bits; only the scale fields are set, to values that give
weights of zero mean and a standard deviation near 0.02, so that no activation overflows F16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from estimator.quants import block_bytes, block_elements
from harness.errors import HarnessError

Blocks = NDArray[np.uint8]

# (byte offset in the block, value) of each F16 scale field; layouts: ggml-common.h of llama.cpp.
# K types: weight = d * scale * q - dmin * min, with 6-bit scale and min uniform random; the ratio
# dmin / d = (mean q) makes the mean zero.
_SCALES: dict[str, tuple[tuple[int, float], ...]] = {
    "Q4_0": ((0, 0.0043),),
    "Q5_0": ((0, 0.0022),),
    "Q5_1": ((0, 0.0022), (2, -0.0341)),
    "Q8_0": ((0, 0.00027),),
    "Q4_K": ((0, 0.0001), (2, 0.00075)),
    "Q5_K": ((0, 0.00007), (2, 0.001085)),
    "Q6_K": ((208, 0.000117),),
}
# MXFP4's shared exponent: 2^(120 - 127) times ±{0 .. 6}, of deviation 2.9.
_MXFP4_EXPONENT = 120
# Q6_K's sixteen 8-bit scales stand at these bytes; five random bits less 16 keep them small.
_Q6_K_SCALES = slice(192, 208)


def random_blocks(quant_type: str, count: int, rng: np.random.Generator) -> Blocks:
    """`count` blocks of `quant_type` as a (count, block bytes) array. Raises HarnessError for an unknown type."""
    size = block_bytes(quant_type)
    if quant_type in _PLAIN:
        return _PLAIN[quant_type](count * block_elements(quant_type), rng).view(np.uint8).reshape(count, size)
    if quant_type not in _SCALES and quant_type != "MXFP4":
        known = ", ".join([*_PLAIN, *_SCALES, "MXFP4"])
        raise HarnessError(f"weight-free blocks of type {quant_type} cannot be made: known are {known}")
    words = rng.integers(0, 2**64, size=-(-count * size // 8), dtype=np.uint64)
    blocks: Blocks = words.view(np.uint8)[: count * size].reshape(count, size)
    if quant_type == "Q6_K":
        blocks[:, _Q6_K_SCALES] = (blocks[:, _Q6_K_SCALES] & 0x1F) - np.uint8(16)
    if quant_type == "MXFP4":
        blocks[:, 0] = _MXFP4_EXPONENT
    for offset, value in _SCALES.get(quant_type, ()):
        blocks[:, offset : offset + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)
    return blocks


def random_floats(count: int, rng: np.random.Generator) -> Blocks:
    """`count` F32 values of mean 0 and deviation 0.02, as a (count, 4) array: a router that chooses all experts alike.

    With ones, as norms have them, every token would choose the same experts, and a run would read too few.
    """
    return (0.02 * rng.standard_normal(count, dtype=np.float32)).view(np.uint8).reshape(count, 4)


def _random_f16(elements: int, rng: np.random.Generator) -> NDArray[Any]:
    # Random sign and mantissa under one of two exponents: magnitudes in [1/128, 1/32).
    bits = rng.integers(0, 2**16, size=elements, dtype=np.uint16)
    return (bits & np.uint16(0x87FF)) + np.uint16(0x2000)


def _ones_f32(elements: int, rng: np.random.Generator) -> NDArray[Any]:
    # One-dimensional tensors: norms of one. As biases they shift every head alike, which changes no speed.
    return np.ones(elements, dtype=np.float32)


_PLAIN: dict[str, Callable[[int, np.random.Generator], NDArray[Any]]] = {"F16": _random_f16, "F32": _ones_f32}
