"""Block sizes and GGUF numbers of the GGML weight types, from the generated table in data/quant_types.json."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from estimator.errors import UnknownName

_TABLE = Path(__file__).parent / "data/quant_types.json"


@cache
def _file() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text("utf-8"))
    return table


@cache
def _table() -> dict[str, tuple[int, int]]:
    return {name: (row[0], row[1]) for name, row in _file()["types"].items()}


def _row(quant_type: str) -> tuple[int, int]:
    try:
        return _table()[quant_type]
    except KeyError:
        raise UnknownName(f"tensor type {quant_type!r} is not a GGML type that this version knows") from None


def block_elements(quant_type: str) -> int:
    """Elements in one block of `quant_type`. Raises UnknownName."""
    return _row(quant_type)[0]


def block_bytes(quant_type: str) -> int:
    """Bytes of one block of `quant_type`. Raises UnknownName."""
    return _row(quant_type)[1]


def bytes_per_element(quant_type: str) -> float:
    """Mean bytes of one element of `quant_type`. Raises UnknownName."""
    elements, size = _row(quant_type)
    return size / elements


@cache
def quant_types_by_id() -> dict[int, str]:
    """GGUF's number of a tensor type -> its name."""
    return {row[2]: name for name, row in _file()["types"].items()}


def file_type_name(file_type: object) -> str:
    """llama.cpp's name of `general.file_type` (15 -> "Q4_K_M"); "unknown" for one that is not known."""
    return str(_file()["file_types"].get(str(file_type), "unknown"))
