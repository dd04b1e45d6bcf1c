"""The command line: `python -m estimator`. Thin: options in, one answer out, errors caught once.

Exit statuses: 0 answered · 1 a bug (with its traceback) · 2 a question or usage that makes no sense ·
3 a model, weight type or KV type that nobody knows · 4 a file that cannot be read · 6 no Ollama server.

`predict --json` prints one JSON object, the fields of estimator.answer.Answer: each quantity with value,
low, high, theory and basis; its unit is the last word of its key. `predict --api --json` prints the
fields of estimator.api.answer.ApiAnswer.

argparse, not typer: typer imports pydantic to read its options, which costs more than the whole prediction.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from argparse import Namespace

from estimator import catalog, render
from estimator.api.answer import ApiQuestion, answer
from estimator.api.file import known_entries
from estimator.api.naming import find_entry
from estimator.api.text import api_answer_text, api_list_text
from estimator.coefficients import find_coefficients
from estimator.errors import EstimatorError
from estimator.machine import rate_per_s, this_machine
from estimator.naming import model_file_named
from estimator.options import parser, require_one_question
from estimator.plain import to_plain
from estimator.predict import predict
from estimator.prices import Prices
from estimator.specs import Workload


def main(arguments: list[str]) -> int:
    """Runs the command that `arguments` name and gives the exit status; the only place where errors are caught."""
    try:
        options = parser().parse_args(arguments or ["--help"])
        sys.stdout.write(_models_text(options) if options.command == "models" else _prediction_text(options))
    except EstimatorError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return 0


def _models_text(options: Namespace) -> str:
    if options.api:
        return api_list_text(known_entries(None)) + "\n"
    return render.models_text(catalog.models()) + "\n"


def _api_text(options: Namespace) -> str:
    question = ApiQuestion(
        options.api, options.prompt_tokens, options.output_tokens, options.price_in, options.price_out
    )
    found = answer(find_entry(known_entries(options.coefficients), options.api, options.provider), question)
    return (json.dumps(to_plain(found), indent=2) if options.json else api_answer_text(found)) + "\n"


def _prediction_text(options: Namespace) -> str:
    require_one_question(options)
    if options.api is not None:
        return _api_text(options)
    work = Workload(
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
        depth_tokens=options.depth,
        concurrency=options.concurrency,
        context_tokens=options.context,
        flash_attention=options.flash_attention,
        kv_type=options.kv_type.upper(),
    )
    file = model_file_named(options.model, options.quant, os.environ.get("OLLAMA_HOST", ""))
    fitted = find_coefficients(options.coefficients)
    bandwidth = None if options.bandwidth is None else rate_per_s(options.bandwidth, "B/s")
    compute = None if options.compute is None else rate_per_s(options.compute, "FLOP/s")
    prices = Prices(options.usd_per_hour, options.watts, options.usd_per_kwh)
    found = predict(file, work, this_machine(bandwidth, compute, fitted), fitted, options.formulas, prices)
    return (json.dumps(to_plain(found), indent=2) if options.json else render.answer_text(found)) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
