"""The catalogues of hardware and of rented machines as text of at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from estimator.clouds import Instance
from estimator.hardware import Part

WIDTH = 80
_GIB = 2**30
# Up to so many rows are told with their sources.
_DETAILED_ROWS = 5


def hardware_text(parts: Sequence[Part]) -> str:
    """One line a part; of a few also where the figures are from."""
    if not parts:
        return "no hardware of that name: `python -m estimator hardware` without a text shows all"
    head = f"{'name':<43} {'GB/s':>6} {'GiB':>8} {'FP16':>6} {'FP32':>5} {'W':>4}"
    lines = [head, *(line for part in parts for line in _part_lines(part, len(parts) <= _DETAILED_ROWS))]
    legend = (
        "GB/s of its memory; FP16: dense TFLOP/s of the matrix units, or packed where there are none; FP32: TFLOP/s; "
        "W: power limit; - not known. Peaks of the makers, not measurements."
    )
    return "\n".join((*lines, "", *textwrap.wrap(legend, WIDTH)))


def _part_lines(part: Part, detailed: bool) -> Iterator[str]:
    half = part.fp16_matrix_flop_per_s or part.fp16_vector_flop_per_s
    yield (
        f"{part.name:<43} {part.bandwidth_bytes_per_s / 1e9:>6,.0f} {_memory(part):>8} "
        f"{_tera(half):>6} {_tera(part.fp32_flop_per_s):>5} {_plain(part.tdp_w):>4}"
    )
    if detailed:
        others = ", ".join(part.names[1:])
        texts = (
            ("also", others),
            ("from", f"{part.source} ({part.source_date})"),
            ("rates", part.rates_source),
            ("note", part.note),
        )
        for mark, text in texts:
            if text:
                yield from _indented(mark, text)


def clouds_text(instances: Sequence[Instance]) -> str:
    """One line an instance; of a few also where the price is from."""
    if not instances:
        return "no instance of that name: `python -m estimator clouds` without a text shows all"
    head = f"{'instance':<25} {'GPUs':<22} {'vCPU':>4} {'GiB':>5} {'USD/h':>8} as of"
    detailed = len(instances) <= _DETAILED_ROWS
    lines = (line for instance in instances for line in _instance_lines(instance, detailed))
    legend = "USD/h: on demand, Linux, in one region of the United States, as of the date. GiB: memory of the host."
    return "\n".join((head, *lines, "", *textwrap.wrap(legend, WIDTH)))


def _instance_lines(instance: Instance, detailed: bool) -> Iterator[str]:
    gpus = f"{instance.gpus} x {instance.part.removeprefix('NVIDIA ').removeprefix('Tesla ')}"
    price = "unknown" if instance.usd_per_hour is None else f"{instance.usd_per_hour:,.3f}"
    yield (
        f"{instance.name:<25} {gpus:<22} {instance.vcpus:>4} {instance.memory_bytes / _GIB:>5,.0f} "
        f"{price:>8} {instance.price_date or '':<10}"
    ).rstrip()
    if detailed:
        where = f"{instance.provider}, {instance.region or 'no region'}; price: {instance.price_source or 'unknown'}"
        yield from _indented("from", where)
        if instance.note:
            yield from _indented("note", instance.note)


def _memory(part: Part) -> str:
    sizes = part.memory_options_bytes or ((part.memory_bytes,) if part.memory_bytes else ())
    if not sizes:
        return "-"
    least, most = (f"{size / _GIB:g}" for size in (min(sizes), max(sizes)))
    return least if least == most else f"{least}-{most}"


def _tera(rate: float | None) -> str:
    if rate is None:
        return "-"
    value = rate / 1e12
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _indented(mark: str, text: str) -> Iterable[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"    {mark:<6}", subsequent_indent=" " * 10, break_on_hyphens=False
    )
