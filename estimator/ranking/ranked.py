"""Which models of the catalogue a machine can run at a speed that was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from estimator.answer import Answer, Quantity
from estimator.catalog import models
from estimator.errors import EstimatorError
from estimator.needs import check
from estimator.predict import predict
from estimator.reference.speed import Calibration
from estimator.specs import Hardware, Model, ModelFile, Workload
from estimator.tensors import mixtures_of, model_file


@dataclass(frozen=True, slots=True)
class Ranked:
    """A model with the weight type of the most bits that fits and is fast enough.

    `decode_tokens_per_s` is of one request; where it has an interval, its low end is at least what was asked for.
    """

    model: str
    title: str
    quant: str
    parameters: int
    weights_bytes: int
    context_tokens: int
    decode_tokens_per_s: Quantity
    margin_bytes: int


def ranked_models(
    work: Workload,
    hardware: Hardware,
    coefficients: Calibration | None,
    least_tokens_per_s: float,
    quants: Sequence[str] = (),
) -> tuple[Ranked, ...]:
    """Every catalogue model that fits and decodes at `least_tokens_per_s` or more, the largest first.

    The low end of the interval counts where there is one, else the value. A model whose own context is shorter than
    `work.context_tokens` is asked with its own. Raises EstimatorError where no speed can be known.
    """
    check(work, hardware)
    if not 0 <= least_tokens_per_s < math.inf:
        raise EstimatorError("the least speed must be at least 0 tokens per second")
    if coefficients is None and hardware.bandwidth_bytes_per_s is None:
        raise EstimatorError("no speed can be told: state --bandwidth 25GB/s, measure and fit, or name --hardware")
    found = [
        row for model in models() for row in _best(model, work, hardware, coefficients, (least_tokens_per_s, quants))
    ]
    return tuple(sorted(found, key=lambda row: -row.parameters))


def _best(
    model: Model,
    work: Workload,
    hardware: Hardware,
    coefficients: Calibration | None,
    wanted: tuple[float, Sequence[str]],
) -> Iterator[Ranked]:
    """The first of the weight types, most bits first, that fits and is fast enough, if there is one."""
    least, quants = wanted
    context = min(work.room_tokens, model.context_tokens)
    if context < work.longest_tokens:
        return
    work = replace(work, context_tokens=context)
    room = hardware.memory_free_bytes
    for file in _files(model, quants):
        if room is not None and file.weight_bytes > 2 * room:
            continue  # hopeless, and not worth an answer
        answer = predict(file, work, hardware, coefficients)
        speed = answer.speed["decode_tokens_per_s"]
        slowest = speed.value if speed.low is None else speed.low
        if answer.fit.fits == "yes" and slowest is not None and slowest >= least:
            yield _row(file, answer, context)
            return


def _files(model: Model, quants: Sequence[str]) -> Iterator[ModelFile]:
    by_bits = sorted(quants or mixtures_of(model), key=lambda name: -model_file_bits(model, name))
    return (model_file(model, name) for name in by_bits)


def model_file_bits(model: Model, quant: str) -> int:
    """Bytes of a two-layer model of these shapes in this type: what orders the types by bits, at little cost."""
    few = replace(model, layers=min(model.layers, max(2, model.dense_layers + model.expert_period)))
    return model_file(few, quant).weight_bytes


def _row(file: ModelFile, answer: Answer, context: int) -> Ranked:
    return Ranked(
        model=file.model.name,
        title=file.model.title,
        quant=file.quant,
        parameters=file.parameters,
        weights_bytes=file.weight_bytes,
        context_tokens=context,
        decode_tokens_per_s=answer.speed["decode_tokens_per_s"],
        margin_bytes=answer.fit.margin_bytes or 0,
    )
