"""The stored runs of a report: the fit to them, and whether the prior may be believed beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import NothingToFit
from calibration.fitters import fit_speed
from calibration.fitting import Fitted, fit
from calibration.local.leaving import Fit, model_of
from calibration.machines import moved_words
from calibration.observations import Observation
from estimator.coefficients import Coefficients, MemoryCoefficients

WITH, WITHOUT = "with the shipped prior", "without a prior"


@dataclass(frozen=True, slots=True)
class Stored:
    """A fit with its prior (None: none of this engine), and how many of its runs that prior was fitted to.

    Where there are such runs, a fit that is drawn to the prior has seen what was left out. It is no evidence then, and
    what this report says is of fits without a prior.
    """

    fitted: Fitted
    prior: Coefficients | None
    runs_seen: int

    @property
    def observations(self) -> Sequence[Observation]:
        """What was fitted."""
        return self.fitted.observations

    @property
    def believed(self) -> Coefficients | None:
        """The prior of the fits of this report."""
        return None if self.runs_seen else self.prior

    @property
    def fit(self) -> Fit:
        """How this report fits."""
        return self.fitted.refit if self.believed else fit_speed

    @property
    def fits(self) -> dict[str, Fit]:
        """The same with the prior, where there is one, and without; by words."""
        told: dict[str, Fit] = {self.words: self.fitted.refit} if self.prior else {}
        return told | {WITHOUT: fit_speed}

    @property
    def words(self) -> str:
        """Of fits with the prior."""
        return f"{WITH} (it has seen these runs)" if self.runs_seen else WITH

    @property
    def prior_words(self) -> str:
        """Whose prices the prior has; "" without one."""
        others = int(self.fitted.coefficients.prior.get("other_machines", 0))
        return f"{self.prior.machine.cpu}{moved_words(others)}" if self.prior else ""

    @property
    def memory_prior(self) -> MemoryCoefficients | None:
        """The prior of memory of the fits of this report."""
        return self.believed.memory if self.believed else None

    @property
    def facts(self) -> tuple[str, ...]:
        """What was fitted, and by what the figures were found, in sentences."""
        records, left = self.fitted.coefficients.records, len(self.fitted.left_out)
        what = (
            f"{self.fitted.build}: {records.requests} requests, {records.cells} cells, {records.models} models, "
            f"{records.journals} runs; left out by the fit: {left} cells, processes or runs (`calibration fit` names "
            f"them); in spite of their noise: {len(self.fitted.noisy)}."
        )
        if self.prior is None:
            basis = "Fits without a prior: none is shipped for this engine."
        elif self.runs_seen:
            basis = (
                f"Fits without a prior: the shipped one was fitted to {self.runs_seen} of these {records.journals} "
                "runs, so what is drawn to it has seen what was left out, and a figure with it is no evidence."
            )
        else:
            basis = f"Fits like those of `calibration fit`, drawn to the shipped prior ({self.prior_words})."
            if self.fitted.coefficients.prior.get("other_machines"):
                basis += " What other builds measured of a model that is left out stays in that prior."
        told = "Every error is of something that the fit had not seen. One machine: nothing is said of others."
        return (what, f"{basis} {told}")


def stored(paths: list[Path], prior: Coefficients | None, include_noisy: bool = False) -> Stored:
    """The fit to the newest build in `paths`. Raises NothingToFit, also where no model can be left out; BadResults."""
    fitted = fit(paths, prior, include_noisy)
    if len({model_of(o) for o in fitted.observations}) < 2:
        cells, name = len({o.cell for o in fitted.observations}), fitted.observations[0].file.model.name
        count = "the only cell is" if cells == 1 else f"all {cells} cells are"
        raise NothingToFit(f"no model can be left out: {count} of {name}; measure a second model")
    known = prior if fitted.prices is not None else None
    runs = {run for o in fitted.observations for run, _ in o.by_run}
    return Stored(fitted, known, len(runs & set(known.evidence.runs)) if known else 0)
