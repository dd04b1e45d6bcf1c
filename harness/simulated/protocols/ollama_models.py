"""Ollama's protocol as far as it concerns models: list, describe, pull, create, delete.

Every model describes itself as a llama of seven billion parameters: the law decides how fast it is.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from harness.simulated.ask import Fields, Refused, bad
from harness.simulated.engine import Engine
from harness.simulated.library import REGISTRY_BYTES, full_name
from harness.simulated.protocols.base import Answer, Plain, Request
from harness.simulated.protocols.durations import date

VERSION = "0.24.0"
FOR_EVER_S = 292 * 365.25 * 86400

_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "7.2B",
    "quantization_level": "Q4_K_M",
}
_MODEL_INFO = {
    "general.architecture": "llama",
    "general.basename": "Mistral",
    "general.file_type": 15,
    "general.parameter_count": 7_248_023_552,
    "general.quantization_version": 2,
    "general.type": "model",
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.attention.layer_norm_rms_epsilon": 1e-05,
    "llama.block_count": 32,
    "llama.context_length": 32768,
    "llama.embedding_length": 4096,
    "llama.feed_forward_length": 14336,
    "llama.rope.dimension_count": 128,
    "llama.rope.freq_base": 1_000_000,
    "llama.vocab_size": 32768,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.pre": "default",
}
# Two bytes for key and value of each head that has them, in each layer.
_CACHE_BYTES_PER_TOKEN = 2 * 2 * 8 * 128 * 32
_PULL_STEPS = 4


async def plain(engine: Engine, request: Request) -> Plain:
    """The answer to a request that concerns models, or Refused."""
    answer = _ANSWERS.get((request.method, request.path))
    if answer is None:
        raise Refused(404, "", "404 page not found")
    return await answer(engine, request)


async def _version(_engine: Engine, _request: Request) -> Plain:
    return Plain({"version": VERSION})


async def _tags(engine: Engine, _request: Request) -> Plain:
    models = [
        {
            "name": model.name,
            "model": model.name,
            "modified_at": date(model.modified_wall_s),
            "size": model.size_bytes,
            "digest": model.digest,
            "details": _DETAILS,
        }
        for model in engine.library.installed.values()
    ]
    return Plain({"models": models})


async def _ps(engine: Engine, _request: Request) -> Plain:
    models = []
    for name, loaded in engine.library.loaded().items():
        size_bytes = engine.library.installed[name].size_bytes + _CACHE_BYTES_PER_TOKEN * loaded.context_tokens
        rest_s = min(loaded.expires_s - engine.clock.now_s(), FOR_EVER_S)
        entry = {
            "name": name,
            "model": name,
            "size": size_bytes,
            "digest": engine.library.installed[name].digest,
            "details": _DETAILS,
            "expires_at": date(time.time() + rest_s),
            "size_vram": 0,
            "context_length": loaded.context_tokens,
        }
        models.append(entry)
    return Plain({"models": models})


async def _show(engine: Engine, request: Request) -> Plain:
    name = _name(request)
    model = engine.library.installed.get(full_name(name))
    if model is None:
        raise _not_found(name)
    described = {
        "license": "",
        "modelfile": f"FROM {model.name}",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": _DETAILS,
        "model_info": _MODEL_INFO,
        "capabilities": ["completion", "tools"],
        "modified_at": date(model.modified_wall_s),
    }
    return Plain(described)


async def _delete(engine: Engine, request: Request) -> Plain:
    name = _name(request)
    if not engine.library.remove(name):
        raise _not_found(name)
    return Plain()


async def _pull(engine: Engine, request: Request) -> Plain:
    name = _name(request)
    lines: list[Answer] = [{"status": "pulling manifest"}]
    size_bytes = REGISTRY_BYTES.get(full_name(name))
    if size_bytes is None:
        return _progress(request, [*lines, {"error": "pull model manifest: file does not exist"}])
    engine.library.install(name, size_bytes)
    digest = engine.library.installed[full_name(name)].digest
    layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": size_bytes}
    lines.append(layer)
    lines += [layer | {"completed": size_bytes * step // _PULL_STEPS} for step in range(1, _PULL_STEPS + 1)]
    lines += [{"status": status} for status in ("verifying sha256 digest", "writing manifest", "success")]
    return _progress(request, lines)


async def _create(engine: Engine, request: Request) -> Plain:
    fields, name = Fields.of_body(request.body), _name(request)
    files, base = fields.part("files").values, fields.text("from")
    if base and full_name(base) not in engine.library.installed:
        raise _not_found(base)
    if not base and not files:
        raise bad("neither 'from' or 'files' was specified")
    for digest in files.values():
        if digest not in engine.library.blobs:
            raise bad(f'blob "{digest}" not found')
    layers = [{"status": f"using existing layer {digest}"} for digest in files.values()]
    size_bytes = sum(engine.library.blobs[digest] for digest in files.values())
    engine.library.install(name, size_bytes or engine.library.installed[full_name(base)].size_bytes)
    ending = [{"status": "writing manifest"}, {"status": "success"}]
    return _progress(request, [{"status": "parsing GGUF"}, *layers, *ending])


def _progress(request: Request, lines: list[Answer]) -> Plain:
    """All lines as a stream, or the last one alone."""
    if Fields.of_body(request.body).flag("stream", True):
        return Plain(lines=lines)
    return Plain(lines[-1], status=500 if "error" in lines[-1] else 200)


def _name(request: Request) -> str:
    fields = Fields.of_body(request.body)
    name = fields.text("model") or fields.text("name")
    if not name:
        raise bad("model is required")
    return name


def _not_found(name: str) -> Refused:
    return Refused(404, "", f"model '{name}' not found")


_ANSWERS: dict[tuple[str, str], Callable[[Engine, Request], Awaitable[Plain]]] = {
    ("GET", "/api/version"): _version,
    ("GET", "/api/tags"): _tags,
    ("GET", "/api/ps"): _ps,
    ("POST", "/api/show"): _show,
    ("DELETE", "/api/delete"): _delete,
    ("POST", "/api/pull"): _pull,
    ("POST", "/api/create"): _create,
}
