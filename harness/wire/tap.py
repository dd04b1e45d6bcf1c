"""What one request did on the wire: filled by the transports while the request is the current one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from harness.errors import HarnessError

Clock = Callable[[], int]

# Headers that are kept; no other is ever stored.
LIMIT_HEADERS = ("retry-after", "retry-after-ms", "x-ratelimit-")


class RequestFailed(HarnessError):
    """One request that failed; it is recorded with this text and the run goes on."""

    exit_status = 6


class EndedByUs(RequestFailed):
    """A request that we ended: what its cut stream looks like is our doing, not the server's."""


@dataclass(slots=True)
class Tap:
    """One request below its client library.

    `sent_ns` is the instant before its first byte left, `status` the HTTP status (0: no answer),
    `limits` the rate-limit headers by lower-case name, `pieces` the body as it came off the socket,
    each with the instant of its last byte.
    """

    sent_ns: int = 0
    status: int = 0
    limits: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(data for _, data in self.pieces)

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the server asks to wait (RFC 9110 10.2.3, or retry-after-ms); None where it does not say."""
        for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
            try:
                wait_s = float(self.limits[name]) * unit_s
            except (KeyError, ValueError):
                continue
            if wait_s >= 0:
                return wait_s
        return None


_current: ContextVar[Tap | None] = ContextVar("tap", default=None)


@contextmanager
def tapped() -> Iterator[Tap]:
    """A tap on the requests of the block. Where a library sends several, the last one counts."""
    tap = Tap()
    token = _current.set(tap)
    try:
        yield tap
    finally:
        _current.reset(token)


def current_tap() -> Tap:
    """The tap of the request under way, or one that nobody reads."""
    return _current.get() or Tap()
