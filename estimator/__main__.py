"""The command line: `python -m estimator`. Thin: options in, one answer out, errors caught once.

Exit statuses: 0 answered · 1 a limit of `scenarios check` is not met, or a bug (with its traceback) ·
2 a question or usage that makes no sense · 3 a model, provider, weight type, KV type, hardware or instance that nobody
knows, no GPU here that answers · 4 a file that cannot be read · 6 no Ollama server · 8 no usable result of --measured ·
10 coefficients or results of another machine.

`predict --json` prints one JSON object, the fields of estimator.answer.Answer: each quantity with value,
low, high, theory and basis; its unit is the last word of its key. `predict --api --json` prints the fields of
estimator.api.answer.ApiAnswer, `hardware --json` and `clouds --json` print lists of the fields of
estimator.hardware.Part and estimator.clouds.Instance, `hardware --here --json` the fields of estimator.here.Here;
`cost --json` and `cheapest --json` the fields of estimator.costs.comparison.CostAnswer and
estimator.costs.cheapest.CheapestAnswer.

argparse, not typer: typer imports pydantic to read its options, which costs more than the whole prediction.
"""

from __future__ import annotations

import sys
import traceback
from argparse import Namespace
from collections.abc import Callable

from estimator import catalog, render
from estimator.asked import answer_to
from estimator.errors import EstimatorError
from estimator.options import parser, require_one_list, require_one_question


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
        from estimator.api.command import api_models_text

        return api_models_text(options)
    if options.min_speed is not None:
        from estimator.ranking.command import ranking_command_text

        return ranking_command_text(options)
    return render.written(catalog.models(), options.json, render.models_text)


def _hardware_text(options: Namespace) -> str:
    if options.here:
        from estimator.here import here_text, what_is_here

        if options.text:
            raise EstimatorError("--here lists this machine alone: leave out the words")
        return render.written(what_is_here(), options.json, here_text)
    from estimator import hardware, listing

    return render.written(hardware.parts_about(" ".join(options.text)), options.json, listing.hardware_text)


def _clouds_text(options: Namespace) -> str:
    from estimator import clouds, listing

    return render.written(clouds.instances_about(" ".join(options.text)), options.json, listing.clouds_text)


def _prediction_text(options: Namespace) -> str:
    require_one_question(options)
    if options.api is not None:
        from estimator.api.command import api_prediction_text

        return api_prediction_text(options)
    return render.written(answer_to(options), options.json, render.answer_text)


def _sweep_text(options: Namespace) -> str:
    from estimator.sweep.command import sweep_text

    return sweep_text(options)


def _scenarios_text(options: Namespace) -> tuple[str, int]:
    from estimator.scenarios.command import scenarios_text

    return scenarios_text(options)


def _fit_text(options: Namespace) -> str:
    from estimator.fits.command import fit_command_text

    return fit_command_text(options)


def _cost_text(options: Namespace) -> str:
    from estimator.costs import asked, text

    return render.written(asked.cost_answer(options), options.json, text.cost_text)


def _cheapest_text(options: Namespace) -> str:
    from estimator.costs import asked, text

    answer = asked.cheapest_answer(options)
    return render.written(answer, options.json, lambda found: text.cheapest_text(found, options.all))


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
