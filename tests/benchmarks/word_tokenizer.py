"""A tokenizer for tools that want one: a word is a token, the words are those that the simulated server generates.

`python -m tests.benchmarks.word_tokenizer FOLDER` writes a folder as `transformers` reads it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness.simulated.tokens import SPECIAL_TOKENS, VOCABULARY_TOKENS, text_of

UNKNOWN = "<unk>"


def files() -> dict[str, dict[str, object]]:
    """The JSON of each file: a word-level vocabulary, split at white space, words that are not in it unknown."""
    words = [text_of([token]).strip() for token in range(SPECIAL_TOKENS, VOCABULARY_TOKENS)]
    vocabulary = {word: token for token, word in enumerate(dict.fromkeys([UNKNOWN, "<s>", "</s>", *words]))}
    added = [
        {"id": vocabulary[word], "content": word, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for word in (UNKNOWN, "<s>", "</s>")
    ]  # fmt: skip
    return {
        "tokenizer.json": {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": UNKNOWN, "bos_token": "<s>",
            "eos_token": "</s>", "model_max_length": 1_000_000,
        },
        "config.json": {"model_type": "gpt2"},
    }  # fmt: skip


def write(folder: Path) -> None:
    """Writes the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (folder / name).write_text(json.dumps(content), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
