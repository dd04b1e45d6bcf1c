"""The catalogue against what is published: parameter counts and file sizes."""

import pytest

from estimator.catalog import models
from estimator.specs import Model
from estimator.tensors import model_file, model_tensors


@pytest.mark.parametrize("model", models(), ids=lambda model: model.name)
def test_the_tensors_add_up_to_the_published_parameter_count(model: Model) -> None:
    tensors = model_tensors(model, "F16")
    assert sum(tensor.elements for tensor in tensors if not tensor.name.startswith("rope_")) == model.parameters


def test_a_published_file_is_larger_than_its_tensors_by_the_same_header_for_each_type() -> None:
    headers = {
        (model.name, published - model_file(model, mixture).weight_bytes)
        for model in models()
        for mixture, published in model.published_bytes
    }
    assert len(headers) == 1
    assert all(0 < size < 1_000_000 for _, size in headers)


def test_mistral_7b_has_its_published_sizes() -> None:
    mistral = next(model for model in models() if model.name == "mistral:7b")
    assert dict(mistral.published_bytes) == {"Q4_K_M": 4_368_438_944, "Q4_0": 4_108_916_384}
    assert mistral.parameters == 7_241_732_096
