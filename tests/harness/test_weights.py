"""Weight-free model files: the right shapes, valid blocks, a working tokenizer, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from estimator.catalog import find_model
from estimator.readers.gguf import read_model_file
from estimator.specs import Model
from estimator.tensors import MIXTURES, model_file, model_tensors, tensor_bytes
from harness.errors import NotBuilt, NotEnoughRoom
from harness.weights.blocks import random_blocks
from harness.weights.build import write_header, write_model
from harness.weights.store import Store
from harness.weights.vocabulary import END_ID, FIRST_WORD_ID, SPACE, vocabulary
from tests.estimator.tiny import tiny_model

TINY = Model(
    names=("tiny",), title="Tiny", architecture="llama", layers=8, hidden=256, heads=4, kv_heads=2, key_length=64,
    value_length=64, ffn=512, vocabulary=600, context_tokens=2048, tied_embeddings=False, source="made up for tests",
)  # fmt: skip


@pytest.mark.parametrize("quant_type", ["Q4_0", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "MXFP4", "F16"])
def test_random_blocks_are_finite_and_centred_and_of_the_size_of_weights(quant_type: str) -> None:
    blocks = random_blocks(quant_type, 2000, np.random.default_rng(1))
    values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[quant_type])
    assert np.isfinite(values).all()
    assert abs(float(values.mean())) < 0.003
    assert 0.01 < float(values.std()) < 0.04


@pytest.mark.parametrize("mixture", list(MIXTURES))
def test_a_built_file_has_the_tensors_of_its_mixture_and_nothing_else(tmp_path: Path, mixture: str) -> None:
    path = tmp_path / "tiny.gguf"
    write_model(path, TINY, mixture, seed=1)
    read = gguf.GGUFReader(path)
    expected = {t.name: (list(t.shape), t.quant_type, tensor_bytes(t)) for t in model_tensors(TINY, mixture)}
    found = {t.name: (t.shape.tolist(), t.tensor_type.name, t.n_bytes) for t in read.tensors}
    assert found == expected


def test_the_header_says_what_the_catalogue_says(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_model(path, TINY, "Q4_K_M", seed=1)
    read, meant = read_model_file(path), model_file(TINY, "Q4_K_M")
    assert sorted(map(str, read.groups)) == sorted(map(str, meant.groups))
    assert read.quant == "Q4_K_M"
    for field in ("layers", "hidden", "heads", "kv_heads", "key_length", "value_length", "ffn", "vocabulary"):
        assert getattr(read.model, field) == getattr(TINY, field), field


def test_a_router_is_random_so_that_tokens_choose_different_experts(tmp_path: Path) -> None:
    path = tmp_path / "sparse.gguf"
    write_model(path, tiny_model("mixtral", tied=False), "Q4_K_M", seed=1)
    router = next(t for t in gguf.GGUFReader(path).tensors if t.name == "blk.0.ffn_gate_inp.weight")
    assert router.data.shape == (8, 512)
    assert 0.019 < float(router.data.std()) < 0.021


def test_two_seeds_differ_in_values_and_not_in_size(tmp_path: Path) -> None:
    first, second = tmp_path / "1.gguf", tmp_path / "2.gguf"
    write_model(first, TINY, "Q4_0", seed=1)
    write_model(second, TINY, "Q4_0", seed=2)
    assert first.stat().st_size == second.stat().st_size
    assert first.read_bytes() != second.read_bytes()


def test_the_head_gives_control_and_byte_tokens_a_logit_of_exactly_zero(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write_model(path, TINY, "Q4_K_M", seed=1)
    head = next(t for t in gguf.GGUFReader(path).tensors if t.name == "output.weight")
    values = gguf.quants.dequantize(head.data, head.tensor_type)
    assert not values[:FIRST_WORD_ID].any()
    assert values[FIRST_WORD_ID:].any(axis=1).all()
    assert END_ID < FIRST_WORD_ID


def test_a_sparse_file_has_the_true_size_and_takes_no_room(tmp_path: Path) -> None:
    full, sparse = tmp_path / "full.gguf", tmp_path / "sparse.gguf"
    write_model(full, TINY, "Q8_0", seed=0)
    write_header(sparse, TINY, "Q8_0")
    assert sparse.stat().st_size == full.stat().st_size
    assert sparse.stat().st_blocks * 512 < full.stat().st_size / 2
    assert read_model_file(sparse).groups == read_model_file(full).groups


def test_every_prefix_of_a_word_is_a_token_before_it() -> None:
    tokens, scores, types = vocabulary(5000)
    place = {token: index for index, token in enumerate(tokens)}
    assert len(tokens) == len(scores) == len(types) == len(place) == 5000
    for token in tokens[FIRST_WORD_ID:]:
        assert token.startswith(SPACE)
        assert place[token[:-1]] < place[token]


def test_building_twice_builds_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    pieces: list[int] = []
    first = store.build(TINY, "Q4_0", progress=pieces.append)
    built = len(pieces)
    assert store.build(TINY, "Q4_0", progress=pieces.append) == first
    assert len(pieces) == built > 0
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_another_shape_mixture_or_seed_is_another_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mistral = find_model("mistral")
    paths = {
        store.path(TINY, "Q4_0"),
        store.path(TINY, "Q8_0"),
        store.path(TINY, "Q4_0", 2),
        store.path(mistral, "Q4_0"),
    }
    assert len(paths) == 4


def test_too_little_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", free_bytes=lambda _: 10**9)
    with pytest.raises(NotEnoughRoom, match=r"needs 3\.\d GB more disk"):
        store.build(find_model("mistral"), "Q4_K_M")
    assert not (tmp_path / "cache").exists()


def test_a_build_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).build(TINY, "Q4_0", progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_while_building_is_named_and_nothing_is_kept(tmp_path: Path) -> None:
    import errno

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NotEnoughRoom, match="filled up"):
        Store(tmp_path).build(TINY, "Q4_0", progress=full)
    assert not list(tmp_path.iterdir())


def test_a_folder_in_which_nobody_may_look_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / ("x" * 300))
    asks: list[Callable[[], object]] = [
        store.files, lambda: store.new_bytes(TINY, "Q4_0"), lambda: store.build(TINY, "Q4_0"),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(NotBuilt, match="cannot look for .*: File name too long; set YARDSTICK_CACHE"):
            ask()


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    store = Store(tmp_path / "file" / "models")
    asks: list[Callable[[Model, str], Path]] = [store.build, store.sparse]
    for ask in asks:
        with pytest.raises(NotBuilt, match="set YARDSTICK_CACHE"):
            ask(TINY, "Q4_0")
    assert store.files() == []


def test_parts_of_dead_builders_are_cleaned_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    import os

    dead, alive = tmp_path / ".a.gguf.999999999.part", tmp_path / f".b.gguf.{os.getpid()}.part"
    dead.touch()
    alive.touch()
    Store(tmp_path).clean()
    assert [path.name for path in tmp_path.iterdir()] == [alive.name]
