"""Names as people write them: what makes two of them the same, and the nearest known ones of one that is not known."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

# What people put around a name or leave out, and what tells no two machines apart.
_AROUND = re.compile(r"^(nvidia|geforce|amd|radeon|intel|apple|tesla|instinct|core(?=i\d|ultra)|processor)+|gpu$")


def squeezed(name: str) -> str:
    """`name` without case, spaces, hyphens and other marks: "RTX-4090" and "rtx 4090" are "rtx4090"."""
    return re.sub(r"[^a-z0-9+]", "", name.lower())


def machine_key(name: str) -> str:
    """`squeezed`, without the maker's words: "NVIDIA GeForce RTX 4090" is "rtx4090"."""
    return _AROUND.sub("", squeezed(name)) or squeezed(name)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "; did you mean A or B?" with names that hold `name`, the shortest first, else the nearest; or nothing."""
    entries = [entry.lower() for entry in known]
    wanted = squeezed(name)
    near = sorted((entry for entry in entries if len(wanted) > 2 and wanted in squeezed(entry)), key=len)[:3]
    near = near or get_close_matches(name.lower(), entries, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
