"""The answer as text for people: tables of at most 80 columns, warnings below. Prints nothing itself."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from estimator.amounts import usd
from estimator.answer import Answer, Quantity
from estimator.plain import to_plain
from estimator.specs import Hardware, Model
from estimator.tensors import model_file
from estimator.theory.weights import active_parameters

Found = TypeVar("Found")
WIDTH = 80
_LABEL_WIDTH = 23
_INTERVAL_WIDTH = 23
_GIB = 2**30
_MIB = 2**20
LABELS = {
    "weights_bytes": "weights (file-backed)",
    "host_weights_bytes": "weights, on the host",
    "host_kv_cache_bytes": "KV cache, on the host",
    "repacked_bytes": "repacked weights",
    "kv_cache_bytes": "KV cache",
    "compute_bytes": "compute buffer",
    "output_bytes": "output buffer",
    "runtime_bytes": "runtime",
    "libraries_bytes": "libraries (file-backed)",
    "anonymous_bytes": "not evictable",
    "margin_bytes": "safety margin (20 %)",
    "total_bytes": "total",
    "ttft_s": "time to first token",
    "time_per_token_s": "time per output token",
    "end_to_end_s": "end to end",
    "prefill_tokens_per_s": "prefill tok/s",
    "decode_tokens_per_s": "decode tok/s",
    "throughput_tokens_per_s": "decode tok/s, all",
    "load_from_disk_s": "load, from disk",
    "load_from_page_cache_s": "load, from page cache",
    "rented_usd": "rent",
    "rented_per_million_output_tokens_usd": "rent, 1M output tok",
    "rented_per_request_usd": "rent, a request",
    "rented_per_month_usd": "rent, a month",
    "electricity_usd": "electricity",
    "electricity_per_request_usd": "electricity, a request",
    "electricity_per_million_output_tokens_usd": "electricity, 1M out",
}


def written(found: Found, as_json: bool, as_text: Callable[[Found], str]) -> str:
    """What a command prints of what it found: JSON of its fields, or text for people."""
    return (json.dumps(to_plain(found), indent=2) if as_json else as_text(found)) + "\n"


def answer_text(answer: Answer) -> str:
    """The whole answer as lines of at most 80 columns."""
    work, hardware = answer.work, answer.hardware
    request = f"{work.prompt_tokens:,} prompt + {work.output_tokens:,} output tokens"
    request += f" at depth {work.depth_tokens:,}" if work.depth_tokens else ""
    request += f", {work.concurrency} at once" if work.concurrency > 1 else ""
    rates = ", ".join(_rates(hardware.bandwidth_bytes_per_s, hardware.compute_flop_per_s)) or "rates unknown"
    lines = [
        f"{answer.title}, {answer.quant}",
        *wrapped("asked", request),
        *wrapped("on", f"{hardware.name}, {_free(hardware)}, {rates} ({hardware.source})"),
        *wrapped("by", f"{answer.formulas} formulas, " + (answer.calibration or "not calibrated")),
        "",
        _row("", "theory", "calibrated", "90 % interval", "basis"),
        *(_memory_row(name, quantity, hardware) for name, quantity in answer.memory.items()),
        "",
        *(_quantity_row(LABELS[name], found, _writer(name)) for name, found in (answer.speed | answer.cost).items()),
        "",
        *wrapped("fits:", f"{answer.fit.fits}; {answer.fit.reason}"),
        *wrapped("", _margin(answer)),
    ]
    lines += wrapped("rent", answer.cost_basis) if answer.cost_basis else []
    lines += [line for warning in answer.warnings for line in wrapped("!", warning)]
    return "\n".join(lines)


def models_text(models: Iterable[Model]) -> str:
    """The catalogue: one line a model; `active` is what a token uses of a mixture of experts."""
    header = f"{'name':<28} {'parameters':>15} {'active':>15} {'layers':>6} {'context':>10}"
    rows = (
        f"{model.name:<28} {model.parameters or 0:>15,} {_active(model):>15} {model.layers:>6} "
        f"{model.context_tokens:>10,}"
        for model in models
    )
    return "\n".join((header, *rows))


def _active(model: Model) -> str:
    """What one token uses of a mixture of experts, else nothing."""
    return f"{active_parameters(model_file(model, 'F16')):,}" if model.experts else ""


def size(count_bytes: float) -> str:
    """Bytes as GiB, or MiB below one, to three digits or more."""
    unit, name = (_GIB, "GiB") if abs(count_bytes) >= _GIB else (_MIB, "MiB")
    value = count_bytes / unit
    decimals = 0 if abs(value) >= 100 else 2 if unit == _GIB else 1
    return f"{value:,.{decimals}f} {name}"


def short_name(name: str) -> str:
    """A part's name without its maker's words: "2 x NVIDIA GeForce RTX 3090" -> "2 x RTX 3090"."""
    return re.sub(r"\b(NVIDIA|GeForce|Tesla|AMD|Radeon|Instinct|Intel|Apple) (?=.)", "", name)


def duration(time_s: float) -> str:
    """Seconds as s, ms below one, µs below a thousandth."""
    if time_s < 0.001:
        return f"{time_s * 1e6:,.0f} µs"
    if time_s < 1:
        return f"{time_s * 1000:,.1f} ms"
    return f"{time_s:,.2f} s" if time_s < 100 else f"{time_s:,.0f} s"


def _writer(name: str) -> Callable[[float], str]:
    unit = name.rsplit("_", 1)[-1]
    if name.endswith("_tokens_per_s"):
        return lambda value: f"{value:,.1f}"
    return duration if unit == "s" else usd


def _free(hardware: Hardware) -> str:
    if hardware.memory_free_bytes is None:
        return "memory unknown"
    return f"{size(hardware.memory_free_bytes)} {'usable' if hardware.catalogued else 'free'}"


def _memory_row(name: str, quantity: Quantity, hardware: Hardware) -> str:
    label = "weights (on the GPU)" if name == "weights_bytes" and hardware.kind != "cpu" else LABELS[name]
    return _quantity_row(label, quantity, size)


def _quantity_row(label: str, quantity: Quantity, write: Callable[[float], str]) -> str:
    calibrated = quantity.value if quantity.basis in ("calibrated", "moved", "reference") else None
    interval = "-"
    if quantity.low is not None and quantity.high is not None:
        interval = f"{write(quantity.low)} .. {write(quantity.high)}"
    theory, found = ("-" if value is None else write(value) for value in (quantity.theory, calibrated))
    return _row(label, theory, found, interval, quantity.basis)


def _row(label: str, theory: str, calibrated: str, interval: str, basis: str) -> str:
    if len(interval) > _INTERVAL_WIDTH:
        interval = interval.replace(" .. ", "..")
    widths = ((theory, 10), (calibrated, 10), (interval, _INTERVAL_WIDTH))
    label_width = _LABEL_WIDTH - sum(max(0, len(text) - width) for text, width in widths)
    return f"{label:<{label_width}} {theory:>10} {calibrated:>10} {interval:>{_INTERVAL_WIDTH}} {basis:<10}".rstrip()


def _rates(bandwidth: float | None, compute: float | None) -> Iterator[str]:
    if bandwidth:
        yield f"{bandwidth / 1e9:,.3g} GB/s"
    if compute:
        yield f"{compute / 1e12:,.3g} TFLOP/s" if compute >= 1e12 else f"{compute / 1e9:,.3g} GFLOP/s"


def _margin(answer: Answer) -> str:
    fit = answer.fit
    kept = (
        "" if fit.anonymous_bytes == fit.needed_bytes else f", of which {size(fit.anonymous_bytes)} cannot be evicted"
    )
    needs = f"needs up to {size(fit.needed_bytes)}{kept}"
    if fit.available_bytes is None or fit.margin_bytes is None:
        return needs
    return f"{needs}; {size(fit.available_bytes)} available, margin {size(fit.margin_bytes)}"


def wrapped(mark: str, text: str) -> list[str]:
    """`text` in lines of at most 80 columns, `mark` before the first."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{mark:<6}" if mark != "!" else "!     ", subsequent_indent=" " * 6
    )
