"""`estimator fit`: options in, an answer out."""

from __future__ import annotations

import json
from argparse import Namespace

from estimator.asked import file_asked, work_asked
from estimator.coefficients import Coefficients
from estimator.fits.choices import Question, fit_answer
from estimator.fits.text import fit_text
from estimator.plain import to_plain
from estimator.question import hardware_meant
from estimator.scope import memory_warnings
from estimator.specs import Workload

_CONTEXT_TOKENS = 8192


def fit_command_text(options: Namespace) -> str:
    """What `fit` prints. Raises EstimatorError."""
    file = file_asked(options)
    hardware, calibration = hardware_meant(options)
    # Published measurements are of speed, not of memory.
    fitted = calibration if isinstance(calibration, Coefficients) else None
    context = min(_CONTEXT_TOKENS, file.model.context_tokens) if options.context is None else options.context
    work = work_asked(options, Workload(1, 1, context_tokens=context))
    answer = fit_answer(Question(file, work, hardware, fitted))
    warnings = memory_warnings(file, work, hardware, fitted)
    if options.json:
        return json.dumps(to_plain(answer) | {"warnings": list(warnings)}, indent=2) + "\n"
    return fit_text(answer, warnings) + "\n"
