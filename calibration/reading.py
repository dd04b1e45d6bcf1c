"""From journals on disk to a data set, one engine build after another: memory grows with the records of one build
and with what is known of all cells, not with all records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.dataset import build_of, dataset
from calibration.observations import Build, Dataset
from harness.journal import find_journals, read_heads, tried
from harness.record import Record


@dataclass(frozen=True, slots=True)
class _Place:
    """A journal: when its run started, and which builds it measured."""

    path: Path
    started_at: str
    builds: tuple[Build, ...]


def read_dataset(paths: list[Path], include_noisy: bool = False) -> tuple[Dataset, list[str]]:
    """The observations in the journals at `paths`, and a sentence on each journal that could not be read.

    Raises BadResults, as `harness.journal.read_records` does.
    """
    unreadable: list[str] = []
    heads = (tried(path, paths, unreadable, read_heads) for path in find_journals(paths))
    places = [_place(head) for head in heads if head is not None]
    parts = []
    for build, listed in _by_build(places).items():
        records = (record for place in listed if (record := tried(place, paths, unreadable)))
        parts.append(dataset(records, include_noisy, build))
    return _joined(parts), list(dict.fromkeys(unreadable))


def _place(head: Record) -> _Place:
    host = head.header.host
    builds = dict.fromkeys(build_of(host, subject) for subject in head.subjects)
    return _Place(Path(head.path), head.header.started_at, tuple(builds))


def _by_build(places: Iterable[_Place]) -> dict[Build, list[Path]]:
    """The journals of each build, the build with the latest run last."""
    found: dict[Build, list[Path]] = {}
    for place in sorted(places, key=lambda place: place.started_at):
        for build in place.builds:
            # Moved to the end.
            found[build] = [*found.pop(build, []), place.path]
    return found


def _joined(parts: list[Dataset]) -> Dataset:
    whole = dataset([])
    return replace(
        whole,
        observations=tuple(o for part in parts for o in part.observations),
        memory=tuple(m for part in parts for m in part.memory),
        left_out=tuple(reason for part in parts for reason in part.left_out),
        noisy=tuple(reason for part in parts for reason in part.noisy),
        probes={build: probes for part in parts for build, probes in part.probes.items()},
        digests={build: digest for part in parts for build, digest in part.digests.items() if build in part.probes},
    )
