"""What `--model` and `--quant` name: a catalogue model, a GGUF file, a Hugging Face folder, a model on a server."""

from __future__ import annotations

from pathlib import Path

from estimator import catalog
from estimator.errors import EstimatorError, UnreadableFile
from estimator.readers.gguf import read_model_file
from estimator.specs import ModelFile
from estimator.tensors import model_file

_DEFAULT_QUANT = "q4_k_m"
_OLLAMA = "ollama:"
_CONFIG = "config.json"


def model_file_named(model: str, quant: str | None = None, ollama_host: str = "") -> ModelFile:
    """The model file that `--model` and `--quant` mean. Raises EstimatorError with one line of why.

    `ollama:NAME` asks the server at `ollama_host`; a path that ends in .gguf is read by its header; a config.json or
    its folder by the headers of the safetensors beside it, or as `quant` would type it; else it is a catalogue name.

    >>> from estimator import model_file_named
    >>> model_file_named("mistral:7b", "q4_0").weight_bytes
    4108181504
    """
    stated = model.startswith(_OLLAMA) or model.endswith(".gguf")
    if stated and quant is not None:
        raise EstimatorError(f"{model} states its own weight type: leave out --quant {quant}")
    if model.startswith(_OLLAMA):
        from estimator.readers.ollama import DEFAULT_HOST, read_ollama

        return read_ollama(model.removeprefix(_OLLAMA), ollama_host or DEFAULT_HOST)
    if model.endswith(".gguf"):
        return read_model_file(Path(model))
    if Path(model).name == _CONFIG or (Path(model).is_dir() and not catalog.knows(model)):
        return _hugging_face(Path(model), quant)
    return model_file(catalog.find_model(model), catalog.find_mixture(quant or _DEFAULT_QUANT))


def _hugging_face(path: Path, quant: str | None) -> ModelFile:
    from estimator.readers.hf_config import read_config
    from estimator.readers.safetensors import read_weights

    path = path / _CONFIG if path.is_dir() else path
    if not path.is_file():
        raise UnreadableFile(f"{path} is not there: give the folder of a Hugging Face model, or its config.json")
    model = read_config(path)
    weights = None if quant else read_weights(path.parent, model)
    if weights is None:
        return model_file(model, catalog.find_mixture(quant or _DEFAULT_QUANT))
    return ModelFile(model, weights.dtype, weights.groups, weights.size_bytes)
