"""What must never be stored: keys from the environment, and the words of a prompt in a server's error text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_HIDDEN = "[secret]"
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD")
_LEAST_LENGTH = 6
# So many words of a prompt in a row are the prompt, not chance.
_RUN_OF_WORDS = 3
# What follows the scheme of an Authorization header, whoever repeats it.
_CREDENTIALS = re.compile(r"\bbearer\b[\s:]*[^\s\"',}]*|\bbasic\s+[a-z0-9+/=]{8,}", re.IGNORECASE)


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of the environment that look like keys, the longest first."""
    found = {
        value
        for name, value in environment.items()
        if len(value) >= _LEAST_LENGTH and name.upper().endswith(_SECRET_NAMES)
    }
    return tuple(sorted(found, key=len, reverse=True))


def scrubbed(text: str, secrets: Sequence[str], prompt: Sequence[object]) -> str:
    """`text` without any of `secrets`, and without the prompt where it repeats that; writable as UTF-8."""
    text = text.encode("utf-8", "replace").decode()
    for secret in secrets:
        text = _without_beginning(text.replace(secret, _HIDDEN), secret)
    text = _CREDENTIALS.sub(_HIDDEN, text)
    words = [str(word) for word in prompt]
    runs = (" ".join(words[at : at + _RUN_OF_WORDS]) for at in range(max(0, len(words) - _RUN_OF_WORDS + 1)))
    if any(run in text for run in runs):
        return text.partition(":")[0][:60] + ": (the server repeats the prompt, which is not stored)"
    return text


def _without_beginning(text: str, secret: str) -> str:
    """`text` without a secret that was cut off at its end, as texts are that are too long for a line."""
    for length in range(len(secret) - 1, _LEAST_LENGTH - 1, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + _HIDDEN
    return text
