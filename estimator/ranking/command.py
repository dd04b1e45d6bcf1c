"""`estimator models --min-speed`: options in, a ranking out."""

from __future__ import annotations

from argparse import Namespace

from estimator.catalog import find_mixture
from estimator.question import hardware_meant
from estimator.ranking.ranked import ranked_models
from estimator.ranking.text import ranking_text
from estimator.render import written
from estimator.specs import Workload


def ranking_command_text(options: Namespace) -> str:
    """What `models --min-speed` prints. Raises EstimatorError."""
    hardware, fitted = hardware_meant(options)
    work = Workload(prompt_tokens=512, output_tokens=128, context_tokens=options.context)
    quants = () if options.quant is None else (find_mixture(options.quant),)
    rows = ranked_models(work, hardware, fitted, options.min_speed, quants)
    if options.rank == "speed":
        rows = tuple(sorted(rows, key=lambda row: -(row.decode_tokens_per_s.value or 0.0)))
    return written(rows, options.json, lambda found: ranking_text(found, hardware, options.min_speed))
