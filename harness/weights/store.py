"""The cache of weight-free model files: built once, under a content key, in the user's cache directory."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

import platformdirs
import psutil

from estimator.errors import UnreadableFile
from estimator.json_files import is_there
from estimator.specs import Model
from estimator.tensors import model_tensors, tensor_bytes
from harness.errors import NotBuilt, NotEnoughRoom
from harness.weights.build import BUILDER_VERSION, Progress, write_header, write_model

# A field that a model leaves at its default is no part of a file's key, so that a new field orphans no file.
_DEFAULTS = {field.name: field.default for field in fields(Model)}
_SPARE_BYTES = 256 * 2**20
_HEADER_ALLOWANCE_BYTES = 32 * 2**20


def cache_folder() -> Path:
    """Where model files are kept: $YARDSTICK_CACHE, or the user's cache directory."""
    return Path(os.environ.get("YARDSTICK_CACHE") or platformdirs.user_cache_dir("llm-yardstick")) / "models"


class Store:
    """Weight-free model files in one folder."""

    def __init__(self, folder: Path | None = None, free_bytes: Callable[[Path], int] | None = None) -> None:
        self.folder = folder or cache_folder()
        self._free_bytes = free_bytes or (lambda path: shutil.disk_usage(path).free)

    def path(self, model: Model, mixture: str, seed: int = 1) -> Path:
        """Where the file of this model, mixture and seed is or would be. The key changes with its contents."""
        stated = {name: value for name, value in asdict(model).items() if value != _DEFAULTS[name]}
        contents = json.dumps([BUILDER_VERSION, stated, mixture, seed], sort_keys=True)
        key = hashlib.sha256(contents.encode()).hexdigest()[:12]
        return self.folder / f"{model.name.replace(':', '-')}-{mixture}-{key}.gguf"

    def has(self, model: Model, mixture: str) -> bool:
        """Whether the file is there. Raises NotBuilt where nobody may look."""
        return _is_there(self.path(model, mixture))

    def files(self) -> list[Path]:
        """The finished files. Raises NotBuilt."""
        there = _is_there(self.folder) and self.folder.is_dir()
        return sorted(self.folder.glob("*.gguf")) if there else []

    def size_bytes(self, model: Model, mixture: str) -> int:
        """Bytes of the tensors; the file has a header of a few MB more."""
        return sum(tensor_bytes(tensor) for tensor in model_tensors(model, mixture))

    def missing_bytes(self, model: Model, mixture: str) -> int:
        """Bytes of disk that are lacking to build the file; 0 where it fits or is there."""
        return self.lacking_bytes(self.new_bytes(model, mixture))

    def new_bytes(self, model: Model, mixture: str) -> int:
        """Bytes of disk that building the file takes at most; 0 where it is there. Raises NotBuilt."""
        return 0 if self.has(model, mixture) else self.size_bytes(model, mixture) + _HEADER_ALLOWANCE_BYTES

    def lacking_bytes(self, wanted_bytes: int) -> int:
        """Bytes of disk that are lacking for so many with a quarter of a GiB to spare; 0 where nothing is wanted."""
        return max(0, wanted_bytes - self.room_bytes()) if wanted_bytes else 0

    def room_bytes(self) -> int:
        """Bytes of disk for model files, a quarter of a GiB left free; below 0 where less is free."""
        return self._free_bytes(_existing_parent(self.folder)) - _SPARE_BYTES

    def build(self, model: Model, mixture: str, seed: int = 1, progress: Progress = lambda _: None) -> Path:
        """The file, built where it is not there. Raises NotEnoughRoom, NotBuilt.

        It is written under a temporary name and renamed, so that no other run meets half a file.
        """
        path = self.path(model, mixture, seed)
        if _is_there(path):
            return path
        if lacking := self.missing_bytes(model, mixture):
            raise NotEnoughRoom(
                f"{path.name} needs {lacking / 1e9:.1f} GB more disk in {self.folder}: free some, set YARDSTICK_CACHE, "
                "or choose a smaller --model or --quant"
            )
        part = self._part(path)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_model(part, model, mixture, seed, progress)
            part.replace(path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NotEnoughRoom(f"the disk filled up while {path.name} was built; nothing was kept") from error
            raise NotBuilt(f"cannot build {path}: {error.strerror}; set YARDSTICK_CACHE to another folder") from error
        finally:
            _remove(part)
        return path

    def sparse(self, model: Model, mixture: str) -> Path:
        """A file with the true header and size and no data on disk, for the engine's dry run. The caller removes it."""
        path = self._part(self.path(model, mixture))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_header(path, model, mixture)
        except OSError as error:
            _remove(path)
            raise NotBuilt(f"cannot write in {self.folder}: {error.strerror}; set YARDSTICK_CACHE") from error
        return path

    def remove(self, path: Path) -> int:
        """Removes one file; returns its bytes."""
        size = path.stat().st_size
        path.unlink()
        return size

    def clean(self) -> None:
        """Removes parts that dead builders left."""
        for part in self.folder.glob(".*.part") if self.folder.is_dir() else []:
            if not psutil.pid_exists(int(part.suffixes[-2][1:])):
                part.unlink(missing_ok=True)

    def _part(self, path: Path) -> Path:
        return path.with_name(f".{path.name}.{os.getpid()}.part")


def _existing_parent(folder: Path) -> Path:
    while not _is_there(folder):
        folder = folder.parent
    return folder


def _remove(part: Path) -> None:
    """Removes what was begun, if anything was: where nobody may, why nothing was built says more."""
    with suppress(OSError):
        part.unlink()


def _is_there(path: Path) -> bool:
    try:
        return is_there(path, "the model file")
    except UnreadableFile as error:
        raise NotBuilt(f"{error}; set YARDSTICK_CACHE to another folder") from error
