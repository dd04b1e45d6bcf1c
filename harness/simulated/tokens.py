"""The engine's vocabulary: one token per word, ids that never change, words for generated tokens."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

VOCABULARY_TOKENS = 32_000
SPECIAL_TOKENS = 3
_WORDS = VOCABULARY_TOKENS - SPECIAL_TOKENS


def token_ids(text: str) -> list[int]:
    """One id per word between white space; the same word has the same id everywhere."""
    return [SPECIAL_TOKENS + zlib.crc32(word.encode()) % _WORDS for word in text.split()]


def generated_token(position: int) -> int:
    """The token that the engine generates at that place of a sequence: it depends on nothing else."""
    return SPECIAL_TOKENS + position % _WORDS


def text_of(tokens: Sequence[int]) -> str:
    """A word with a blank before it for each token, as detokenizers give it."""
    return "".join(f" {_word(token)}" for token in tokens)


def _word(token: int) -> str:
    letters = ""
    for _ in range(4):
        token, letter = divmod(token, 26)
        letters = chr(ord("a") + letter) + letters
    return letters
