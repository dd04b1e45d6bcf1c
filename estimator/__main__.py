"""The command line: `python -m estimator`. Thin: options in, one answer out, errors caught once.

Exit statuses: 0 answered · 1 a limit of `scenarios check` is not met, or a bug (with its traceback) ·
2 a question or usage that makes no sense · 3 a model, provider, weight type, KV type, hardware or instance that nobody
knows · 4 a file that cannot be read · 6 no Ollama server · 10 coefficients of another machine.

`predict --json` prints one JSON object, the fields of estimator.answer.Answer: each quantity with value,
low, high, theory and basis; its unit is the last word of its key. `predict --api --json` prints the fields of
estimator.api.answer.ApiAnswer, `hardware --json` and `clouds --json` print
lists of the fields of estimator.hardware.Part and estimator.clouds.Instance; `cost --json` and `cheapest --json` the
fields of estimator.costs.comparison.CostAnswer and estimator.costs.cheapest.CheapestAnswer.

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
from estimator.asked import answer_to
from estimator.coefficients import Coefficients
from estimator.errors import EstimatorError
from estimator.naming import model_file_named
from estimator.options import parser, require_one_list, require_one_question
from estimator.plain import to_plain
from estimator.question import hardware_meant
from estimator.scope import memory_warnings
from estimator.specs import Workload

_FIT_CONTEXT_TOKENS = 8192


def main(arguments: list[str]) -> int:
    """Runs the command that `arguments` name and gives the exit status; the only place where errors are caught."""
    try:
        options = parser().parse_args(arguments or ["--help"])
        found = _TEXTS[options.command](options)
        text, status = (found, 0) if isinstance(found, str) else found
        sys.stdout.write(text)
    except EstimatorError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return status


def _models_text(options: Namespace) -> str:
    require_one_list(options)
    if options.api:
        from estimator.api.file import known_entries
        from estimator.api.text import api_list_text

        entries = known_entries(options.coefficients)
        return (json.dumps(to_plain(entries), indent=2) if options.json else api_list_text(entries)) + "\n"
    if options.min_speed is not None:
        return _ranking_text(options)
    found = catalog.models()
    return (json.dumps(to_plain(found), indent=2) if options.json else render.models_text(found)) + "\n"


def _ranking_text(options: Namespace) -> str:
    from estimator import ranking, ranking_text

    hardware, fitted = hardware_meant(options)
    work = Workload(prompt_tokens=512, output_tokens=128, context_tokens=options.context)
    quants = () if options.quant is None else (catalog.find_mixture(options.quant),)
    rows = ranking.ranked_models(work, hardware, fitted, options.min_speed, quants)
    if options.rank == "speed":
        rows = tuple(sorted(rows, key=lambda row: -(row.decode_tokens_per_s.value or 0.0)))
    if options.json:
        return json.dumps(to_plain(rows), indent=2) + "\n"
    return ranking_text.ranking_text(rows, hardware, options.min_speed) + "\n"


def _api_text(options: Namespace) -> str:
    from estimator.api.answer import ApiQuestion, answer
    from estimator.api.file import known_entries
    from estimator.api.naming import find_entry
    from estimator.api.text import api_answer_text

    question = ApiQuestion(
        options.api, options.prompt_tokens, options.output_tokens, options.price_in, options.price_out
    )
    found = answer(find_entry(known_entries(options.coefficients), options.api, options.provider), question)
    return (json.dumps(to_plain(found), indent=2) if options.json else api_answer_text(found)) + "\n"


def _hardware_text(options: Namespace) -> str:
    from estimator import hardware, listing

    found = hardware.parts_about(" ".join(options.text))
    return (json.dumps(to_plain(found), indent=2) if options.json else listing.hardware_text(found)) + "\n"


def _clouds_text(options: Namespace) -> str:
    from estimator import clouds, listing

    found = clouds.instances_about(" ".join(options.text))
    return (json.dumps(to_plain(found), indent=2) if options.json else listing.clouds_text(found)) + "\n"


def _sweep_text(options: Namespace) -> str:
    from estimator.sweep.command import sweep_text

    return sweep_text(options)


def _scenarios_text(options: Namespace) -> tuple[str, int]:
    from estimator.scenarios.command import scenarios_text

    return scenarios_text(options)


def _prediction_text(options: Namespace) -> str:
    require_one_question(options)
    if options.api is not None:
        return _api_text(options)
    answer = answer_to(options)
    return (json.dumps(to_plain(answer), indent=2) if options.json else render.answer_text(answer)) + "\n"


def _fit_text(options: Namespace) -> str:
    from estimator.choices import Question, fit_answer
    from estimator.choices_text import fit_text

    file = model_file_named(options.model, options.quant, os.environ.get("OLLAMA_HOST", ""))
    hardware, calibration = hardware_meant(options)
    # Published measurements are of speed, not of memory.
    fitted = calibration if isinstance(calibration, Coefficients) else None
    context = min(_FIT_CONTEXT_TOKENS, file.model.context_tokens) if options.context is None else options.context
    work = Workload(
        prompt_tokens=1,
        output_tokens=1,
        concurrency=options.concurrency,
        context_tokens=context,
        flash_attention=options.flash_attention,
        kv_type=options.kv_type.upper(),
        gpu_layers=options.gpu_layers,
        split=options.split,
    )
    answer = fit_answer(Question(file, work, hardware, fitted))
    warnings = memory_warnings(file, work, hardware, fitted)
    if options.json:
        return json.dumps(to_plain(answer) | {"warnings": list(warnings)}, indent=2) + "\n"
    return fit_text(answer, warnings) + "\n"


def _cost_text(options: Namespace) -> str:
    from estimator.costs import asked, text

    answer = asked.cost_answer(options)
    return (json.dumps(to_plain(answer), indent=2) if options.json else text.cost_text(answer)) + "\n"


def _cheapest_text(options: Namespace) -> str:
    from estimator.costs import asked, text

    answer = asked.cheapest_answer(options)
    return (json.dumps(to_plain(answer), indent=2) if options.json else text.cheapest_text(answer, options.all)) + "\n"


_TEXTS: dict[str, Callable[[Namespace], str | tuple[str, int]]] = {
    "models": _models_text,
    "hardware": _hardware_text,
    "clouds": _clouds_text,
    "predict": _prediction_text,
    "sweep": _sweep_text,
    "scenarios": _scenarios_text,
    "fit": _fit_text,
    "cost": _cost_text,
    "cheapest": _cheapest_text,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
