"""MEASURE: real prompts against real engines, sampled and stored raw."""

__version__ = "0.1.0"
