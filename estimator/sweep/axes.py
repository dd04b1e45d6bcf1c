"""The axes of a sweep, from lists on the command line to model files, workloads and hardware."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from estimator import catalog
from estimator.clouds import Instance, find_instance, instances_about
from estimator.coefficients import find_coefficients
from estimator.device import catalogued_hardware, hardware_named
from estimator.errors import EstimatorError, UnknownName
from estimator.hardware import find_part, parts
from estimator.machine import rate_per_s, this_machine
from estimator.naming import model_file_named
from estimator.needs import MOST_CONCURRENCY, MOST_TOKENS
from estimator.probed import find_probed
from estimator.question import host_of
from estimator.specs import Hardware, ModelFile, Workload
from estimator.tensors import MIXTURES, mixtures_of
from estimator.theory.kv_cache import KV_TYPES

ALL = "all"
# So many rows are computed in seconds; far beyond, somebody has mistyped.
MOST_SCENARIOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Axes:
    """Every combination of the three, except works longer than a model's context.

    `impossible` counts the works that were dropped because their context cannot hold them.
    """

    files: tuple[ModelFile, ...]
    works: tuple[Workload, ...]
    hardware: tuple[Hardware, ...]
    impossible: int = 0

    def works_of(self, file: ModelFile) -> list[int]:
        """Indices of the works that `file`'s model was trained to hold."""
        most = file.model.context_tokens
        return [index for index, work in enumerate(self.works) if work.room_tokens <= most]


def axes_of(options: Namespace, ollama_host: str = "") -> Axes:
    """The axes that the options name. Raises EstimatorError."""
    works = [
        Workload(prompt, output, depth, concurrency, context, flash_attention=options.flash_attention, kv_type=kv_type)
        for prompt, output, depth, context, concurrency, kv_type in product(
            _counts(options.prompt_tokens, "--prompt-tokens"),
            _counts(options.output_tokens, "--output-tokens"),
            _counts(options.depth, "--depth", least=0),
            [None] if options.context is None else _counts(options.context, "--context"),
            _counts(options.concurrency, "--concurrency", most=MOST_CONCURRENCY),
            _kv_types(options.kv_type),
        )
    ]
    possible = tuple(work for work in works if work.room_tokens >= work.longest_tokens)
    if not possible:
        longest = min(work.longest_tokens for work in works)
        raise EstimatorError(
            f"--context {options.context} holds no request: depth + prompt + output are at least {longest:,} tokens"
        )
    axes = Axes(_files(options, ollama_host), possible, _hardware(options), len(works) - len(possible))
    count = len(axes.files) * len(axes.works) * len(axes.hardware)
    if count > MOST_SCENARIOS:
        raise EstimatorError(f"{count:,} scenarios are more than {MOST_SCENARIOS:,}: shorten a list")
    return axes


def words(text: str) -> list[str]:
    """ "a, b" -> ["a", "b"], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _named(text: str, option: str) -> list[str]:
    """The words of a list that was given. Raises EstimatorError where there are none: nothing is not "the usual"."""
    found = words(text)
    if not found:
        raise EstimatorError(f"{option} is empty: name some, or {ALL}")
    return found


def _counts(text: str, option: str, least: int = 1, most: int = MOST_TOKENS) -> list[int]:
    try:
        found = [int(word) for word in words(text)]
    except ValueError:
        found = []
    if not found or min(found) < least or max(found) > most:
        raise EstimatorError(f"{option} {text!r}: write whole numbers from {least} on to {most:,}, such as 512,4096")
    return found


def _kv_types(text: str) -> list[str]:
    found = list(KV_TYPES) if text == ALL else [word.upper() for word in words(text)]
    unknown = [word for word in found if word not in KV_TYPES]
    if unknown or not found:
        raise UnknownName(f"no KV cache of type {(unknown or [text])[0]!r}: choose of {', '.join(KV_TYPES)}")
    return found


def _files(options: Namespace, ollama_host: str) -> tuple[ModelFile, ...]:
    models = [model.name for model in catalog.models()] if options.model == ALL else _named(options.model, "--model")
    quants: Sequence[str | None] = [None]
    if options.quant is not None:
        quants = list(MIXTURES) if options.quant == ALL else _named(options.quant, "--quant")
    files = (model_file_named(model, quant, ollama_host) for model, quant in product(models, quants))
    return tuple(file for file in files if options.quant != ALL or file.quant in mixtures_of(file.model))


def _hardware(options: Namespace) -> tuple[Hardware, ...]:
    """What --hardware and --instance name, in that order; this machine where neither does."""
    if options.hardware is None and options.instance is None:
        return (_this_machine(options),)
    if options.bandwidth or options.compute:
        raise EstimatorError("--bandwidth and --compute are this machine's: leave out --hardware and --instance")
    found: list[Hardware] = []
    if options.hardware == ALL:
        found = [catalogued_hardware(part) for part in parts()]
    elif options.hardware is not None:
        found = [hardware_named(name) for name in _named(options.hardware, "--hardware")]
    for instance in _instances(options.instance):
        gpus = catalogued_hardware(find_part(instance.part), instance.gpus)
        found.append(replace(gpus, name=f"{instance.provider} {instance.name}", host=host_of(instance)))
    return tuple(found)


def _instances(text: str | None) -> Sequence[Instance]:
    if text is None:
        return ()
    return instances_about(None) if text == ALL else [find_instance(name) for name in _named(text, "--instance")]


def _this_machine(options: Namespace) -> Hardware:
    """This machine, with rates as stated, else as probed when it was calibrated, else by `harness doctor`."""
    bandwidth = None if options.bandwidth is None else rate_per_s(options.bandwidth, "B/s")
    compute = None if options.compute is None else rate_per_s(options.compute, "FLOP/s")
    return this_machine(bandwidth, compute, find_coefficients(None), find_probed())
