"""Fits: non-negative least squares of measured times onto physical terms, on relative residuals.

time = Σ coefficient x amount, so the fit *is* the correction. Where a prior is given (coefficients
of another machine's campaign), each coefficient is drawn toward prior x scale, the scale fitted
first: few records move little but the scale, many records decide everything. How strongly it is
drawn is the relative standard deviation of a price about prior x scale (`calibration.strength`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.linear_model import LinearRegression

from calibration.dataset import MemoryObservation, Observation, PhaseName
from estimator.coefficients import MemoryCoefficients, fitted_amounts
from estimator.specs import ModelFile, Workload
from estimator.theory.memory import MemoryNeed, resident_need
from estimator.theory.terms import term
from estimator.theory.weights import multiplied_groups

Array = NDArray[np.float64]

# Unless it is chosen on the records, a prior coefficient is trusted to 20 % (by `tests.benchmarks.strength`), that all
# weight types cost alike to 30 %, a measured median to 5 %: one cell outweighs the prior of the terms that it is of.
PRIOR_SD, ALIKE_SD, NOISE_SD = 0.2, 0.3, 0.05
# A process's memory is known to 1 %, the prior's prices of it to a fifth.
MEMORY_NOISE_SD, MEMORY_PRIOR_SD = 0.01, 0.2
# A type that nobody measured before is guessed as the middle of its kind, to a factor.
GUESS_SD = 1.0
# What the data alone are to say: only so much that what they leave open has one answer, whatever rounding does.
FREE_SD = 10.0
# Work of one kind, a query at a time: of cells with short prompts and no context the first is too small to be told.
ALIKE_TERMS = {"attention.row": "attention.decode", "attention.row_flop": "attention.decode_flop"}
# Residuals beyond this count linearly, not squared (Huber), so that one disturbed cell bends little.
HUBER = 2 * NOISE_SD
_ROUNDS, _SETTLED = 20, 1e-10
# A term is measured where it makes up at least this share of some observation.
MEASURED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class SpeedFit:
    """Seconds per unit of each term, how many observations speak of it (0: the prior alone), and the terms that a prior
    lacked, whose price is a guess as far as the observations cannot tell them apart."""

    seconds_per_unit: dict[str, float]
    cells: dict[str, int]
    guessed: frozenset[str] = frozenset()

    def seconds(self, terms: Mapping[str, float]) -> float | None:
        """Predicted time; None where a term was never fitted and has no prior."""
        if any(name not in self.seconds_per_unit for name in terms):
            return None
        return sum(self.seconds_per_unit[name] * amount for name, amount in terms.items())


def fit_speed(
    observations: Sequence[Observation],
    prior: Mapping[str, float] | None = None,
    sds: Mapping[str, float] | float | None = None,
) -> SpeedFit:
    """The coefficients that explain `observations` best; `sds` of each price about prior x scale, relative, or of all.

    minimise Σ huber((Σ_j x_j a_ij) / t_i - 1) + Σ_j (NOISE_SD / sd_j)² (x_j / (s p_j) - 1)², x >= 0; of a prior that is
    0 the price is relative to what would explain the whole of a cell. A weight type that the prior does not know is
    guessed as the middle of its kind, to GUESS_SD: left free, a type that always comes with another costs nothing.
    """
    scaled = scaled_prior(observations, prior) if prior else _alike_prior(observations)
    names = sorted({name for o in observations for name in o.terms} | set(scaled))
    guessed = {name: middle_price(name, scaled) for name in names if name not in scaled}
    scaled |= {name: price for name, price in guessed.items() if price > 0}
    rows = relative_rows(observations, names)
    units = np.array([scaled.get(name, 0.0) for name in names])
    largest = rows.max(axis=0)
    units = np.where(units > 0, units, np.where(largest > 0, 1 / np.where(largest > 0, largest, 1), 0.0))
    default = PRIOR_SD if prior else ALIKE_SD
    stated = sds if isinstance(sds, Mapping) else dict.fromkeys(names, sds or default)
    trust = [GUESS_SD if name in guessed else stated.get(name, default) for name in names]
    if not prior:
        # Alone in its kind a price is what the data say; of two alike the one that they can tell.
        trust = [FREE_SD if _family(name) == name else sd for name, sd in zip(names, trust, strict=True)]
    known = np.array([scaled.get(name, 0.0) > 0 or name in (prior or ()) for name in names])
    pull = np.diag(np.where(known, NOISE_SD / np.array(trust), 0.0))[known]
    values = robust(rows * units, pull, pull @ [float(scaled.get(name, 0.0) > 0) for name in names])
    # Free in the prior and in no observation: still free.
    told = zip(names, values * units, known | (units > 0), strict=True)
    found = {name: float(price) for name, price, has_price in told if has_price}
    cells = {name: _speaking(name, found, observations) for name in found}
    return SpeedFit(found, cells, frozenset(guessed))


def relative_rows(observations: Sequence[Observation], names: Sequence[str]) -> Array:
    """Amount of each term over the measured time: with the prices they add up to predicted / measured."""
    return np.array([[o.terms.get(name, 0.0) / o.seconds for name in names] for o in observations])


def robust(rows: Array, pull: Array, toward: Array) -> Array:
    """Iteratively reweighted non-negative least squares of rows onto 1 and of pull onto `toward`."""
    design = np.vstack([rows, pull])
    target = np.concatenate([np.ones(len(rows)), toward])
    weights, values = np.ones(len(design)), np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        before, values = values, non_negative(design, target, weights)
        if np.abs(values - before).max() <= _SETTLED:
            break
        weights[: len(rows)] = robust_weights(rows, values)
    return np.asarray(values, dtype=np.float64)


def non_negative(rows: Array, target: Array, weights: Array) -> Array:
    """The values that minimise Σ weight (rows @ values - target)², none below 0."""
    model = LinearRegression(positive=True, fit_intercept=False)
    # Thousands of small fits: what is checked here is checked where records are read.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        model.fit(rows, target, sample_weight=weights)
    return np.asarray(model.coef_, dtype=np.float64)


def robust_weights(rows: Array, values: Array) -> Array:
    """Huber's: 1 up to a relative residual of HUBER, HUBER / residual beyond."""
    return np.minimum(1.0, HUBER / np.maximum(np.abs(rows @ values - 1), 1e-12))


