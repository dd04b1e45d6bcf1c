"""How strongly prices are drawn toward what was known before: chosen by leaving models out, else a stated default.

The strength is the relative standard deviation of a price about prior x scale: small where the prior is believed, large
where the records decide. For each of SDS every model, all its weight types with it, is predicted from the others; a
model's loss is the root mean square of log(predicted / measured), each cell's cut at CUT so that one does not decide,
the mean of both phases. Of the strengths that are worse than the best by at most a standard error of the difference
over the models that nearest to the default wins (the rule of one standard error: Breiman et al., Classification and
Regression Trees, 1984): five models tell strengths apart badly, and say nothing of weight types that they hardly have.
What is held out is held out of the choice too: `Fits.fit` chooses anew on whatever it is given. The default and the
rule were chosen by `tests.benchmarks.strength`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from calibration.fitters import PRIOR_SD, SpeedFit, fit_speed
from calibration.observations import Observation
from calibration.validate import shape_of

SDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
LEAST_MODELS = 3
CUT = 0.3


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before the records: prices up to a factor a phase; how much each differs between machines, as
    multiples of the strength (`spread`; 1 where it is not named); how many other machines say so; and how well the
    prices themselves are known, relative (`errors`; exact where it is not named)."""

    prices: Mapping[str, float] | None
    spread: Mapping[str, float] = field(default_factory=dict)
    machines: int = 0
    errors: Mapping[str, float] = field(default_factory=dict)

    def sds(self, relative_sd: float) -> dict[str, float]:
        """The standard deviation of each price at a strength: of machines among each other, and of what is known."""
        return {
            name: math.hypot(relative_sd * self.spread.get(name, 1.0), self.errors.get(name, 0.0))
            for name in self.prices or {}
        }


@dataclass(frozen=True, slots=True)
class Strength:
    """A strength, and over how many models that were left out it was chosen; 0: too few to choose, the default."""

    relative_sd: float = PRIOR_SD
    models: int = 0

    @property
    def words(self) -> str:
        """What it is and how it was chosen."""
        if not self.models:
            return f"{self.relative_sd:g} (the default: under {LEAST_MODELS} models cannot choose)"
        kept = "the default: none surely better" if self.relative_sd == PRIOR_SD else "chosen"
        return f"{self.relative_sd:g} ({kept} by leaving out each of {self.models} models)"


class Fits:
    """Fits to some of the observations, with the strength that those choose; each is made once."""

    def __init__(self, observations: Sequence[Observation], known: Known) -> None:
        self._known = known
        self._index = {id(o): at for at, o in enumerate(observations)}
        self._made: dict[tuple[float, tuple[int, ...]], SpeedFit] = {}

    def fit(self, chosen: Sequence[Observation]) -> SpeedFit:
        """The fit to `chosen`, with the strength that they choose."""
        return self._at(chosen, self.strength(chosen).relative_sd)

    def strength(self, chosen: Sequence[Observation]) -> Strength:
        """Of SDS that nearest to the default which is not surely worse than the best; the default of few models."""
        models = sorted({shape_of(o.file) for o in chosen})
        if not self._known.prices or len(models) < LEAST_MODELS:
            return Strength()
        losses = {sd: [self._loss(chosen, model, sd) for model in models] for sd in SDS}
        best = min(losses.values(), key=fmean)
        as_good = [sd for sd in SDS if _not_surely_worse(losses[sd], best)]
        return Strength(min(as_good, key=lambda sd: abs(math.log(sd / PRIOR_SD))), len(models))

    def _loss(self, chosen: Sequence[Observation], model: str, relative_sd: float) -> float:
        fit = self._at([o for o in chosen if shape_of(o.file) != model], relative_sd)
        found = []
        for phase in ("decode", "prefill"):
            asked = [o for o in chosen if o.phase == phase and shape_of(o.file) == model]
            said = [(fit.seconds(o.terms), o.seconds) for o in asked]
            cut = [min(CUT, abs(math.log(predicted / seconds))) for predicted, seconds in said if predicted]
            found += [math.sqrt(fmean(size**2 for size in cut))] if cut else []
        return fmean(found) if found else 0.0

    def _at(self, chosen: Sequence[Observation], relative_sd: float) -> SpeedFit:
        key = relative_sd, tuple(self._index[id(o)] for o in chosen)
        if key not in self._made:
            self._made[key] = fit_speed(chosen, self._known.prices, self._known.sds(relative_sd))
        return self._made[key]


def _not_surely_worse(losses: Sequence[float], best: Sequence[float]) -> bool:
    """Whether the losses of the models are larger by no more than a standard error of their mean difference."""
    worse = [one - other for one, other in zip(losses, best, strict=True)]
    return fmean(worse) <= stdev(worse) / math.sqrt(len(worse))
