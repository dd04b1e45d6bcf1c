"""`estimator predict --api` and `models --api`: options in, text out."""

from __future__ import annotations

from argparse import Namespace

from estimator.api.answer import ApiQuestion, answer
from estimator.api.file import known_entries
from estimator.api.naming import find_entry
from estimator.api.text import api_answer_text, api_list_text
from estimator.render import written


def api_prediction_text(options: Namespace) -> str:
    """What `predict --api` prints. Raises EstimatorError."""
    question = ApiQuestion(
        options.api, options.prompt_tokens, options.output_tokens, options.price_in, options.price_out
    )
    entry = find_entry(known_entries(options.coefficients), options.api, options.provider)
    return written(answer(entry, question), options.json, api_answer_text)


def api_models_text(options: Namespace) -> str:
    """What `models --api` prints. Raises EstimatorError."""
    return written(known_entries(options.coefficients), options.json, api_list_text)
