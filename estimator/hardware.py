"""The catalogue of hardware: data/hardware/*.toml, one `[[part]]` a GPU, chip, processor or board.

Peak figures of the makers, each with its source: what the roofline needs, never a measurement. What of a part's
memory can be used is assumed elsewhere (device.py). The files are read on the first question and not before.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from estimator.errors import UnknownName
from estimator.nearest import did_you_mean, machine_key, squeezed
from estimator.plain import from_plain
from estimator.specs import HardwareKind

_FOLDER = Path(__file__).parent / "data/hardware"
_MOST_DEVICES = 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the catalogue. SI units; None, or no options, where nobody said.

    kind                    "gpu" (memory of its own), "unified" (a GPU in the processor's memory), "cpu"
    memory_options_bytes    the sizes in which it is sold, where there is no single one
    memory_transfers_per_s  a pin; bandwidth = memory_bus_bits / 8 x memory_transfers_per_s, unless the maker says else
    fp16_vector             packed FP16 without matrix units; fp16_matrix: dense, at the engine's best accumulation
    fp16_matrix_fp32_accumulate, int8_matrix   dense as well; int8 is dp4a on Pascal
    source, source_date     where bandwidth and memory are from and as of when; rates_source the same of the rates
    """

    names: tuple[str, ...]
    maker: str
    family: str
    kind: HardwareKind
    year: int
    bandwidth_bytes_per_s: float
    source: str
    source_date: str
    memory_type: str | None = None
    memory_bytes: int | None = None
    memory_options_bytes: tuple[int, ...] = ()
    memory_bus_bits: int | None = None
    memory_channels: int | None = None
    memory_transfers_per_s: float | None = None
    fp32_flop_per_s: float | None = None
    fp16_vector_flop_per_s: float | None = None
    fp16_matrix_flop_per_s: float | None = None
    fp16_matrix_fp32_accumulate_flop_per_s: float | None = None
    int8_matrix_operations_per_s: float | None = None
    tdp_w: float | None = None
    rates_source: str | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def compute(self) -> tuple[float | None, str]:
        """The highest rate that a matrix product with FP16 or FP32 operands can have, in FLOP/s, and its name."""
        rates = (
            (self.fp16_matrix_flop_per_s or 0.0, "dense FP16 matrix rate"),
            (self.fp16_vector_flop_per_s or 0.0, "packed FP16 rate"),
            (self.fp32_flop_per_s or 0.0, "FP32 rate"),
        )
        best, name = max(rates, key=lambda rate: rate[0])
        return (best, name) if best else (None, "compute rate")


@cache
def parts() -> tuple[Part, ...]:
    """Every part of the catalogue, in the order of the data files."""
    files = sorted(_FOLDER.glob("*.toml"))
    rows = [(file, row) for file in files for row in tomllib.loads(file.read_text("utf-8"))["part"]]
    return tuple(from_plain(Part, row, f"{file.name}: {row.get('names', ['?'])[0]}") for file, row in rows)


@cache
def _by_key() -> dict[str, Part]:
    return {machine_key(name): part for part in parts() for name in part.names}


def find_part(name: str) -> Part:
    """The part called `name`, whatever its case, spaces, hyphens and maker's words. Raises UnknownName."""
    found = _by_key().get(machine_key(name))
    if found is None:
        near = did_you_mean(_without_maker(name), [_without_maker(known) for part in parts() for known in part.names])
        raise UnknownName(f"unknown hardware {name!r}{near}; `python -m estimator hardware` shows all")
    return found


def find_parts(text: str) -> tuple[Part, int]:
    """ "2x RTX 3090" -> that part and 2; without a count 1. Raises UnknownName."""
    counted = re.fullmatch(r"\s*(\d+)\s*[xX×]\s+(.+)", text)
    if counted is None:
        return find_part(text), 1
    part, count = find_part(counted.group(2)), int(counted.group(1))
    if not 1 <= count <= _MOST_DEVICES:
        raise UnknownName(f"{count} of {part.name}: between 1 and {_MOST_DEVICES:,} can be asked for")
    if count > 1 and part.kind != "gpu":
        raise UnknownName(f"{count} of {part.name} do not make one machine: only GPUs with memory of their own do")
    return part, count


def part_of_gpu(name: str, memory_bytes: int) -> Part | None:
    """The part that a driver calls `name`, of those that differ by memory the one that has as much; None: none has.

    A driver shows up to a tenth less than is sold, since error correction and firmware take their part.
    """
    key = machine_key(name)
    sizes = re.compile(re.escape(key) + r"(\d+gb)?")
    alike = dict.fromkeys(part for known, part in _by_key().items() if sizes.fullmatch(known) and part.kind == "gpu")
    return next((part for part in alike if any(0.9 <= memory_bytes / size <= 1.01 for size in _sizes(part))), None)


def _sizes(part: Part) -> tuple[int, ...]:
    return part.memory_options_bytes if part.memory_bytes is None else (part.memory_bytes,)


def parts_about(text: str | None) -> tuple[Part, ...]:
    """The parts whose names, maker, family or kind hold every word of `text`; all without one."""
    words = [squeezed(word) for word in (text or "").split()]
    return tuple(part for part in parts() if all(word in _described(part) for word in words))


def _described(part: Part) -> str:
    return " ".join(squeezed(word) for word in (*part.names, part.maker, part.family, part.kind))


def _without_maker(name: str) -> str:
    return re.sub(r"^(nvidia|amd|intel|apple)\s+(geforce|radeon|instinct|core)?\s*", "", name.lower())
