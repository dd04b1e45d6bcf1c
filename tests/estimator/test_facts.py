"""Model facts as JSON and back."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator.catalog import models
from estimator.errors import UnreadableFile
from estimator.facts import model_file_facts, model_file_from_facts
from estimator.specs import Model
from estimator.tensors import MIXTURES, model_file


@given(st.sampled_from(models()), st.sampled_from(sorted(MIXTURES)))
def test_facts_come_back_from_json_as_they_went(model: Model, mixture: str) -> None:
    file = model_file(model, mixture)
    assert model_file_from_facts(json.loads(json.dumps(model_file_facts(file)))) == replace(file, layer_bytes=())


def _facts() -> dict[str, Any]:
    return model_file_facts(model_file(models()[0], "Q4_0"))


def test_a_missing_field_is_named() -> None:
    facts = _facts()
    del facts["model"]["layers"]
    with pytest.raises(UnreadableFile, match=r"model facts\.model lacks the field 'layers'"):
        model_file_from_facts(facts)


def test_a_field_that_nobody_knows_is_named() -> None:
    with pytest.raises(UnreadableFile, match="unknown field 'colour'"):
        model_file_from_facts(_facts() | {"colour": "blue"})


@pytest.mark.parametrize("layers", ["32", 32.5, None, True, [32]])
def test_a_field_of_the_wrong_type_is_named(layers: object) -> None:
    facts = _facts()
    facts["model"]["layers"] = layers
    with pytest.raises(UnreadableFile, match=r"model\.layers must be int"):
        model_file_from_facts(facts)


def test_a_role_that_does_not_exist_is_refused() -> None:
    facts = _facts()
    facts["groups"][0]["role"] = "soul"
    with pytest.raises(
        UnreadableFile, match=r"groups\[0\]\.role must be one of embedding, head, matrix, latent, expert, vector"
    ):
        model_file_from_facts(facts)


@pytest.mark.parametrize("facts", [None, [], "text", 3])
def test_facts_that_are_no_object_are_refused(facts: Any) -> None:
    with pytest.raises(UnreadableFile, match="must be an object"):
        model_file_from_facts(facts)
