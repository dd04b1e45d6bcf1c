"""Writes estimator/data/quant_types.json from the gguf package: `python -m tests.estimator.quant_table`."""

from __future__ import annotations

import json
from pathlib import Path

import gguf

TABLE = Path(__file__).parents[2] / "estimator/data/quant_types.json"


def table_text() -> str:
    """The whole file: block elements, block bytes and GGUF id of each type; the name of each file type."""
    sizes = gguf.constants.GGML_QUANT_SIZES
    table = {
        "comment": "Generated from gguf.constants by `python -m tests.estimator.quant_table`; do not edit.",
        "types": {kind.name: [*sizes[kind], int(kind)] for kind in gguf.GGMLQuantizationType},
        "file_types": {
            str(int(kind)): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
            for kind in gguf.LlamaFileType
            if kind.name != "GUESSED"
        },
    }
    text = json.dumps(table, indent=1)
    return text.replace(",\n   ", ", ").replace("[\n   ", "[").replace("\n  ]", "]") + "\n"


if __name__ == "__main__":
    TABLE.write_text(table_text(), "utf-8")
