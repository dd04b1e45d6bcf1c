"""Does it fit, and what would: the settings with which a model fits, and the largest that do. Memory only, no speed.

Every answer is a setting whose own verdict is a yes. Contexts, requests and layers are found by bisection, since the
need grows with each (tests hold it to that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from estimator.answer import Quantity, Verdict
from estimator.coefficients import Coefficients
from estimator.needs import MOST_CONCURRENCY, check, memory_and_verdict
from estimator.shapes import ARCHITECTURES
from estimator.specs import Hardware, ModelFile, Workload
from estimator.tensors import mixtures_of, model_file
from estimator.theory.kv_cache import KV_TYPES
from estimator.theory.memory import shares_of_devices

Fit = Literal["yes", "yes with settings", "no", "unknown"]
# Below this much context a model is of little use: no setting proposes less, unless less was asked for.
LEAST_CONTEXT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Question:
    """A model file with its settings, on a machine; `coefficients` only where they are this machine's."""

    file: ModelFile
    work: Workload
    hardware: Hardware
    coefficients: Coefficients | None = None

    def verdict(self, **changes: object) -> Verdict:
        """The verdict on this with other settings."""
        work = replace(self.work, **changes)  # type: ignore[arg-type]
        return memory_and_verdict(self.file, work, self.hardware, self.coefficients, "engineering")[1]


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings with which it fits: `changed` names what differs from the question."""

    context_tokens: int
    kv_type: str
    gpu_layers: int | None
    changed: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest that fits, everything else as asked; 0 or None where nothing does.

    `context_tokens` is by KV type and no more than the model's own context, `concurrency` at most 65,536.
    """

    context_tokens: dict[str, int]
    concurrency: int
    quant: str | None


@dataclass(frozen=True, slots=True)
class FitAnswer:
    """What `estimator fit` answers; `to_plain` of it is what `--json` prints.

    answer        yes · yes with settings (one of `settings` must be chosen) · no · unknown
    verdict       on the question as asked: needed, available and margin in bytes, those of the host beside
    memory        by component, as in estimator.answer.Answer
    device_bytes  of several GPUs what each holds
    """

    model: str
    title: str
    quant: str
    answer: Fit
    work: Workload
    hardware: Hardware
    verdict: Verdict
    memory: dict[str, Quantity]
    device_bytes: tuple[int, ...]
    context_limit_tokens: int
    settings: tuple[Setting, ...]
    largest: Largest


def fit_answer(question: Question) -> FitAnswer:
    """Whether `question` fits, with which settings it would, and how far it could go. Raises EstimatorError."""
    file, work, hardware = question.file, question.work, question.hardware
    check(work, hardware)
    memory, verdict = memory_and_verdict(file, work, hardware, question.coefficients, "engineering")
    settings = () if verdict.fits == "yes" or hardware.memory_free_bytes is None else tuple(_settings(question))
    answer: Fit = "no" if verdict.fits == "tight" else verdict.fits
    if any(setting.verdict.fits == "yes" for setting in settings):
        answer = "yes with settings"
    elif settings:
        answer = "unknown"
    devices = hardware.devices if hardware.kind == "gpu" else 1
    return FitAnswer(
        model=file.model.name,
        title=file.model.title,
        quant=file.quant,
        answer=answer,
        work=work,
        hardware=hardware,
        verdict=verdict,
        memory=memory,
        device_bytes=shares_of_devices(file, work, devices) if devices > 1 else (),
        context_limit_tokens=file.model.context_tokens,
        settings=settings,
        largest=largest(question),
    )


def largest(question: Question) -> Largest:
    """The largest context by KV type, the most requests at once, and the type with the most bits that fit."""
    if question.hardware.memory_free_bytes is None:
        return Largest({}, 0, None)
    kinds = KV_TYPES if question.work.flash_attention else (question.work.kv_type,)
    return Largest(
        context_tokens={kind: largest_context_tokens(question, kv_type=kind) for kind in kinds},
        concurrency=most(1, MOST_CONCURRENCY, lambda count: question.verdict(concurrency=count).fits == "yes"),
        quant=best_quant(question),
    )


