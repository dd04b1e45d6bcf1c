"""The errors of the harness: what went wrong, where, and what to do next, in one line."""

from __future__ import annotations


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose; `exit_status` is documented in the README."""

    exit_status = 2


class BadModelFile(HarnessError):
    """A model file that cannot be read, or is not what its header says."""

    exit_status = 4


class NotEnoughRoom(HarnessError):
    """Too little disk or memory for what was asked."""

    exit_status = 5


class NotBuilt(HarnessError):
    """A model file that could not be looked for or written, for another reason than its size."""


class EngineFailure(HarnessError):
    """An engine that did not start, died, or answered what it must not."""

    exit_status = 6


class BadResults(HarnessError):
    """A results folder or journal that cannot be written or read."""

    exit_status = 7


class NotComparable(HarnessError):
    """Runs that are of different things, or have nothing in common."""

    exit_status = 10
