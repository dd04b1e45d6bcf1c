"""Which terms some observations cannot tell apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from calibration.observations import Observation

# Relative singular value under which amounts are the same, and the share of a term in them that is worth its name.
_SAME, _PART = 1e-6, 0.01


def not_told_apart(observations: Sequence[Observation], among: Collection[str] | None = None) -> tuple[str, ...]:
    """Terms whose amounts are constant, or a combination of others', in all observations of one phase.

    They take part in the null space of the matrix of amounts, each column scaled to length 1, all divided by the times.
    With `among` the prices of all other terms are taken as known.
    """
    names = sorted({name for o in observations for name in o.terms if among is None or name in among})
    if not names:
        return ()
    amounts = np.array([[o.terms.get(name, 0.0) / o.seconds for name in names] for o in observations])
    lengths = np.linalg.norm(amounts, axis=0)
    _, sizes, directions = np.linalg.svd(amounts / np.where(lengths > 0, lengths, 1), full_matrices=True)
    rank = int((sizes > _SAME * sizes[0]).sum())
    taking_part = np.linalg.norm(directions[rank:], axis=0)
    return tuple(name for name, part in zip(names, taking_part, strict=True) if part > _PART)


def not_told_apart_by_phase(
    observations: Sequence[Observation], among: Collection[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """The same of the cells of each phase."""
    return {
        phase: not_told_apart([o for o in observations if o.phase == phase], among) for phase in ("decode", "prefill")
    }
