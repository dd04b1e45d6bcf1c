"""From options to facts and answers: the one way for the command line, for scenario files and for Python."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import replace

from estimator.answer import Answer
from estimator.errors import EstimatorError
from estimator.naming import model_file_named
from estimator.options import arguments_of, parser, require_one_question
from estimator.predict import predict
from estimator.question import hardware_and_prices
from estimator.specs import ModelFile, Workload


def ask(**options: str | float | bool) -> Answer:
    """The answer of `python -m estimator predict` to the same options, written with `_` for `-`. Raises EstimatorError.

    >>> from estimator import ask
    >>> answer = ask(model="mistral:7b", quant="q4_k_m", hardware="RTX 4090", prompt_tokens=512, output_tokens=128)
    >>> answer.fit.fits, answer.speed["time_per_token_s"].basis
    ('yes', 'reference')
    >>> answer.memory["kv_cache_bytes"].value / 2**20  # 640 tokens take 768 cells of 128 KiB
    96.0

    Every quantity has value, low and high (its 90 % interval), theory and basis; None is unknown.

    >>> ask(hardware="RTX 4091")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    estimator.errors.UnknownName: unknown hardware 'RTX 4091'; did you mean rtx 4090 ...
    """
    return answer_to_arguments(arguments_of(options, "ask"))


def answer_to_arguments(arguments: tuple[str, ...]) -> Answer:
    """What `predict` says to these words of its command line. Raises EstimatorError."""
    options = parser().parse_args(["predict", *arguments])
    require_one_question(options)
    if options.api is not None:
        raise EstimatorError("a model behind an API has no answer of this kind: ask `estimator predict --api` for it")
    return answer_to(options)


def answer_to(options: Namespace) -> Answer:
    """What `predict` says to `options`. Raises EstimatorError."""
    work = Workload(options.prompt_tokens, options.output_tokens, options.depth, context_tokens=options.context)
    hardware, fitted, prices = hardware_and_prices(options)
    return predict(file_asked(options), work_asked(options, work), hardware, fitted, options.formulas, prices)


def file_asked(options: Namespace) -> ModelFile:
    """The model file that `--model` and `--quant` name. Raises EstimatorError."""
    return model_file_named(options.model, options.quant, os.environ.get("OLLAMA_HOST", ""))


def work_asked(options: Namespace, work: Workload) -> Workload:
    """`work` with the settings of the engine that the options state."""
    return replace(
        work,
        concurrency=options.concurrency,
        flash_attention=options.flash_attention,
        kv_type=options.kv_type.upper(),
        gpu_layers=options.gpu_layers,
        split=options.split,
    )
