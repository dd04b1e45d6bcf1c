"""The errors of the estimator: what went wrong, where, and what to do next, in one line."""

from __future__ import annotations


class EstimatorError(Exception):
    """Base of every error that the estimator raises on purpose; `exit_status` is documented in the README."""

    exit_status = 2


class UnknownName(EstimatorError):
    """A model, weight type or hardware name that is in no catalogue."""

    exit_status = 3


class UnreadableFile(EstimatorError):
    """A file that is not what it should be: truncated, of another format, of a newer version."""

    exit_status = 4
