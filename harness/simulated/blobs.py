"""Uploads of model files, as Ollama takes them: counted and hashed as they come in, and then forgotten."""

from __future__ import annotations

import asyncio
from hashlib import sha256

from harness.simulated import http
from harness.simulated.ask import Refused
from harness.simulated.library import Library

PREFIX = "/api/blobs/"


async def answered(library: Library, reader: asyncio.StreamReader, head: http.Head) -> int:
    """The status: of a HEAD 200 for a blob that is there, of a POST 200 likewise and 201 for one that is new.

    Raises Refused for one that is not there, or not what its digest says.
    """
    digest = head.path.removeprefix(PREFIX)
    known = digest in library.blobs
    if head.method == "HEAD":
        if not known:
            raise Refused(404, "", f'blob "{digest}" not found')
        return 200
    if head.method != "POST":
        raise Refused(404, "", "404 page not found")
    hashed, size_bytes = sha256(), 0
    async for piece in http.pieces(reader, head):
        hashed.update(piece)
        size_bytes += len(piece)
    received = f"sha256:{hashed.hexdigest()}"
    if received != digest:
        raise Refused(400, "", f'digest mismatch, expected "{digest}", got "{received}"')
    library.blobs[digest] = size_bytes
    return 200 if known else 201
