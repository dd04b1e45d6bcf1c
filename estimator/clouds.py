"""The catalogue of rented machines with GPUs: data/clouds/*.toml, one `[[instance]]` a type.

On-demand prices with their region, date and source; a price that is not known is absent, never guessed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from estimator.errors import UnknownName
from estimator.nearest import did_you_mean, squeezed
from estimator.plain import from_plain

_FOLDER = Path(__file__).parent / "data/clouds"


@dataclass(frozen=True, slots=True)
class Instance:
    """One row: `gpus` of the hardware catalogue's `part`, and the host's `vcpus` and `memory_bytes`.

    usd_per_hour    on demand in `region` at `price_date`, Linux; None where not known
    """

    names: tuple[str, ...]
    provider: str
    part: str
    gpus: int
    vcpus: int
    memory_bytes: int
    usd_per_hour: float | None = None
    region: str | None = None
    price_date: str | None = None
    price_source: str | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        return self.names[0]


@cache
def instances() -> tuple[Instance, ...]:
    """Every instance of the catalogue, in the order of the data files."""
    files = sorted(_FOLDER.glob("*.toml"))
    rows = [(file, row) for file in files for row in tomllib.loads(file.read_text("utf-8"))["instance"]]
    return tuple(from_plain(Instance, row, f"{file.name}: {row.get('names', ['?'])[0]}") for file, row in rows)


def find_instance(name: str) -> Instance:
    """The instance called `name`, whatever its case, spaces, hyphens and dots. Raises UnknownName."""
    known = {squeezed(entry): instance for instance in instances() for entry in instance.names}
    found = known.get(squeezed(name))
    if found is None:
        near = did_you_mean(name, [entry for instance in instances() for entry in instance.names])
        raise UnknownName(f"unknown instance {name!r}{near}; `python -m estimator clouds` shows all")
    return found


def instances_about(text: str | None) -> tuple[Instance, ...]:
    """The instances whose names, provider or GPU hold every word of `text`; all without one."""
    words = [squeezed(word) for word in (text or "").split()]
    return tuple(instance for instance in instances() if all(word in _described(instance) for word in words))


def _described(instance: Instance) -> str:
    return " ".join(squeezed(word) for word in (*instance.names, instance.provider, instance.part))
