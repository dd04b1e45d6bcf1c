"""`--model ollama:NAME` against a server on this machine that says what a test tells it to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from estimator.catalog import find_model
from estimator.errors import EstimatorError, UnknownName, UnreadableFile
from estimator.metadata import gguf_metadata
from estimator.naming import model_file_named
from estimator.readers.ollama import NoServer, read_ollama, server_url
from estimator.specs import Model
from estimator.tensors import model_file, model_tensors

MIXTRAL = find_model("mixtral")


def shown(model: Model, mixture: str, file_type: int) -> dict[str, Any]:
    """What Ollama answers about a file of `model`: metadata without the tokens, and the tensors."""
    return {
        "model_info": {
            "general.architecture": model.architecture,
            "general.file_type": file_type,
            "tokenizer.ggml.tokens": None,
            **gguf_metadata(model),
        },
        "tensors": [
            {"name": tensor.name, "type": tensor.quant_type, "shape": list(tensor.shape)}
            for tensor in model_tensors(model, mixture)
        ],
    }


@contextmanager
def ollama(body: object, status: int = 200) -> Iterator[str]:
    """An address where POST /api/show answers `body`; what was asked is its `model`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert (self.path, asked) == ("/api/show", {"model": "mixtral:8x7b"})
            answer = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_served_model_has_the_shape_and_the_exact_weights_of_its_file() -> None:
    with ollama(shown(MIXTRAL, "Q4_K_M", 15)) as host:
        file = model_file_named("ollama:mixtral:8x7b", None, host)
    assert (file.quant, file.groups) == ("Q4_K_M", model_file(MIXTRAL, "Q4_K_M").groups)
    assert file.model.name == "mixtral:8x7b"
    assert replace(file.model, names=MIXTRAL.names, title=MIXTRAL.title, source=MIXTRAL.source) == MIXTRAL


@pytest.mark.parametrize("tied", [True, False])
def test_a_server_that_lists_no_tensors_is_believed_about_weight_type_and_parameters(tied: bool) -> None:
    model = replace(MIXTRAL, tied_embeddings=tied)
    meant = model_file(model, "Q4_0")
    known = {"llama.vocab_size": 32000, "general.parameter_count": sum(group.elements for group in meant.groups)}
    with ollama({"model_info": shown(model, "Q4_0", 2)["model_info"] | known}) as host:
        assert read_ollama("mixtral:8x7b", host).groups == meant.groups


def test_a_server_that_lists_no_tensors_of_an_unknown_mixture_is_too_old() -> None:
    known = {"llama.vocab_size": 32000}
    with (
        ollama({"model_info": shown(MIXTRAL, "Q4_0", 10)["model_info"] | known}) as host,
        pytest.raises(UnreadableFile, match="lists no tensors, and how Q2_K types them is not known"),
    ):
        read_ollama("mixtral:8x7b", host)


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        ({"error": "not found"}, 404, UnknownName, "has no model 'mixtral:8x7b': `ollama list` shows"),
        ({"error": "broken"}, 500, NoServer, "HTTP 500: is it an Ollama server"),
        (b"<html>", 200, NoServer, "no JSON: is it an Ollama server"),
        ([], 200, UnreadableFile, "does not say its architecture"),
        ({"model_info": {"general.architecture": "llama"}}, 200, UnreadableFile, "no usable llama.block_count"),
        (
            {"model_info": {"general.architecture": "llama"}, "tensors": [{"name": "x"}]},
            200,
            UnreadableFile,
            "no sense",
        ),
        (b'"' + b"x" * (3 * 2**20), 200, NoServer, "did not answer within 3 s"),
    ],
)
def test_an_answer_that_is_none_is_told_in_one_line(
    body: object, status: int, kind: type[EstimatorError], message: str
) -> None:
    with ollama(body, status) as host, pytest.raises(kind, match=message) as caught:
        read_ollama("mixtral:8x7b", host)
    assert "\n" not in str(caught.value)


def test_no_server_is_told_with_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NoServer, match=rf"no Ollama server at http://{host} .*start it, or set OLLAMA_HOST"):
            read_ollama("mixtral:8x7b", host)


def test_a_weight_type_beside_a_served_model_is_refused() -> None:
    with pytest.raises(EstimatorError, match="states its own weight type: leave out --quant q4_0"):
        model_file_named("ollama:mixtral", "q4_0", "")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("box.local", "http://box.local:11434"),
        ("http://box.local", "http://box.local:80"),
        ("https://box.local/", "https://box.local:443"),
        ("[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_an_address_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert server_url(host) == url


@pytest.mark.parametrize("host", ["ftp://box", "box:port", "box:99999"])
def test_an_address_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(EstimatorError, match="OLLAMA_HOST"):
        server_url(host)