def largest_context_tokens(question: Question, **changes: object) -> int:
    """The largest context of each request that fits, at most the model's; 0 if none does."""

    def fits(tokens: int) -> bool:
        return question.verdict(context_tokens=tokens, **changes).fits == "yes"

    return most(question.work.longest_tokens, question.file.model.context_tokens, fits)


def best_quant(question: Question) -> str | None:
    """The weight type with the most bytes that fits; None if none does or nobody can type this architecture.

    Tried from the top: they are seven, and on a GPU, which leaves the table of embeddings to the host, two types of
    almost one size can change places.
    """
    model = question.file.model
    if model.architecture not in ARCHITECTURES:
        return None
    files = sorted((model_file(model, name) for name in mixtures_of(model)), key=lambda file: -file.weight_bytes)
    return next((file.quant for file in files if replace(question, file=file).verdict().fits == "yes"), None)


def most(least: int, limit: int, holds: Callable[[int], bool]) -> int:
    """The largest whole number from `least` to `limit` for which `holds`, which never holds again once it failed.

    0 if it does not hold for `least`. By bisection: some log2(limit - least) questions.
    """
    if least > limit or not holds(least):
        return 0
    low, high = least, limit + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _settings(question: Question) -> Iterator[Setting]:
    """Single changes that fit: a smaller KV cache, fewer layers on the GPU, less context; only else all together."""
    work = question.work
    found = [*_other_cache(question), *_fewer_layers(question), *_less_context(question)]
    smallest = replace(work, kv_type=KV_TYPES[-1] if work.flash_attention else work.kv_type)
    if not found:
        found += _less_context(replace(question, work=smallest))
    if not found:
        least = min(LEAST_CONTEXT_TOKENS, work.context_tokens or LEAST_CONTEXT_TOKENS)
        found += _fewer_layers(replace(question, work=replace(smallest, context_tokens=least)))
    for setting in found:
        yield replace(setting, changed=_changes(question.work, setting))


def _other_cache(question: Question) -> Iterator[Setting]:
    work = question.work
    smaller = KV_TYPES[KV_TYPES.index(work.kv_type) + 1 :] if work.flash_attention else ()
    for kind in smaller:
        verdict = question.verdict(kv_type=kind)
        if verdict.fits == "yes":
            yield _setting(replace(work, kv_type=kind), verdict)
            return


def _less_context(question: Question) -> Iterator[Setting]:
    tokens = largest_context_tokens(question)
    asked = question.work.room_tokens
    if min(asked, LEAST_CONTEXT_TOKENS) <= tokens < asked:
        work = replace(question.work, context_tokens=tokens)
        yield _setting(work, question.verdict(context_tokens=tokens))


def _fewer_layers(question: Question) -> Iterator[Setting]:
    """As many layers as the GPU takes; with a host of unknown memory the verdict on the whole stays unknown."""
    if question.hardware.kind != "gpu" or question.work.split != "layer":
        return
    asked = question.work.gpu_layers
    limit = question.file.model.layers if asked is None else min(asked, question.file.model.layers)
    roomy = replace(question, hardware=replace(question.hardware, host=None))
    count = most(0, limit, lambda layers: roomy.verdict(gpu_layers=layers).fits in ("yes", "unknown"))
    verdict = question.verdict(gpu_layers=count)
    if count and verdict.fits in ("yes", "unknown"):
        yield _setting(replace(question.work, gpu_layers=count), verdict)


def _setting(work: Workload, verdict: Verdict) -> Setting:
    return Setting(work.room_tokens, work.kv_type, work.gpu_layers, (), verdict)


def _changes(asked: Workload, setting: Setting) -> tuple[str, ...]:
    context = asked.room_tokens
    pairs = (
        ("context", setting.context_tokens != context),
        ("kv_type", setting.kv_type != asked.kv_type),
        ("gpu_layers", setting.gpu_layers != asked.gpu_layers),
    )
    return tuple(name for name, differs in pairs if differs)
