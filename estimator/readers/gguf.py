"""Reads what a GGUF model says of itself, in one file or split over several: headers only, standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from estimator.errors import UnreadableFile
from estimator.quants import file_type_name
from estimator.readers.gguf_facts import model_from_facts
from estimator.readers.gguf_header import Budget, Header, read_header
from estimator.specs import ModelFile, Tensor
from estimator.tensors import typed_file

# The names that llama-gguf-split gives (llama_split_path).
_PART_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
_MOST_PARTS = 1000


def read_model_file(path: Path) -> ModelFile:
    """The facts in the header of the GGUF file `path`, or in those of all parts of the split model that it is of.

    Raises UnreadableFile with one line of why.
    """
    budget = Budget()
    headers = _parts(read_header(path, budget), budget)
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    _check_tensors(headers, tensors)
    metadata = headers[0].metadata
    found = _PART_NAME.fullmatch(path.name) if len(headers) > 1 else None
    model = model_from_facts(str(path), found["stem"] if found else path.stem, metadata, tensors)
    size = sum(header.size_bytes for header in headers)
    return typed_file(model, file_type_name(metadata.get("general.file_type")), tensors, size)


def _parts(given: Header, budget: Budget) -> tuple[Header, ...]:
    """The headers of all parts in order; of one file that is whole, its own."""
    count = given.metadata.get("split.count", 1)
    if count in (0, 1):
        return (given,)
    found = _PART_NAME.fullmatch(given.path.name)
    if not isinstance(count, int) or count > _MOST_PARTS or found is None or int(found["count"]) != count:
        raise UnreadableFile(
            f"{given.path} says that it is one of {count} parts, but is not called NAME-00001-of-0000N.gguf after "
            "that: name the parts as llama-gguf-split does, or join them with its --merge"
        )
    paths = [given.path.with_name(f"{found['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnreadableFile(
            f"{given.path} is one of {count} parts, of which {missing[0]}{more} is not beside it: download the rest"
        )
    return tuple(_checked_parts(paths, given, count, budget))


def _checked_parts(paths: list[Path], given: Header, count: int, budget: Budget) -> Iterator[Header]:
    for number, path in enumerate(paths):
        header = given if path.name == given.path.name else read_header(path, budget)
        says = header.metadata.get("split.no"), header.metadata.get("split.count")
        if says != (number, count):
            raise UnreadableFile(
                f"{path} is not part {number + 1} of {count} by its header ({says[0]!r} of {says[1]!r}, from 0): "
                "download the parts again"
            )
        yield header


def _check_tensors(headers: tuple[Header, ...], tensors: tuple[Tensor, ...]) -> None:
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise UnreadableFile(f"{headers[0].path} names a tensor twice: its header is damaged")
    meant = headers[0].metadata.get("split.tensors.count", len(tensors))
    if len(headers) > 1 and meant != len(tensors):
        raise UnreadableFile(
            f"the parts of {headers[0].path} hold {len(tensors)} of {meant} tensors: download them again"
        )
