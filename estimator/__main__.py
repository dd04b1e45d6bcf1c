"""The command line: `python -m estimator`. Thin: options in, one answer out, errors caught once.

Exit statuses: 0 answered · 1 a bug (with its traceback) · 2 a question or usage that makes no sense ·
3 a model, weight type, KV type, hardware or instance that nobody knows · 4 a file that cannot be read · 6 no Ollama
server.

`predict --json` prints one JSON object, the fields of estimator.answer.Answer: each quantity with value,
low, high, theory and basis; its unit is the last word of its key. `hardware --json` and `clouds --json` print
lists of the fields of estimator.hardware.Part and estimator.clouds.Instance.

argparse, not typer: typer imports pydantic to read its options, which costs more than the whole prediction.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable

from estimator import catalog, render
from estimator.errors import EstimatorError
from estimator.naming import model_file_named
from estimator.options import parser
from estimator.plain import to_plain
from estimator.predict import predict
from estimator.question import hardware_and_prices
from estimator.specs import Workload


def main(arguments: list[str]) -> int:
    """Runs the command that `arguments` name and gives the exit status; the only place where errors are caught."""
    try:
        options = parser().parse_args(arguments or ["--help"])
        sys.stdout.write(_TEXTS[options.command](options))
    except EstimatorError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return 0


def _models_text(_: Namespace) -> str:
    return render.models_text(catalog.models()) + "\n"


def _hardware_text(options: Namespace) -> str:
    from estimator import hardware, listing

    found = hardware.parts_about(" ".join(options.text))
    return (json.dumps(to_plain(found), indent=2) if options.json else listing.hardware_text(found)) + "\n"


def _clouds_text(options: Namespace) -> str:
    from estimator import clouds, listing

    found = clouds.instances_about(" ".join(options.text))
    return (json.dumps(to_plain(found), indent=2) if options.json else listing.clouds_text(found)) + "\n"


def _prediction_text(options: Namespace) -> str:
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
    hardware, fitted, prices = hardware_and_prices(options)
    answer = predict(file, work, hardware, fitted, options.formulas, prices)
    return (json.dumps(to_plain(answer), indent=2) if options.json else render.answer_text(answer)) + "\n"


_TEXTS: dict[str, Callable[[Namespace], str]] = {
    "models": _models_text,
    "hardware": _hardware_text,
    "clouds": _clouds_text,
    "predict": _prediction_text,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
