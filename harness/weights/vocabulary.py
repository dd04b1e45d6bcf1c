"""A SentencePiece-style vocabulary of any size, in which each word of a known list is one token.

Ids: 0 unknown, 1 begin, 2 end, 3..258 the bytes, 259 the lone space mark, then the words "a", "b",
... "z", "aa", ... each with its leading space mark. Every prefix of a word comes before it, so the
merges of the tokenizer always reach the word: a prompt of n words is n tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice, product
from string import ascii_lowercase

SPACE = "\u2581"
BEGIN_ID = 1
END_ID = 2
FIRST_WORD_ID = 260
# llama.cpp's token types (llama_token_type).
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def words() -> Iterator[str]:
    """ "a", "b", ... "z", "aa", "ab", ...: an endless list, each prefix before its extensions."""
    for length in count(1):
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters)


def vocabulary(size: int) -> tuple[list[str], list[float], list[int]]:
    """Tokens, merge scores and token types of a vocabulary of `size` entries (at least 300)."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), SPACE]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *([_BYTE] * 256), _NORMAL]
    room = size - len(tokens)
    tokens += [SPACE + word for word in islice(words(), room)]
    types += [_NORMAL] * room
    return tokens, [-float(index) for index in range(size)], types
