"""Rates of this machine as `harness doctor` measured them: written there, read here where nothing else is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from estimator.errors import UnreadableFile
from estimator.json_files import is_there, read_json, write_whole
from estimator.plain import from_plain, to_plain

DEFAULT_PATH = Path("results/machine.json")
_WHAT = "the machine's rates"
# Nothing is written over what cannot be read: it may be a newer version's.
_AGAIN = "remove it and measure anew with `python -m harness doctor`"
# A million times the fastest part of the catalogue.
MOST_PER_S = 1e22


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probes of a machine read: bytes a second of its memory, F32 FLOP a second of a matrix product.

    `cpu` and `physical_cores` say of which machine; `probed_at` is the date of the latest probe. None: not measured.
    """

    cpu: str
    physical_cores: int
    threads: int
    read_bytes_per_s: float | None
    matmul_flop_per_s: float | None
    probed_at: str

    def is_of(self, cpu: str, physical_cores: int) -> bool:
        """Whether the probes ran on such a machine."""
        return (self.cpu, self.physical_cores) == (cpu, physical_cores)


def find_probed(path: Path = DEFAULT_PATH) -> Probed | None:
    """The probes in results/machine.json of the working directory; None where there are none.

    Raises UnreadableFile: a file in that place must be readable.
    """
    if not is_there(path, _WHAT):
        return None
    found = from_plain(Probed, read_json(path, _WHAT, _AGAIN), str(path))
    for rate in (found.read_bytes_per_s, found.matmul_flop_per_s):
        if rate is not None and not 1 <= rate <= MOST_PER_S:
            raise UnreadableFile(f"{path}: {rate:g} is no rate a second; {_AGAIN}")
    return found


def keep_probed(found: Probed, path: Path = DEFAULT_PATH) -> Probed:
    """Writes what was probed, each rate the best of it and of earlier probes of the same machine, and returns that.

    What disturbs a probe only makes it slower. Raises OSError, and UnreadableFile of what stands there.
    """
    known = find_probed(path)
    if known is not None and known.is_of(found.cpu, found.physical_cores) and known.threads == found.threads:
        found = replace(
            found,
            read_bytes_per_s=_best(found.read_bytes_per_s, known.read_bytes_per_s),
            matmul_flop_per_s=_best(found.matmul_flop_per_s, known.matmul_flop_per_s),
        )
    write_whole(path, json.dumps(to_plain(found), indent=2) + "\n")
    return found


def _best(*rates: float | None) -> float | None:
    return max((rate for rate in rates if rate is not None), default=None)
