"""Predicts how fast, how big and how dear a language model runs.

`ask` takes the words of the command line; `predict` takes facts, which `model_file_named` and `hardware_named` look up.
"""

from estimator.answer import Answer, Quantity
from estimator.asked import ask
from estimator.device import hardware_named
from estimator.naming import model_file_named
from estimator.predict import predict
from estimator.specs import Hardware, ModelFile, Workload

__all__ = [
    "Answer",
    "Hardware",
    "ModelFile",
    "Quantity",
    "Workload",
    "ask",
    "hardware_named",
    "model_file_named",
    "predict",
]
