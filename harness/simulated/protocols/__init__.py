"""The protocols that the engine speaks, all on one port: which one a request is in says its path.

What belongs here: one module for each protocol. It maps a request to an Ask and a Completion to
bytes; it never waits for a token and writes to no socket.
"""

from __future__ import annotations

from harness.simulated.protocols.base import Protocol
from harness.simulated.protocols.llamacpp import LlamaCpp
from harness.simulated.protocols.ollama import Ollama
from harness.simulated.protocols.openai import OpenAI

_LLAMACPP, _OPENAI, _OLLAMA = LlamaCpp(), OpenAI(), Ollama()


def protocol_of(path: str) -> Protocol:
    """OpenAI's under /v1, Ollama's under /api, llama.cpp's elsewhere."""
    if path.startswith("/v1/"):
        return _OPENAI
    return _OLLAMA if path.startswith("/api/") else _LLAMACPP
