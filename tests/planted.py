"""A planted machine: prices of physical terms, and the simulated law that each model obeys on it.

Only terms that a law can express are planted: prompts stay under 64 tokens and multiples of 16, so
that attention runs row by row and no row is left over.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from estimator.catalog import find_model
from estimator.specs import ModelFile, Workload
from estimator.tensors import model_file
from estimator.theory.terms import decode_terms, prefill_terms
from harness.simulated.law import Law

MIXTURE = "Q8_0"
MODELS = ("qwen2.5:0.5b", "tinyllama:1.1b", "llama3.2:1b", "qwen2.5:1.5b", "gemma2:2b", "llama3.2:3b")
PRICES = {
    "weights.Q8_0": 1 / 60e9,
    "matmul.Q8_0": 1 / 1.6e12,
    "attention.decode": 15e-9,
    "attention.row": 7.5e-9,
    "layer": 200e-6,
    "request": 0.1,
}


def file_of(name: str) -> ModelFile:
    """The catalogue model at the planted weight type."""
    return model_file(find_model(name), MIXTURE)


def random_prices(seed: int) -> dict[str, float]:
    """Prices of another machine: each half to twice that of `PRICES`, as likely dearer as cheaper."""
    rng = random.Random(seed)
    return {name: price * math.exp(rng.uniform(-math.log(2), math.log(2))) for name, price in PRICES.items()}


def seconds(terms: Mapping[str, float], prices: Mapping[str, float] = PRICES) -> float:
    """What the planted machine takes for `terms`."""
    return sum(prices.get(name, 0.0) * amount for name, amount in terms.items())


def law_of(name: str, prices: Mapping[str, float] = PRICES, **changes: object) -> Law:
    """The law of `name` on the planted machine, solved from the theory at two sizes each (it is linear in them)."""
    file = file_of(name)
    pair = prices["attention.row"] * prefill_terms(file, Workload(16, 2, 0))["attention.row"] / (16 * 17 / 2)
    at_16 = seconds(prefill_terms(file, Workload(16, 2)), prices) - pair * 16 * 17 / 2
    at_32 = seconds(prefill_terms(file, Workload(32, 2)), prices) - pair * 32 * 33 / 2
    token = (at_32 - at_16) / 16
    step = {n: seconds(decode_terms(file, Workload(n, 2)), prices) for n in (16, 1016)}
    context = (step[1016] - step[16]) / 1000
    parts: dict[str, float] = {
        "prefill_fixed_s": at_16 - 16 * token,
        "prefill_s_per_token": token,
        "prefill_s_per_token_pair": pair,
        # The step after a prompt of n tokens finds n in the cache and attends to n + 1.
        "decode_s_per_token": step[16] - 16 * context,
        "decode_s_per_context_token": context,
    }
    return Law(**(parts | changes))  # type: ignore[arg-type]
