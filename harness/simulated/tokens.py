"""The engine's vocabulary: one token per word, ids that never change, words for generated tokens."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

VOCABULARY_TOKENS = 32_000
SPECIAL_TOKENS = 3
_WORDS = VOCABULARY_TOKENS - SPECIAL_TOKENS
_BEGIN, _END = 1, 2

# What a chat template adds: to each message its begin, its role, the end of that and its own end;
# at the end of the prompt the begin of the answer. So "a b" of one user is 2 + 4 + 3 tokens.
MESSAGE_TOKENS = 4
ANSWER_TOKENS = 3


def token_ids(text: str) -> list[int]:
    """One id per word between white space; the same word has the same id everywhere."""
    return [_word_id(word) for word in text.split()]


def text_tokens(text: str) -> list[int]:
    """The ids of a prompt without a template; one without words still has its begin."""
    return token_ids(text) or [_BEGIN]


def chat_tokens(messages: Iterable[tuple[str, str]]) -> list[int]:
    """The ids of a chat of (role, text), with what the template adds."""
    tokens = []
    for role, text in messages:
        tokens += [_BEGIN, _word_id(role), _END, *token_ids(text), _END]
    return [*tokens, _BEGIN, _word_id("assistant"), _END]


def generated_token(position: int) -> int:
    """The token that the engine generates at that place of a sequence: it depends on nothing else."""
    return SPECIAL_TOKENS + position % _WORDS


def text_of(tokens: Sequence[int]) -> str:
    """A word with a blank before it for each token, as detokenizers give it."""
    return "".join(f" {_word(token)}" for token in tokens)


@lru_cache(maxsize=2**16)
def _word_id(word: str) -> int:
    return SPECIAL_TOKENS + zlib.crc32(word.encode()) % _WORDS


@lru_cache(maxsize=VOCABULARY_TOKENS)
def _word(token: int) -> str:
    letters = ""
    for _ in range(4):
        token, letter = divmod(token, 26)
        letters = chr(ord("a") + letter) + letters
    return letters