def _alike_prior(observations: Sequence[Observation]) -> dict[str, float]:
    """Without a prior: the best prices if all weight types cost the same per byte, and per FLOP; ALIKE_TERMS as named.

    Types that always come together (Q4_K with Q6_K) cannot be told apart by data alone; left free,
    one is priced absurdly high and the other low, and the next mixture is mispredicted.
    """
    families = sorted({_family(name) for o in observations for name in o.terms})
    rows = np.array([[_amount(o, family) / o.seconds for family in families] for o in observations])
    largest = np.where(rows.max(axis=0) > 0, rows.max(axis=0), 1.0)
    least = NOISE_SD / FREE_SD * np.eye(len(families))
    prices = robust(rows / largest, least, np.zeros(len(families))) / largest
    alike = dict(zip(families, prices, strict=True))
    return {name: float(alike[_family(name)]) for o in observations for name in o.terms}


def _family(name: str) -> str:
    """ "weights.Q4_K" -> "weights", "attention.row" -> "attention.decode"; other terms are their own family."""
    head = name.split(".", 1)[0]
    return head if head in ("weights", "matmul", "matmul_rest") else ALIKE_TERMS.get(name, name)


def _amount(observation: Observation, family: str) -> float:
    return sum(amount for name, amount in observation.terms.items() if _family(name) == family)


