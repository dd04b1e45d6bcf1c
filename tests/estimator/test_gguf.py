"""The GGUF header reader against files that the gguf package wrote."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.catalog import find_model, models
from estimator.errors import UnreadableFile
from estimator.readers.gguf import read_model_file
from estimator.specs import Model
from estimator.tensors import MIXTURES, model_file
from tests.estimator.header_only import write_header_only

SMALL = replace(find_model("tinyllama"), layers=2, vocabulary=400)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_header_only(path, SMALL, "Q4_K_M")
    return path


@pytest.fixture(scope="module")
def header(small_file: Path) -> bytes:
    return small_file.read_bytes()[: small_file.stat().st_size - model_file(SMALL, "Q4_K_M").weight_bytes]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_a_catalogue_model_is_read_back_with_its_shape_and_weights(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_header_only(path, model, "Q4_K_M")
    read, known = read_model_file(path), model_file(model, "Q4_K_M")
    taken_from_catalogue = ("names", "title", "source", "published_bytes")
    same = {name: getattr(model, name) for name in taken_from_catalogue}
    assert replace(read.model, norm_epsilon=model.norm_epsilon, **same) == model
    assert (read.quant, read.groups, read.file_bytes) == ("Q4_K_M", known.groups, path.stat().st_size)
    assert read.model.norm_epsilon == pytest.approx(model.norm_epsilon)
    assert read.model.names == ("model",)


@pytest.mark.parametrize("mixture", sorted(MIXTURES))
def test_each_mixture_is_read_with_its_name_and_bytes(mixture: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_header_only(path, SMALL, mixture)
    assert read_model_file(path).quant == mixture
    assert read_model_file(path).weight_bytes == model_file(SMALL, mixture).weight_bytes


def test_a_long_token_list_is_walked_over_quickly_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    entries = 256_000
    _write(path, lambda writer: writer.add_token_list([f"token{number}" for number in range(entries)]))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert read_model_file(path).model.vocabulary == entries
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.2


def test_heads_given_one_by_one_for_each_layer_count_as_the_largest(tmp_path: Path) -> None:
    path = tmp_path / "heads.gguf"
    _write(path, lambda writer: writer.add_head_count_kv([2, 4, 1]))
    assert read_model_file(path).model.kv_heads == 4


def test_lengths_of_heads_follow_from_hidden_and_heads_where_the_file_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "plain.gguf"
    _write(path, lambda writer: None)
    model = read_model_file(path).model
    assert (model.key_length, model.value_length, model.kv_heads, model.vocabulary) == (64, 64, 4, 300)


@pytest.mark.parametrize(
    ("add", "width"),
    [
        (lambda writer: None, 3 * 128),
        (lambda writer: writer.add_expert_shared_feed_forward_length(96), 96),
        (lambda writer: writer.add_tensor("blk.0.ffn_down_shexp.weight", np.zeros((256, 64), np.float16)), 64),
    ],
)
def test_the_shared_expert_is_as_wide_as_its_tensor_else_as_stated_else_as_many_experts(
    add: Callable[[gguf.GGUFWriter], None], width: int, tmp_path: Path
) -> None:
    def add_experts(writer: gguf.GGUFWriter) -> None:
        _add_experts(writer, 8, 2)
        writer.add_expert_feed_forward_length(128)
        writer.add_expert_shared_count(3)
        add(writer)

    path = tmp_path / "experts.gguf"
    _write(path, add_experts)
    assert read_model_file(path).model.shared_ffn == width


def test_a_window_that_the_engine_ignores_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "window.gguf"
    _write(path, lambda writer: writer.add_sliding_window(4096))
    assert read_model_file(path).model.sliding_window_tokens is None


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda writer: writer.add_ssm_state_size(16), "is a state-space model, which no formula here describes"),
        (lambda writer: writer.add_expert_count(8), r"no usable llama\.expert_used_count"),
        (lambda writer: _add_experts(writer, 8, 9), "uses 9 of 8 experts"),
        (lambda writer: writer.add_block_count(2**32 - 1), "claims 4,294,967,295 layers"),
        (lambda writer: writer.add_sliding_window_pattern([True, True, False, False]), "pattern of windowed layers"),
        (lambda writer: writer.add_uint16("split.count", 2), "one of 2 parts, but is not called"),
    ],
)
def test_a_model_that_no_formula_describes_is_refused(
    add: Callable[[gguf.GGUFWriter], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.gguf"
    _write(path, add)
    with pytest.raises(UnreadableFile, match=message):
        read_model_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"cannot read .*none\.gguf: No such file"):
        read_model_file(tmp_path / "none.gguf")


def test_a_folder_is_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="cannot read"):
        read_model_file(tmp_path)


def test_an_empty_file_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    path.touch()
    with pytest.raises(UnreadableFile, match="0 bytes, too short"):
        read_model_file(path)


def test_a_file_of_another_kind_is_named_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "zip.gguf"
    path.write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(UnreadableFile, match="not a GGUF file"):
        read_model_file(path)


@pytest.mark.parametrize(("version", "why"), [(1, "version 1"), (4, "version 4"), (3 << 24, "big-endian")])
def test_a_version_that_is_not_read_is_named(version: int, why: str, header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "version.gguf"
    path.write_bytes(header[:4] + version.to_bytes(4, "little") + header[8:])
    with pytest.raises(UnreadableFile, match=why):
        read_model_file(path)


def test_missing_data_is_counted_in_bytes(small_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(small_file.read_bytes()[:-1000])
    with pytest.raises(UnreadableFile, match=r"truncated: 1,000 of [\d,]+ bytes are missing"):
        read_model_file(path)


@given(data=st.data())
def test_a_header_cut_anywhere_is_refused_in_one_line(
    data: st.DataObject, header: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.gguf"
    path.write_bytes(header[: data.draw(st.integers(0, len(header) - 1))])
    with pytest.raises(UnreadableFile) as caught:
        read_model_file(path)
    assert "\n" not in str(caught.value)


@given(data=st.data())
def test_a_damaged_header_is_read_or_refused_but_never_crashes(
    data: st.DataObject, header: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(header)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(damaged)
    with pytest.raises(UnreadableFile):  # at the least, the data is missing
        read_model_file(path)


def _add_experts(writer: gguf.GGUFWriter, experts: int, used: int) -> None:
    writer.add_expert_count(experts)
    writer.add_expert_used_count(used)


def _write(path: Path, add: Callable[[gguf.GGUFWriter], object]) -> None:
    """A file with the least that a llama model must state, and what `add` adds."""
    writer = gguf.GGUFWriter(path, arch="llama")
    writer.add_context_length(512)
    writer.add_embedding_length(256)
    writer.add_block_count(1)
    writer.add_feed_forward_length(512)
    writer.add_head_count(4)
    add(writer)
    writer.add_tensor("token_embd.weight", np.zeros((300, 256), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
