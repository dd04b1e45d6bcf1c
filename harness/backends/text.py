"""Prompts for servers that take text: which words, and how many of them make so many tokens."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import islice

from harness.backends import Ask
from harness.target import Target
from harness.weights.vocabulary import words as synthetic_words

_POOL_WORDS = 4000
_LEAST_WORDS = 1


@cache
def common_words() -> tuple[str, ...]:
    """Some hundred short English words, most of them one token in most vocabularies."""
    text = files("harness").joinpath("data/words.txt").read_text("utf-8")
    return tuple(dict.fromkeys(text.split()))


def word_pool(target: Target) -> tuple[str, ...]:
    """The words that prompts for `target` are drawn from: one token each in a weight-free file of ours."""
    if target.model is not None:
        return tuple(islice(synthetic_words(), _POOL_WORDS))
    return common_words()


class WordCount:
    """How many words make a prompt of so many tokens: tokens = fixed + per_word x words.

    `fixed` is what a chat template adds. Both are learned from the server's own counts; before any,
    a word is taken for a token.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._sent: dict[Ask, int] = {}

    def words(self, tokens: int) -> int:
        """Words for a prompt of `tokens` tokens as the server counts them, at least 1."""
        fixed, per_word = self._line()
        return max(_LEAST_WORDS, round((tokens - fixed) / per_word))

    def cut(self, ask: Ask) -> str:
        """The text of so many of the drawn words as make a prompt of their number of tokens."""
        words = ask.prompt[: self.words(len(ask.prompt))]
        # What others teach before this one ends must not change how long it was.
        self._sent[ask] = len(words)
        return " ".join(map(str, words))

    def learn(self, ask: Ask, tokens: int | None) -> None:
        """The server counted `tokens` for the text that was cut for `ask`."""
        words = self._sent.pop(ask, 0)
        if tokens is not None and words:
            self._seen[words] = tokens

    def _line(self) -> tuple[float, float]:
        if not self._seen:
            return 0.0, 1.0
        few, many = min(self._seen), max(self._seen)
        # Two lengths far enough apart tell a word's price from the template's.
        if many >= few + 8 and self._seen[many] > self._seen[few]:
            per_word = (self._seen[many] - self._seen[few]) / (many - few)
            return self._seen[few] - per_word * few, per_word
        # One length: near a token a word, the rest is the template's; far from it, the words'.
        surplus = self._seen[many] - many
        return (float(surplus), 1.0) if 0 <= surplus <= max(64, many // 4) else (0.0, self._seen[many] / many)
