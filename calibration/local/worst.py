"""The worst predictions of models left out, with what the data say about the reason. A sentence is true of the cell;
that it is the reason is for the reader to judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from calibration.fitters import MEASURED_SHARE
from calibration.local.leaving import Held, of_phase
from calibration.observations import Observation
from calibration.shown.sides import same_side
from calibration.shown.tables import Table

# A term that is this share of a predicted time matters; terms of no size together are this share of a short request's.
_MATTERS, _SHORT = 0.1, 0.25
_FIXED = ("layer", "step", "request")
NOT_EXPLAINED = "not explained"


def worst_table(held: Sequence[Held], count: int = 10) -> Table:
    """The `count` cells whose prediction is the furthest off, by factor."""
    known = sorted((one for one in held if one.predicted_s is not None), key=lambda one: -abs(one.log))
    rows = tuple(
        (
            one.observation.label,
            _time(one.observation.seconds),
            _time(one.predicted_s or 0.0),
            f"{one.error or 0.0:+.1%}",
            "; ".join(reasons(held, one)) or NOT_EXPLAINED,
        )
        for one in known[:count]
    )
    heads = ("cell, its model left out", "measured", "predicted", "error", "what the data say")
    return Table(f"The worst {len(rows)} cells", heads, rows)


def reasons(held: Sequence[Held], one: Held) -> list[str]:
    """Sentences that hold for `one`, the most telling first; none where the data have nothing to say."""
    others = [other for other in of_phase(held, one.observation.phase) if other.group != one.group]
    return [*_seldom(one, others), *_beyond(one, others), *_alike(held, one), *_short(one), *_uncertain(one)]


def _shares(one: Held) -> dict[str, float]:
    """The share of each term in the predicted time."""
    whole = one.predicted_s or 1.0
    return {name: one.prices.get(name, 0.0) * amount / whole for name, amount in one.observation.terms.items()}


def _seldom(one: Held, others: Sequence[Held]) -> list[str]:
    """Terms that matter here and that hardly another model speaks of."""
    found = []
    for name, share in sorted(_shares(one).items(), key=lambda entry: -entry[1]):
        if share < _MATTERS:
            break
        price = one.prices[name]
        models = {
            other.group
            for other in others
            if other.observation.terms.get(name, 0.0) * price >= MEASURED_SHARE * other.observation.seconds
        }
        if len(models) < 2:
            seen = f"{MEASURED_SHARE:.0%} or more of it in {len(models) or 'no'} other model"
            found.append(f"{name} is {share:.0%} of the predicted time, and {seen}")
    return found


_RANGES: dict[str, Callable[[Observation], float]] = {
    "tokens in the cache": lambda o: float(o.work.depth_tokens),
    "prompt tokens": lambda o: float(o.work.prompt_tokens),
    "output tokens": lambda o: float(o.work.output_tokens),
    "million parameters": lambda o: round(o.file.parameters / 1e6),
}


def _beyond(one: Held, others: Sequence[Held]) -> list[str]:
    """What of the cell lies outside what the other models' cells of this phase have."""
    found = []
    for name, value_of in _RANGES.items():
        value, seen = value_of(one.observation), [value_of(other.observation) for other in others]
        if seen and not min(seen) <= value <= max(seen):
            found.append(f"{value:,.0f} {name}, others {min(seen):,.0f} to {max(seen):,.0f}")
    return found


def _alike(held: Sequence[Held], one: Held) -> list[str]:
    """Whether its model, its shape or its weight type errs as a whole, as far as it is predicted."""
    o, found = one.observation, []
    known = [other for other in of_phase(held, o.phase) if other.predicted_s is not None and other is not one]
    own, others = ([other for other in known if (other.group == one.group) is same] for same in (True, False))
    if len(own) > 1 and _err_alike(own, one):
        found.append(f"all {len(own) + 1} cells of this model err to this side: the model, not prompt or depth")
    shape = [other for other in others if _shape(other.observation) == _shape(o)]
    if len({other.group for other in shape}) > 1 and _err_alike(shape, one):
        found.append(f"so do all {len(shape)} cells of other models at this prompt and depth")
    mixture = [other for other in others if other.observation.file.quant == o.file.quant]
    if len({other.group for other in mixture}) > 1 and _err_alike(mixture, one):
        found.append(f"so do all {len(mixture)} cells of other models of this weight type")
    return found


def _shape(o: Observation) -> tuple[int, int]:
    return o.work.prompt_tokens, o.work.depth_tokens


def _err_alike(others: Sequence[Held], one: Held) -> bool:
    return len(others) > 1 and same_side(np.array([other.log for other in others]), one.log)


def _short(one: Held) -> list[str]:
    shares = _shares(one)
    fixed = sum(shares.get(name, 0.0) for name in _FIXED)
    return [f"short: {fixed:.0%} of the predicted time is {', '.join(_FIXED)}"] if fixed >= _SHORT else []


def _uncertain(one: Held) -> list[str]:
    """What of the error the measurement itself could be."""
    o, size = one.observation, abs(one.error or 0.0)
    found = ["NOISY, and used all the same"] if o.noisy else []
    if o.relative_error is not None and 2 * o.relative_error >= size:
        found.append(f"the standard error of its median is {o.relative_error:.1%}")
    medians = [seconds for _, seconds in o.by_run]
    if len(medians) > 1 and (apart := max(medians) / min(medians) - 1) >= size / 2:
        found.append(f"its {len(medians)} runs differ by {apart:.1%}")
    return found


def _time(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"
