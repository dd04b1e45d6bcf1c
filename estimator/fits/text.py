"""The answer of `estimator fit` as text of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from estimator.fits.choices import FitAnswer, Setting
from estimator.needs import MOST_CONCURRENCY
from estimator.render import LABELS, size, wrapped
from estimator.specs import Hardware, Workload


def fit_text(answer: FitAnswer, warnings: tuple[str, ...]) -> str:
    """The whole answer: the word first, then by component, then what would fit and how far it goes."""
    lines = [
        f"{answer.title}, {answer.quant}",
        *wrapped("asked", _asked(answer.work)),
        *wrapped("on", f"{answer.hardware.name} ({answer.hardware.source})"),
        "",
        *wrapped("fits:", _headline(answer)),
        *_margins(answer),
        "",
        *(_row(name, value.value, answer.hardware) for name, value in answer.memory.items() if value.value is not None),
        *(f"{f'GPU {number}':<27} {size(share):>10}" for number, share in enumerate(answer.device_bytes, 1)),
    ]
    lines += ["", *_chosen(answer)] if answer.settings else []
    lines += ["", *_largest(answer)]
    lines += [line for warning in warnings for line in wrapped("!", warning)]
    return "\n".join(lines)


def _asked(work: Workload) -> str:
    at_once = f" for each of {work.concurrency:,} requests" if work.concurrency > 1 else ""
    layers = "" if work.gpu_layers is None else f", {work.gpu_layers} layers on the GPU"
    split = ", tensors split" if work.split == "tensor" else ""
    context = f"{work.room_tokens:,} tokens of context"
    return f"{context}{at_once}, {work.kv_type} cache{layers}{split}"


def _headline(answer: FitAnswer) -> str:
    if answer.answer == "yes with settings":
        return f"yes with other settings (below), not as asked: {answer.verdict.reason}"
    if answer.answer == "unknown" and answer.settings:
        return f"not as asked, and with other settings (below) unknown: {answer.verdict.reason}"
    return f"{answer.answer}; {answer.verdict.reason}"


def _margins(answer: FitAnswer) -> Iterator[str]:
    verdict = answer.verdict
    yield from wrapped("", _margin("", verdict.needed_bytes, verdict.available_bytes, answer.hardware))
    if verdict.host_needed_bytes is not None:
        yield from wrapped(
            "", _margin("host: ", verdict.host_needed_bytes, verdict.host_available_bytes, answer.hardware)
        )


def _margin(where: str, needed: int, available: int | None, hardware: Hardware) -> str:
    if available is None:
        return f"{where}needs up to {size(needed)}; what there is, nobody said"
    free = "usable" if hardware.catalogued else "free now"
    return (
        f"{where}needs up to {size(needed)} of {size(available)} {free}: margin {size(available - needed)} "
        f"({available - needed:,} bytes)"
    )


def _row(name: str, count_bytes: float, hardware: Hardware) -> str:
    label = "weights (on the GPU)" if name == "weights_bytes" and hardware.kind != "cpu" else LABELS[name]
    return f"{label:<27} {size(count_bytes):>10}"


def _chosen(answer: FitAnswer) -> Iterator[str]:
    yield "would fit with"
    for setting in answer.settings:
        yield from wrapped("-", _words(setting))


def _words(setting: Setting) -> str:
    words = {
        "context": f"a context of {setting.context_tokens:,} tokens",
        "kv_type": f"a {setting.kv_type} cache",
        "gpu_layers": f"{setting.gpu_layers} layers on the GPU (--gpu-layers)",
    }
    verdict = setting.verdict
    text = " and ".join(words[name] for name in setting.changed)
    text += f": margin {size(verdict.margin_bytes or 0)}"
    if verdict.host_available_bytes is not None and "gpu_layers" in setting.changed:
        text += f", the host's {size(verdict.host_available_bytes - (verdict.host_needed_bytes or 0))}"
    if verdict.fits == "unknown":
        needed = size(verdict.host_needed_bytes or 0)
        text += f", if the host has {needed} free: state it with --host-memory"
    return text


def _largest(answer: FitAnswer) -> Iterator[str]:
    most = answer.largest
    if not most.context_tokens:
        return
    limit = answer.context_limit_tokens
    contexts = ", ".join(
        (f"{tokens:,}" if tokens else "none") + f" ({kind} cache{', all the model has' if tokens == limit else ''})"
        for kind, tokens in most.context_tokens.items()
    )
    if set(most.context_tokens.values()) == {limit}:
        contexts = f"{limit:,}, all the model has, with any cache"
    yield from wrapped("", f"largest context: {contexts}")
    count = f"{most.concurrency:,}{' or more' if most.concurrency == MOST_CONCURRENCY else ''}"
    yield from wrapped("", f"most requests at once with this context: {count if most.concurrency else 'none'}")
    yield from wrapped("", f"weight type with the most bits that fits: {most.quant or 'none'}")
