"""Predicts how fast, how big and how dear a language model runs: `predict` and the nouns that it takes."""

from estimator.answer import Answer, Quantity
from estimator.predict import predict
from estimator.specs import Hardware, ModelFile, Workload

__all__ = ["Answer", "Hardware", "ModelFile", "Quantity", "Workload", "predict"]
