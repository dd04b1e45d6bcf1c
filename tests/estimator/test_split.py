"""Models split over several GGUF files, whole and spoiled."""

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from estimator.catalog import find_model
from estimator.errors import UnreadableFile
from estimator.readers.gguf import read_model_file
from estimator.specs import Model, Tensor
from estimator.tensors import model_file, model_tensors
from tests.estimator.header_only import add_metadata

SMALL = replace(find_model("mixtral"), layers=3, hidden=256, ffn=256, expert_ffn=256, vocabulary=400, parameters=None)


def write_parts(folder: Path, model: Model = SMALL, parts: int = 3) -> list[Path]:
    """`model` in Q4_0 as llama-gguf-split leaves it: all metadata in the first part, the tensors shared out."""
    tensors = model_tensors(model, "Q4_0")
    paths = [folder / f"small-{part + 1:05}-of-{parts:05}.gguf" for part in range(parts)]
    for part, path in enumerate(paths):
        writer = gguf.GGUFWriter(path, arch=model.architecture)
        writer.add_uint16("split.no", part)
        writer.add_uint16("split.count", parts)
        writer.add_int32("split.tensors.count", len(tensors))
        if part == 0:
            writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q4_0))
            add_metadata(writer, model)
            writer.add_vocab_size(model.vocabulary)
        for tensor in tensors[part::parts]:
            _add(writer, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


def _add(writer: gguf.GGUFWriter, tensor: Tensor) -> None:
    kind = gguf.GGMLQuantizationType[tensor.quant_type]
    shape = gguf.quant_shape_to_byte_shape(tensor.shape[::-1], kind)
    writer.add_tensor(tensor.name, np.zeros(shape, np.uint8), raw_dtype=kind)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_any_part_names_the_whole_model(part: int, tmp_path: Path) -> None:
    paths = write_parts(tmp_path)
    read, meant = read_model_file(paths[part]), model_file(SMALL, "Q4_0")
    assert sorted(map(str, read.groups)) == sorted(map(str, meant.groups))
    assert (read.model.names, read.quant) == (("small",), "Q4_0")
    assert read.file_bytes == sum(path.stat().st_size for path in paths)
    assert (read.model.experts, read.model.experts_used, read.model.expert_ffn) == (8, 2, 256)


def test_missing_parts_are_named_in_one_line(tmp_path: Path) -> None:
    paths = write_parts(tmp_path)
    paths[1].unlink()
    with pytest.raises(UnreadableFile, match=r"one of 3 parts, of which small-00002-of-00003\.gguf is not beside it"):
        read_model_file(paths[0])
    paths[2].unlink()
    with pytest.raises(UnreadableFile, match=r"small-00002-of-00003\.gguf and 1 more is not beside it"):
        read_model_file(paths[0])


def test_parts_that_are_the_same_file_are_no_model(tmp_path: Path) -> None:
    paths = write_parts(tmp_path)
    paths[1].unlink()
    paths[1].symlink_to(paths[0])
    with pytest.raises(UnreadableFile, match=r"small-00002-of-00003\.gguf is not part 2 of 3 by its header \(0 of 3"):
        read_model_file(paths[2])


def test_a_part_that_points_at_itself_is_missing(tmp_path: Path) -> None:
    paths = write_parts(tmp_path)
    paths[1].unlink()
    paths[1].symlink_to(paths[1])
    with pytest.raises(UnreadableFile, match="is not beside it"):
        read_model_file(paths[0])


def test_a_part_under_another_name_says_how_parts_are_called(tmp_path: Path) -> None:
    first = write_parts(tmp_path)[0]
    with pytest.raises(UnreadableFile, match="name the parts as llama-gguf-split does"):
        read_model_file(first.rename(tmp_path / "renamed.gguf"))


def test_parts_of_two_models_are_told(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = write_parts(tmp_path)
    other = write_parts(tmp_path / "other", replace(SMALL, layers=2))
    paths[1].write_bytes(other[1].read_bytes())
    with pytest.raises(UnreadableFile, match=r"names a tensor twice|hold \d+ of \d+ tensors"):
        read_model_file(paths[0])


def test_thousands_of_parts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "small-00001-of-65535.gguf"
    writer = gguf.GGUFWriter(path, arch="llama")
    writer.add_uint16("split.count", 65535)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UnreadableFile, match="one of 65535 parts"):
        read_model_file(path)
