"""From journals on disk to a data set, one engine build after another: memory grows with the records of one build
and with what is known of all cells, not with all records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.api.requests import API_BACKENDS
from calibration.dataset import build_of, dataset, odd_option
from calibration.observations import Build, Dataset
from harness.errors import BadResults
from harness.journal import find_journals, read_heads, tried
from harness.record import Record


@dataclass(frozen=True, slots=True)
class BehindApis:
    """Runs that hold a model behind an API, whether they hold nothing else, a sentence on each unreadable journal."""

    records: tuple[Record, ...]
    alone: bool
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A journal: its run, when that started, and which builds of engines it measured."""

    path: Path
    run_id: str
    started_at: str
    builds: tuple[Build, ...]


def read_dataset(
    paths: list[Path], include_noisy: bool = False, seen: Collection[str] = ()
) -> tuple[Dataset, list[str]]:
    """The observations in the journals at `paths`, and a sentence on each journal that was not used.

    Runs named in `seen` are passed over, and so is a journal that lies there twice.
    Raises BadResults as `harness.journal.read_records` does: where none can be read, too.
    """
    unused: list[str] = []
    places = _places(paths, unused)
    unused += [
        f"{place.run_id}: the fit stands on it, so it is no evidence" for place in places if place.run_id in seen
    ]
    parts, unreadable = [], list[str]()
    wanted = [place for place in places if place.run_id not in seen]
    for build, listed in _by_build(wanted).items():
        records = (record for place in listed if (record := tried(place, paths, unreadable)))
        parts.append(dataset(records, include_noisy, build))
    broken = list(dict.fromkeys(unreadable))
    if len(broken) == len(wanted) and (broken or not places):
        raise BadResults(f"no run can be read: {[*broken, *unused][0]}")
    return _joined(parts), [*unused, *broken]


def read_behind_apis(paths: list[Path]) -> BehindApis:
    """The records that `calibration.api` fits; journals of engines alone are passed over by their heads."""
    unreadable: list[str] = []
    heads = [head for path in find_journals(paths) if (head := tried(path, paths, unreadable, read_heads))]
    remote = [[subject.backend in API_BACKENDS for subject in head.subjects] for head in heads]
    wanted = [Path(head.path) for head, told in zip(heads, remote, strict=True) if any(told)]
    records = tuple(record for path in wanted if (record := tried(path, paths, unreadable)))
    return BehindApis(records, all(all(told) for told in remote), tuple(unreadable))


def engine_records(paths: list[Path], unused: list[str]) -> list[Record]:
    """The records at `paths`, each once; `unused` gets a sentence on each journal that cannot be used.

    Raises BadResults as `read_dataset` does, but for where none is left.
    """
    places = _places(paths, unused)
    return [record for place in places if (record := tried(place.path, paths, unused))]


def _places(paths: list[Path], unused: list[str]) -> list[_Place]:
    """The journals at `paths` that can be read, each once."""
    heads = (tried(path, paths, unused, _heads) for path in find_journals(paths))
    return _once([_place(head) for head in heads if head is not None], unused)


def _once(places: list[_Place], unused: list[str]) -> list[_Place]:
    """The journals without copies of others: a copy would count its requests twice."""
    alike: dict[tuple[str, str, int], list[_Place]] = {}
    for place in places:
        alike.setdefault((place.run_id, place.started_at, place.path.stat().st_size), []).append(place)
    kept = []
    for group in alike.values():
        known: dict[str, _Place] = {}
        for place in group:
            content = hashlib.sha256(place.path.read_bytes()).hexdigest() if len(group) > 1 else ""
            if content in known:
                unused.append(f"{place.path}: a copy of {known[content].path}, counted once")
            else:
                known[content] = place
                kept.append(place)
    return kept


def _heads(path: Path) -> Record:
    """As `harness.journal.read_heads`. Raises BadResults also for options of an engine that are none."""
    head = read_heads(path)
    for subject in head.subjects:
        if odd := odd_option(subject):
            raise BadResults(f"{path}: {subject.model_name} has {odd}; leave that run out, or measure again")
    return head


def _place(head: Record) -> _Place:
    host = head.header.host
    builds = dict.fromkeys(build_of(host, s) for s in head.subjects if s.backend not in API_BACKENDS)
    return _Place(Path(head.path), head.header.run_id, head.header.started_at, tuple(builds))


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
