"""A model as a running Ollama server describes it: `/api/show`, which tells metadata and tensors of the GGUF file."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from estimator.errors import EstimatorError, UnknownName, UnreadableFile
from estimator.quants import file_type_name, quant_types_by_id
from estimator.readers.gguf_facts import model_from_facts
from estimator.readers.gguf_header import Array
from estimator.specs import Model, ModelFile, Tensor
from estimator.tensors import MIXTURES, model_file, typed_file

DEFAULT_HOST = "127.0.0.1:11434"
_LIMIT_S = 3.0
_MOST_BYTES = 2 * 2**20
_MOST_AXIS = 2**40
_PIECE_BYTES = 2**16


class NoServer(EstimatorError):
    """A server that does not answer, or not as Ollama does."""

    exit_status = 6


def read_ollama(name: str, host: str = DEFAULT_HOST) -> ModelFile:
    """What the Ollama server at `host` says of its model `name`. Raises EstimatorError with one line of why.

    `host` is written as OLLAMA_HOST is: with or without scheme and port.
    """
    url = server_url(host)
    shown = _shown(url, name)
    where = f"{name} on {url}"
    metadata = {key: _value(value) for key, value in _object(shown.get("model_info")).items()}
    tensors = _tensors(where, shown.get("tensors"))
    model = model_from_facts(where, name, metadata, tensors)
    quant = file_type_name(metadata.get("general.file_type"))
    if not tensors:
        return _laid_out(where, model, quant, metadata.get("general.parameter_count"))
    return typed_file(model, quant, tensors)


def _laid_out(where: str, model: Model, quant: str, parameters: Any) -> ModelFile:
    """What a server that lists no tensors must have: its parameters tell whether the head is one of them."""
    if quant not in MIXTURES:
        raise UnreadableFile(f"{where} lists no tensors, and how {quant} types them is not known here: update Ollama")
    tied, untied = (model_file(replace(model, tied_embeddings=tied), quant) for tied in (True, False))
    if not isinstance(parameters, int):
        return untied
    return min((untied, tied), key=lambda file: abs(file.parameters - parameters))


def server_url(host: str) -> str:
    """The base URL that a value of OLLAMA_HOST means: `0.0.0.0` and nothing are this machine, 11434 the port."""
    from urllib.parse import urlsplit

    whole = host.strip() if "://" in host else f"http://{host.strip()}"
    try:
        parts = urlsplit(whole)
        port = parts.port or (443 if parts.scheme == "https" else 80 if "://" in host else 11434)
    except ValueError:
        raise EstimatorError(f"OLLAMA_HOST {host!r} is no address: write it like {DEFAULT_HOST}") from None
    if parts.scheme not in ("http", "https"):
        raise EstimatorError(f"OLLAMA_HOST {host!r} is no http address: write it like {DEFAULT_HOST}")
    named = parts.hostname or "127.0.0.1"
    named = "127.0.0.1" if named == "0.0.0.0" else f"[{named}]" if ":" in named else named
    return f"{parts.scheme}://{named}:{port}"


def _shown(url: str, name: str) -> Mapping[str, Any]:
    # Here, because most questions ask no server, and these cost a sixth of the whole prediction.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(f"{url}/api/show", json.dumps({"model": name}).encode(), {"Content-Type": "application/json"})
    end = time.monotonic() + _LIMIT_S
    body = bytearray()
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_LIMIT_S) as response:
            while piece := response.read1(_PIECE_BYTES):
                body += piece
                if len(body) > _MOST_BYTES or time.monotonic() > end:
                    raise NoServer(f"{url} did not answer within {_LIMIT_S:g} s and {_MOST_BYTES:,} bytes")
        return _object(json.loads(body))
    except HTTPError as error:
        error.close()
        if error.code == 404:
            raise UnknownName(f"Ollama at {url} has no model {name!r}: `ollama list` shows what it has") from None
        raise NoServer(f"{url} answers /api/show with HTTP {error.code}: is it an Ollama server?") from None
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", None) or error
        raise NoServer(f"no Ollama server at {url} ({why}): start it, or set OLLAMA_HOST") from None
    except (ValueError, RecursionError):
        raise NoServer(f"{url} answers /api/show with something that is no JSON: is it an Ollama server?") from None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _value(value: Any) -> Any:
    return Array(len(value), tuple(value)) if isinstance(value, list) else value


def _tensors(where: str, listed: Any) -> tuple[Tensor, ...]:
    return tuple(_tensor(where, _object(entry)) for entry in (listed if isinstance(listed, list) else []))


def _tensor(where: str, entry: Mapping[str, Any]) -> Tensor:
    name, kind, shape = str(entry.get("name", "")), str(entry.get("type", "")).upper(), entry.get("shape")
    axes = shape if isinstance(shape, list) else []
    whole = all(isinstance(axis, int) and 0 < axis <= _MOST_AXIS for axis in axes)
    if not name or kind not in quant_types_by_id().values() or not 1 <= len(axes) <= 4 or not whole:
        raise UnreadableFile(f"{where} has a tensor that makes no sense: {str(entry)[:80]!r}")
    return Tensor(name, tuple(axes), kind)
