"""From the options of `predict` to its answer: the one way for the command line and for scenario files."""

from __future__ import annotations

import os
from argparse import Namespace

from estimator.answer import Answer
from estimator.naming import model_file_named
from estimator.predict import predict
from estimator.question import hardware_and_prices
from estimator.specs import Workload


def answer_to(options: Namespace) -> Answer:
    """What `predict` says to `options`. Raises EstimatorError."""
    work = Workload(
        prompt_tokens=options.prompt_tokens,
        output_tokens=options.output_tokens,
        depth_tokens=options.depth,
        concurrency=options.concurrency,
        context_tokens=options.context,
        flash_attention=options.flash_attention,
        kv_type=options.kv_type.upper(),
        gpu_layers=options.gpu_layers,
        split=options.split,
    )
    file = model_file_named(options.model, options.quant, os.environ.get("OLLAMA_HOST", ""))
    hardware, fitted, prices = hardware_and_prices(options)
    return predict(file, work, hardware, fitted, options.formulas, prices)
