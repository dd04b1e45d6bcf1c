"""A ModelFile as plain JSON values and back: how records keep what a model file said of itself."""

from __future__ import annotations

from typing import Any

from estimator.plain import from_plain, to_plain
from estimator.specs import ModelFile


def model_file_facts(file: ModelFile) -> dict[str, Any]:
    """`file` as JSON values: quant, file_bytes, model {...}, groups [{...}]; the sizes of its layers are left out."""
    facts: dict[str, Any] = to_plain(file)
    del facts["layer_bytes"]
    return facts


def model_file_from_facts(facts: dict[str, Any]) -> ModelFile:
    """The ModelFile that `model_file_facts` wrote. Raises UnreadableFile for a missing or unknown field."""
    return from_plain(ModelFile, facts, "model facts")
