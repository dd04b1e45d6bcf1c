"""The options of the command line, their defaults and their help; nothing is computed here."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import NoReturn

from estimator.errors import EstimatorError


class _Parser(ArgumentParser):
    """Raises EstimatorError where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        raise EstimatorError(f"{message}; `{self.prog} --help` shows the options")


def parser() -> ArgumentParser:
    """The whole command line: `predict`, `models`, `hardware` and `clouds`."""
    whole = _Parser("python -m estimator", description="Predicts how fast, how big and how dear a language model runs.")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    models = commands.add_parser("models", help="list the catalogue of known models")
    hardware = commands.add_parser("hardware", help="list the catalogue of hardware")
    clouds = commands.add_parser("clouds", help="list rented machines with GPUs and their prices")
    for command in (hardware, clouds):
        command.add_argument("text", nargs="*", metavar="TEXT", help="words that a row must hold (all rows)")
        command.add_argument("--json", action="store_true", help="print the rows as JSON")
    predict = commands.add_parser("predict", help="memory, speed, cost and fit of one model on one machine")
    for command in (models, hardware, clouds, predict):
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    _add_question(predict)
    _add_circumstances(predict)
    return whole


def _add_question(command: ArgumentParser) -> None:
    command.add_argument(
        "--model",
        default="mistral:7b",
        help="a name of `models`, a .gguf, a Hugging Face folder, ollama:NAME (%(default)s)",
    )
    command.add_argument("--quant", help="weight type (q4_k_m); files and servers state their own")
    command.add_argument("--prompt-tokens", type=int, default=512, metavar="N", help="(%(default)s)")
    command.add_argument("--output-tokens", type=int, default=128, metavar="N", help="(%(default)s)")
    command.add_argument("--depth", type=int, default=0, metavar="N", help="tokens cached before the prompt (0)")
    command.add_argument("--concurrency", type=int, default=1, metavar="N", help="requests at once (1)")
    command.add_argument("--context", type=int, metavar="N", help="context of each request (just enough)")
    command.add_argument("--kv-type", default="f16", help="type of the KV cache: f16, q8_0, q4_0 (%(default)s)")
    command.add_argument("--flash-attention", action=BooleanOptionalAction, default=True, help="as the engine is told")


def _add_circumstances(command: ArgumentParser) -> None:
    command.add_argument("--hardware", metavar="NAME", help="a name of `hardware`, or 2x NAME (this machine)")
    command.add_argument("--instance", metavar="NAME", help="a name of `clouds`: its GPUs and its price")
    command.add_argument("--memory", metavar="SIZE", help="memory of each device of --hardware, such as 64GiB")
    command.add_argument("--bandwidth", metavar="RATE", help="memory bandwidth, such as 25GB/s")
    command.add_argument("--compute", metavar="RATE", help="compute rate, such as 200GFLOP/s")
    command.add_argument("--usd-per-hour", type=float, metavar="USD", help="rent of the machine")
    command.add_argument(
        "--utilisation", type=float, default=1.0, metavar="SHARE", help="of the rented time that is worked (1)"
    )
    command.add_argument("--watts", type=float, metavar="W", help="power under load, with --usd-per-kwh")
    command.add_argument("--usd-per-kwh", type=float, metavar="USD", help="price of electricity, with --watts")
    command.add_argument("--formulas", choices=("engineering", "textbook"), default="engineering")
    command.add_argument(
        "--coefficients", type=Path, metavar="FILE", help="else results/coefficients.json, else theory only"
    )
    command.add_argument("--json", action="store_true", help="print the answer as JSON")