def scaled_prior(
    observations: Sequence[Observation], prior: Mapping[str, float], prices: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The prior (or `prices`) times this machine's scale: a factor for reading weights (decode), one for batches.

    Of a term that the prior lacks the scale is told by the middle price of its family: else what the prior has would be
    scaled as if it took the whole of the time.
    """
    prices = prior if prices is None else prices
    lacking = {name for o in observations for name in o.terms} - prior.keys()
    known = {**prior, **{name: middle_price(name, prior) for name in lacking}}
    factors = {}
    for phase in ("decode", "prefill"):
        ratios = [
            o.seconds / guess
            for o in observations
            if o.phase == phase and (guess := sum(known[name] * amount for name, amount in o.terms.items())) > 0
        ]
        if ratios:
            factors[phase] = float(np.median(ratios))
    if not factors:
        return dict(prices)
    either = next(iter(factors.values()))
    return {name: price * factors.get(phase_of(name), either) for name, price in prices.items()}


def middle_price(name: str, prices: Mapping[str, float]) -> float:
    """The middle price of the same family; 0, and so left out of account, where there is none."""
    alike = [price for other, price in prices.items() if term(other) == term(name) and price > 0]
    return median(alike) if alike else 0.0


def phase_of(name: str) -> PhaseName:
    """The phase by whose times the term is scaled."""
    return "decode" if name.startswith(("weights.", "attention.decode", "layer", "step")) else "prefill"


def _speaking(name: str, found: Mapping[str, float], observations: Sequence[Observation]) -> int:
    price = found[name]
    return sum(1 for o in observations if o.terms.get(name, 0.0) * price >= MEASURED_SHARE * o.seconds)


def fit_memory(
    observations: Sequence[MemoryObservation], prior: MemoryCoefficients | None = None
) -> MemoryCoefficients:
    """What processes hold beyond theory: constant, per vocabulary entry, per tensor, per micro-batch row (all >= 0).

    minimise Σ ((Σ_j price_j amount_j - rest) / anonymous)²: small processes count like large ones. What a process holds
    is its code's affair, not the machine's: all but the constant is drawn toward the prior's, to MEMORY_PRIOR_SD.
    """
    types = repacked_types(observations)
    if prior is not None:
        # Of types that no process had: as the prior's engine did.
        types |= set(prior.repacked_types) - {g.quant_type for o in observations for g in multiplied_groups(o.file)}
    anonymous = np.array([o.anonymous_bytes for o in observations], dtype=np.float64)
    rest = anonymous - [resident_need(o.file, o.work, types).anonymous_bytes for o in observations]
    constant, entry, tensor, row = _memory_prices(observations, rest, anonymous, prior)
    mapped = [o.file_bytes - o.file.weight_bytes for o in observations]
    return MemoryCoefficients(
        anonymous_constant_bytes=constant,
        anonymous_bytes_per_vocabulary_entry=entry,
        anonymous_bytes_per_tensor=tensor,
        anonymous_bytes_per_row=row,
        file_constant_bytes=max(0.0, float(np.median(mapped))),
        repacked_types=tuple(sorted(types)),
    )


def _memory_prices(
    observations: Sequence[MemoryObservation], rest: Array, anonymous: Array, prior: MemoryCoefficients | None
) -> list[float]:
    """Prices of `fitted_amounts`, relative errors counting alike; all but the constant are drawn toward the prior's.

    Without a prior nothing but the constant is fitted under three different vocabularies.
    """
    amounts = np.array([fitted_amounts(o.file, o.work) for o in observations])
    if prior is None and len({o.file.model.vocabulary for o in observations}) <= 2:
        return [max(0.0, float(np.median(rest))), 0.0, 0.0, 0.0]
    known = np.zeros(amounts.shape[1])
    if prior is not None:
        known[1:] = (
            prior.anonymous_bytes_per_vocabulary_entry, prior.anonymous_bytes_per_tensor, prior.anonymous_bytes_per_row
        )  # fmt: skip
    units = np.where(known > 0, known, 1 / amounts.max(axis=0))
    pull = np.diag(MEMORY_NOISE_SD / MEMORY_PRIOR_SD * (known > 0))
    rows = np.vstack([amounts * units / anonymous[:, None], pull])
    prices = non_negative(rows, np.concatenate([rest / anonymous, pull.sum(axis=1)]), np.ones(len(rows)))
    return [float(price) for price in prices * units]


def repacked_types(observations: Sequence[MemoryObservation]) -> frozenset[str]:
    """Block types that were repacked in every model that has matrices of them."""
    repacked: set[str] = set()
    plain: set[str] = set()
    for o in observations:
        sizes: dict[str, int] = {}
        for group in multiplied_groups(o.file):
            sizes[group.quant_type] = sizes.get(group.quant_type, 0) + group.size_bytes
        chosen = _types_adding_up(sizes, o.buffers.get("repacked_bytes", 0))
        repacked |= chosen
        plain |= set(sizes) - chosen
    return frozenset(repacked - plain)


def _types_adding_up(sizes: Mapping[str, int], total: int) -> set[str]:
    """The subset of types whose bytes add up best to `total` (there are never more than a handful)."""
    names = sorted(sizes)
    subsets = [{name for bit, name in enumerate(names) if mask >> bit & 1} for mask in range(2 ** len(names))]
    return min(subsets, key=lambda chosen: (abs(sum(sizes[name] for name in chosen) - total), len(chosen)))


def memory_of(coefficients: MemoryCoefficients, file: ModelFile, work: Workload) -> MemoryNeed:
    """What the coefficients say a process holds, by component."""
    return resident_need(
        file,
        work,
        frozenset(coefficients.repacked_types),
        coefficients.fitted_bytes(file, work),
        coefficients.file_constant_bytes,
    )
