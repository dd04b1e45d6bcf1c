"""Headers that lie: whatever they claim, reading them costs at most a second and 100 MB, and one clear line."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.errors import UnreadableFile
from estimator.readers.gguf import read_model_file
from estimator.readers.hf_config import read_config
from estimator.readers.safetensors import INDEX, read_weights
from tests.estimator.examples import MODEL

ROOT = Path(__file__).parents[2]
_UINT8, _STRING, _ARRAY, _UINT64 = 0, 8, 9, 10
_MOST_CPU_S = 1.0
_MOST_BYTES = 100e6


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(tensors: int, pairs: int, body: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + body


def array(kind: int, length: int) -> bytes:
    return text("tokenizer.ggml.tokens") + struct.pack("<IIQ", _ARRAY, kind, length)


def tensor_infos(count: int) -> bytes:
    return b"".join(text(f"blk.{n}.x") + struct.pack("<IQIQ", 1, 1, 0, 0) for n in range(count))


def small_array(number: int) -> bytes:
    return text(str(number)) + struct.pack("<IIQ", _ARRAY, _UINT8, 1024) + bytes(1024)


def strings(length: int, apart: int) -> Callable[[Path], None]:
    """An array of `length` strings, `apart` bytes from one to the next, in a file that is mostly holes."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(gguf(1, 1, array(_STRING, length)))
            if apart > 8:
                for _ in range(20_000):
                    file.write(struct.pack("<Q", apart - 8))
                    file.seek(apart - 8, os.SEEK_CUR)
            file.truncate(file.tell() + 2**32)

    return write


def of(content: bytes, size: int = 2**32) -> Callable[[Path], None]:
    """A file that begins with `content` and goes on as a hole."""

    def write(path: Path) -> None:
        path.write_bytes(content)
        os.truncate(path, size)

    return write


HOSTILE = {
    "a billion tensors": of(gguf(10**9, 0)),
    "all tensors that a number can count": of(gguf(2**64 - 1, 0)),
    "a billion pairs": of(gguf(1, 10**9)),
    "a billion strings": of(gguf(1, 1, array(_STRING, 10**9))),
    "two million empty strings": strings(2_000_000, 8),
    "strings a page apart": strings(1_900_000, 4096),
    "four billion numbers": of(gguf(1, 1, array(_UINT64, 2**29 - 10)), 2**33),
    "arrays in arrays": of(gguf(1, 1, array(_ARRAY, 10**6))),
    "a string of four gigabytes": of(gguf(1, 1, text("a") + struct.pack("<IQ", _STRING, 2**32 - 100))),
    "as many tensors as are allowed": of(gguf(16_384, 0, tensor_infos(16_384))),
    "as many pairs as are allowed": of(gguf(0, 16_384, b"".join(map(small_array, range(16_384))))),
    "four billion layers": of(
        gguf(0, 2, text("general.architecture") + struct.pack("<I", _STRING) + text("llama")
             + text("llama.block_count") + struct.pack("<IQ", _UINT64, 2**32))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_in_one_line_for_a_second_and_100_mb_at_most(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    HOSTILE[name](path)
    refused(path, tmp_path)


def test_a_hostile_folder_is_refused_in_one_line_for_a_second_and_100_mb_at_most(tmp_path: Path) -> None:
    for number, content in enumerate(
        (b"[" * 10**6, b"[[]" + b",[]" * 300_000 + b"]", b'{"model_type":"llama"}' + b" " * 2**22)
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_bytes(content)
        refused(folder, tmp_path)


def test_hostile_safetensors_are_refused_in_one_line_for_a_second_and_100_mb_at_most(tmp_path: Path) -> None:
    header = b'{"a":' + b"[[]" + b",[]" * 500_000 + b"]}"
    contents = {
        "claims": struct.pack("<Q", 2**62) + b"{}",
        "lists": struct.pack("<Q", len(header)) + header,
        "deep": struct.pack("<Q", 2**20) + b"[" * 2**20,
    }
    for name, content in contents.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "model.safetensors").write_bytes(content)
        refused(folder, tmp_path)


CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}


# Runs the command and tells what it took. The peak is of this program alone: what a parent took before does not count.
MEASURED = """
import re, resource, sys
from pathlib import Path
from estimator.__main__ import main
status, usage = main(sys.argv[1:]), resource.getrusage(resource.RUSAGE_SELF)
proc = Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s+(\\d+)", proc.read_text()).group(1) if proc.exists() else usage.ru_maxrss / 1024
print(status, usage.ru_utime + usage.ru_stime, int(peak) * 1024)
"""


def refused(model: Path, folder: Path) -> None:
    """The whole command refuses `model` with one line and exit status 4, within the limits."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "predict", "--model", str(model)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    status, cpu_s, peak_bytes = map(float, done.stdout.split())
    assert (status, done.stderr.count("\n")) == (4, 1)
    assert done.stderr.startswith("error: ")
    assert len(done.stderr) < 400
    assert cpu_s <= _MOST_CPU_S, done.stderr
    assert peak_bytes <= _MOST_BYTES, done.stderr


_SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5))
_VALUE = st.one_of(_SCALAR, st.lists(_SCALAR, max_size=3), st.dictionaries(st.text(max_size=5), _SCALAR, max_size=2))


@given(
    changes=st.dictionaries(
        st.sampled_from([*CONFIG, "head_dim", "kv_lora_rank", "num_experts", "rope_scaling"]), _VALUE
    )
)
def test_a_config_with_any_values_is_read_or_refused(
    changes: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_text(json.dumps(CONFIG | changes))
    read_or_refused(lambda: read_config(path))


@given(entries=st.dictionaries(st.text(max_size=20), _VALUE | st.fixed_dictionaries(
    {"dtype": _VALUE, "shape": _VALUE, "data_offsets": st.lists(st.integers(-5, 2**50), max_size=3)}
), max_size=4))  # fmt: skip
def test_safetensors_with_any_entries_are_read_or_refused(
    entries: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    header = json.dumps(entries).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    read_or_refused(lambda: read_weights(folder, MODEL))


@given(data=st.binary(max_size=400), tensors=st.integers(0, 3), pairs=st.integers(0, 3))
def test_a_gguf_file_of_any_bytes_is_read_or_refused(
    data: bytes, tensors: int, pairs: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.gguf"
    path.write_bytes(gguf(tensors, pairs, data))
    read_or_refused(lambda: read_model_file(path))


@given(data=st.binary(max_size=100))
def test_an_index_of_any_bytes_is_read_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "indexed"
    folder.mkdir(exist_ok=True)
    (folder / INDEX).write_bytes(data)
    read_or_refused(lambda: read_weights(folder, MODEL))


def read_or_refused(read: Callable[[], object]) -> None:
    with suppress(UnreadableFile):
        read()
