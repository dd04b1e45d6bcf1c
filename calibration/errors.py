"""The errors of calibration: what went wrong, where, and what to do next, in one line."""

from __future__ import annotations


class CalibrationError(Exception):
    """Base of every error that calibration raises on purpose; `exit_status` is documented in the README."""

    exit_status = 2


class UnreadableResults(CalibrationError):
    """Published measurements that are not there or are not what they should be."""

    exit_status = 7


class NothingToFit(CalibrationError):
    """Records that hold no usable cell, or none that the coefficients speak of."""

    exit_status = 8


class NothingToCheck(CalibrationError):
    """Records of which no cell can be held against a prediction."""

    exit_status = 8
