"""From the words of a command line to a plan and a door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from harness.backends.ollama_models import server_url
from harness.errors import HarnessError
from harness.opening import BACKENDS
from harness.plan import Shape, at_rates, grid, seconds
from harness.target import Door

_DEFAULTS = ("64,256", "32", "0", "1")


def backends_of(text: str | None) -> tuple[str, ...] | None:
    """The back ends of "ollama,openai". Raises HarnessError."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [name for name in names if name not in BACKENDS]:
        raise HarnessError(f"unknown back end {unknown[0]!r}: choose from {', '.join(BACKENDS)}")
    return names or None


def shapes_of(
    usual: tuple[Shape, ...], lengths: Sequence[str | None], rate: str | None, arrival: str
) -> tuple[Shape, ...]:
    """The grid of --prompt-tokens, --output-tokens, --depth, --concurrency, as open loads where --rate is given.

    A rate alone keeps the first of the usual shapes. Raises HarnessError.
    """
    if any(lengths):
        given = [text or default for text, default in zip(lengths, _DEFAULTS, strict=True)]
        shapes = grid(*(_integers(text) for text in given))
    else:
        shapes = usual[:1]
    return at_rates(shapes, _rates(rate), arrival) if rate else shapes


def changed(**options: Any) -> dict[str, Any]:
    """The fields of a plan that options change: those that were given, lists split, durations read."""
    found = {name: value for name, value in options.items() if value is not None}
    for name in ("quants", "models"):
        if name in found:
            found[name] = tuple(found[name].split(","))
    if "budget_s" in found:
        found["budget_s"] = seconds(found["budget_s"])
    return found


def door_of(  # noqa: PLR0913, PLR0917
    backends: tuple[str, ...],
    urls: Sequence[str],
    llama_server: str | None,
    port: int,
    law: str | None,
    weights: str,
    pull: bool,
) -> Door:
    """The door of --base-url and its like. A URL without a back end is for those that speak OpenAI's protocol.

    Where none of them was asked for it is for the one that was. Raises HarnessError.
    """
    kind: Literal["own", "synthetic"]
    if weights == "own":
        kind = "own"
    elif weights == "synthetic":
        kind = "synthetic"
    else:
        raise HarnessError(f"--weights is own or synthetic, not {weights!r}")
    found: dict[str, str] = {}
    for text in urls:
        name, equals, url = text.partition("=")
        if not equals or name not in BACKENDS:
            openai_like = [backend for backend in backends if BACKENDS[backend].paid]
            found |= {backend: _url(text) for backend in (openai_like or backends)}
        else:
            found[name] = _url(url)
    return Door(llama_server, found, port, law, kind, pull)


def with_environment(door: Door, backends: Sequence[str], environment: Mapping[str, str]) -> Door:
    """The door with the servers that the environment names, so that a resumed run goes to the same ones.

    Raises HarnessError for a URL that is none or holds a password.
    """
    found = dict(door.base_urls)
    if url := environment.get("OPENAI_BASE_URL"):
        found |= {name: _url(url) for name in backends if BACKENDS[name].paid and name not in found}
    if "ollama" in backends:
        found["ollama"] = _url(server_url(found.get("ollama")))
    return replace(door, base_urls=found)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        found = parts.hostname and parts.port != 0 and httpx.URL(parts.geturl())
    except (ValueError, httpx.InvalidURL):
        found = False
    if not found:
        raise HarnessError(f"{text!r} is no URL: write http://127.0.0.1:8080")
    if parts.hostname == "0.0.0.0":
        parts = parts._replace(netloc=parts.netloc.replace("0.0.0.0", "127.0.0.1"))
    if parts.username or parts.password or parts.query or parts.fragment:
        raise HarnessError("a URL must not hold a key or password, since it is stored: put the key in the environment")
    return parts.geturl().rstrip("/")


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise HarnessError(f"{text!r} is no list of whole numbers: write 64,256") from None


def _rates(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise HarnessError(f"{text!r} is no list of rates: write 0.5,2") from None
