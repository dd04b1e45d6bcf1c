"""The catalogue's tensor lists against published parameter counts and file sizes."""

import pytest

from estimator.catalog import models
from estimator.specs import Model
from estimator.tensors import model_file, model_tensors

# A header holds the tokens, their merges and little else: with the longest tokens 66 bytes an entry were seen.
_HEADER_BYTES_PER_TOKEN = 80


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_the_tensors_add_up_to_the_published_parameter_count(model: Model) -> None:
    tensors = model_tensors(model, "F16")
    assert sum(tensor.elements for tensor in tensors if not tensor.name.startswith("rope_")) == model.parameters


def test_the_catalogue_holds_each_family_under_names_that_occur_once() -> None:
    names = [name for model in models() for name in model.names]
    assert len(names) == len(set(names))
    assert len(models()) >= 80
    families = {name.split(":")[0] for name in names}
    assert families >= {
        *("mistral", "mistral-nemo", "mistral-small", "mixtral", "tinyllama", "falcon", "yi", "command-r"),
        *("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "qwen2.5", "qwen3", "gemma2", "gemma3"),
        *("phi3", "phi4", "deepseek-v2", "deepseek-v3", "deepseek-r1", "gpt-oss"),
    }


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_every_model_names_its_source(model: Model) -> None:
    assert model.source.startswith("config.json of ")


_PUBLISHED = [(model, quant, size) for model in models() for quant, size in model.published_bytes]


@pytest.mark.parametrize(("model", "quant", "size"), _PUBLISHED, ids=lambda value: getattr(value, "name", str(value)))
def test_a_published_file_is_larger_than_its_tensors_by_a_header_of_its_tokens(
    model: Model, quant: str, size: int
) -> None:
    header = size - model_file(model, quant).weight_bytes
    assert 0 < header < _HEADER_BYTES_PER_TOKEN * model.vocabulary


@pytest.mark.parametrize("tokens", [32_000, 151_936])
def test_files_of_one_vocabulary_have_headers_of_one_size_within_an_entry_a_tensor(tokens: int) -> None:
    headers = [
        size - model_file(model, quant).weight_bytes for model, quant, size in _PUBLISHED if model.vocabulary == tokens
    ]
    assert len(headers) >= 2
    assert max(headers) - min(headers) < 20_000


def test_mistral_7b_has_its_published_sizes() -> None:
    mistral = next(model for model in models() if model.name == "mistral:7b")
    assert dict(mistral.published_bytes) == {"Q4_K_M": 4_368_438_944, "Q4_0": 4_108_916_384}
    assert mistral.parameters == 7_241_732_096


def test_ten_more_models_have_published_sizes() -> None:
    assert len({model.name for model, _, _ in _PUBLISHED}) >= 11
