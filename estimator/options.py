"""The options of the command line, their defaults and their help; nothing is computed here."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from estimator.cost_options import add_cheapest_options, add_cost_options
from estimator.errors import EstimatorError

# What a sweep can be sorted by: of the first four less is better, of the others more.
SORTS = (
    "ttft_s", "time_per_token_s", "end_to_end_s", "needed_bytes",
    "decode_tokens_per_s", "throughput_tokens_per_s", "margin_bytes",
)  # fmt: skip


class _Parser(ArgumentParser):
    """Raises EstimatorError where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        raise EstimatorError(f"{message}; `{self.prog} --help` shows the options")


def parser() -> ArgumentParser:
    """The whole command line: every command with its options."""
    whole = _Parser("python -m estimator", description="Predicts how fast, how big and how dear a language model runs.")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    models = commands.add_parser("models", help="list the catalogue, or what a machine runs at a speed")
    _add_ranking(models)
    hardware = commands.add_parser("hardware", help="list the catalogue of hardware")
    clouds = commands.add_parser("clouds", help="list rented machines with GPUs and their prices")
    for command in (hardware, clouds):
        command.add_argument("text", nargs="*", metavar="TEXT", help="words that a row must hold (all rows)")
        command.add_argument("--json", action="store_true", help="print the rows as JSON")
    hardware.add_argument("--here", action="store_true", help="this machine instead: its memory and GPUs, free now")
    fit = commands.add_parser("fit", help="does it fit, with which settings would it, how far could it go")
    predict = commands.add_parser("predict", help="memory, speed, cost and fit of one model on one machine")
    sweep = commands.add_parser("sweep", help="every combination of models, types, work and hardware, by theory")
    scenarios = commands.add_parser("scenarios", help="check a file of questions with limits")
    check = scenarios.add_subparsers(dest="action", metavar="ACTION", required=True).add_parser(
        "check", help="exit status 1 where a limit is not met"
    )
    check.add_argument("file", type=Path, metavar="FILE", help="a TOML file of [[scenario]]s")
    check.add_argument("--strict", action="store_true", help="what is met by theory only is not met")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    cost = commands.add_parser("cost", help="APIs, rented and own machines: their bills, and where they break even")
    cheapest = commands.add_parser("cheapest", help="the cheapest machine or API that keeps limits at a load")
    for command in (models, hardware, clouds, predict, sweep, check, fit, cost, cheapest):
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    models.add_argument("--api", action="store_true", help="models behind an API whose latency is known")
    _add_question(predict)
    _add_circumstances(predict)
    _add_api(predict)
    _add_axes(sweep)
    _add_model(fit)
    fit.add_argument("--context", type=int, metavar="N", help="context of each request (8192, or the model's if less)")
    _add_machine(fit)
    # Of memory alone: rates would change nothing.
    fit.set_defaults(bandwidth=None, compute=None, host_bandwidth=None, link=None, disk=None)
    add_cost_options(cost)
    add_cheapest_options(cheapest)
    return whole


def _add_ranking(command: ArgumentParser) -> None:
    command.add_argument("--min-speed", type=float, metavar="N", help="only what decodes N tok/s, on this machine or:")
    command.add_argument("--quant", help="only this weight type (the one of the most bits)")
    command.add_argument("--rank", choices=("size", "speed"), default="size", help="order (%(default)s, largest first)")
    command.add_argument("--context", type=int, metavar="N", default=4096, help="context that must fit (%(default)s)")
    _add_machine(command)
    _add_rates(command)
    # Only models that are whole on the device are listed.
    command.set_defaults(host_bandwidth=None, link=None, disk=None)


def _add_model(command: ArgumentParser) -> None:
    command.add_argument(
        "--model",
        default="mistral:7b",
        help="a name of `models`, a .gguf, a Hugging Face folder, ollama:NAME (%(default)s)",
    )
    command.add_argument("--quant", help="weight type (q4_k_m); files and servers state their own")
    command.add_argument("--concurrency", type=int, default=1, metavar="N", help="requests at once (1)")
    command.add_argument("--kv-type", default="f16", help="type of the KV cache: f16, q8_0, q4_0 (%(default)s)")
    command.add_argument(
        "--flash-attention", action=BooleanOptionalAction, default=True, help="as the engine is told (on)"
    )
    command.add_argument("--gpu-layers", type=int, metavar="N", help="layers on the GPU, the head as one more (all)")
    command.add_argument("--split", choices=("layer", "tensor"), default="layer", help="among GPUs (%(default)s)")


def _add_question(command: ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("--prompt-tokens", type=int, default=512, metavar="N", help="(%(default)s)")
    command.add_argument("--output-tokens", type=int, default=128, metavar="N", help="(%(default)s)")
    command.add_argument("--depth", type=int, default=0, metavar="N", help="tokens cached before the prompt (0)")
    command.add_argument("--context", type=int, metavar="N", help="context of each request (just enough)")


def _add_circumstances(command: ArgumentParser) -> None:
    _add_machine(command)
    command.add_argument(
        "--measured", type=Path, metavar="FILE", help="what `llama-bench -o json` said on --hardware: moves the answer"
    )
    _add_rates(command)
    _add_transfers(command)
    command.add_argument("--usd-per-hour", type=float, metavar="USD", help="rent of the machine")
    command.add_argument(
        "--utilisation", type=float, default=1.0, metavar="SHARE", help="of the rented time that is worked (1)"
    )
    command.add_argument("--watts", type=float, metavar="W", help="power under load, with --usd-per-kwh")
    command.add_argument("--usd-per-kwh", type=float, metavar="USD", help="price of electricity, with --watts")
    command.add_argument("--formulas", choices=("engineering", "textbook"), default="engineering", help="(%(default)s)")


def _add_machine(command: ArgumentParser) -> None:
    command.add_argument("--hardware", metavar="NAME", help="a name of `hardware`, or 2x NAME (this machine)")
    command.add_argument("--instance", metavar="NAME", help="a name of `clouds`: its GPUs and its price")
    command.add_argument("--gpus", metavar="LIST", help="GPUs of this machine, with what is free now: all, or 0,1")
    command.add_argument("--memory", metavar="SIZE", help="memory of each device of --hardware, such as 64GiB")
    command.add_argument("--host-memory", metavar="SIZE", help="memory around the GPU; `here`: free here now")
    command.add_argument(
        "--coefficients", type=Path, metavar="FILE", help="else results/coefficients.json (api.json with --api)"
    )
    command.add_argument("--anyway", action="store_true", help="use coefficients of another machine all the same")
    command.add_argument("--json", action="store_true", help="print the answer as JSON")


def _add_rates(command: ArgumentParser) -> None:
    command.add_argument("--bandwidth", metavar="RATE", help="memory bandwidth, such as 25GB/s")
    command.add_argument("--compute", metavar="RATE", help="compute rate, such as 200GFLOP/s")


def _add_transfers(command: ArgumentParser) -> None:
    command.add_argument("--host-bandwidth", metavar="RATE", help="of its memory, for layers that are not on the GPU")
    command.add_argument("--link", metavar="RATE", help="between host and each GPU, such as 25GB/s")
    command.add_argument("--disk", metavar="RATE", help="rate of the disk that the model is read from, such as 2GB/s")


# All that a model behind an API is asked: every other option of `predict` is of engines.
_OF_APIS = (
    "api", "provider", "price_in", "price_out", "prompt_tokens", "output_tokens", "coefficients", "json", "debug",
)  # fmt: skip


def _add_api(command: ArgumentParser) -> None:
    group = command.add_argument_group("a model behind an API")
    group.add_argument("--api", metavar="MODEL", help="its name; `models --api` lists what is known")
    group.add_argument("--provider", metavar="NAME", help="who serves it; local: this machine")
    group.add_argument("--price-in", type=float, metavar="USD", help="per million prompt tokens")
    group.add_argument("--price-out", type=float, metavar="USD", help="per million output tokens")


def arguments_of(options: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """{"kv_type": "q8_0", "flash_attention": False} -> --kv-type=q8_0 --no-flash-attention. Raises EstimatorError."""
    found = []
    for key, value in options.items():
        option = "--" + key.replace("_", "-")
        if not isinstance(value, str | int | float):
            raise EstimatorError(f"{where}: {key} must be a text or a number, not {value!r}")
        if isinstance(value, bool):
            found.append(option if value else f"--no-{option[2:]}")
        else:
            found.append(f"{option}={value}")
    return tuple(found)


def require_one_question(options: Namespace) -> None:
    """Raises EstimatorError where options of engines and of APIs are mixed."""
    if options.api is not None:
        _refuse_others(options, _OF_APIS, "is of models on a machine of yours: leave it out with --api")
    mixed = [name for name in ("provider", "price_in", "price_out") if getattr(options, name) is not None]
    if mixed and options.api is None:
        raise EstimatorError(f"--{mixed[0].replace('_', '-')} is of models behind an API: name one with --api")


def require_one_list(options: Namespace) -> None:
    """Raises EstimatorError where `models` is told what only its ranking, which --min-speed asks for, can heed."""
    if options.api:
        _refuse_others(options, ("api", "coefficients", "json", "debug"), "is of models of your own: leave out --api")
    elif options.min_speed is None:
        _refuse_others(options, ("json", "debug"), "is of what runs on a machine at a speed: add --min-speed N")


def _refuse_others(options: Namespace, heeded: tuple[str, ...], reason: str) -> None:
    """Raises EstimatorError for the first option that differs from its default and is not `heeded`."""
    for name, value in vars(parser().parse_args([options.command])).items():
        if name not in heeded and getattr(options, name) != value:
            raise EstimatorError(f"--{name.replace('_', '-')} {reason}")


def _add_axes(command: ArgumentParser) -> None:
    for option, default, text in (
        ("--model", "mistral:7b", "as of `predict`; all: the catalogue"),
        ("--quant", None, "weight types; all"),
        ("--prompt-tokens", "512", ""),
        ("--output-tokens", "128", ""),
        ("--depth", "0", "tokens cached before the prompt"),
        ("--concurrency", "1", "requests at once"),
        ("--context", None, "context of each request (just enough)"),
        ("--kv-type", "f16", "types of the KV cache; all"),
        ("--hardware", None, "names of `hardware`, or 2x NAME; all (this machine)"),
        ("--instance", None, "names of `clouds`; all"),
    ):
        shown = text if default is None else f"{text} (%(default)s)".strip()
        command.add_argument(option, default=default, metavar="LIST", help=shown)
    command.add_argument(
        "--flash-attention", action=BooleanOptionalAction, default=True, help="as the engine is told (on)"
    )
    command.add_argument("--bandwidth", metavar="RATE", help="memory bandwidth of this machine, such as 25GB/s")
    command.add_argument("--compute", metavar="RATE", help="compute rate of this machine, such as 200GFLOP/s")
    command.add_argument("--fits", action="store_true", help="only what fits")
    command.add_argument("--sort", choices=SORTS, metavar="QUANTITY", help=f"best first: {', '.join(SORTS)}")
    command.add_argument("--top", type=int, metavar="N", help="so many rows (20 in a table, else all)")
    command.add_argument("--csv", metavar="FILE", help="write the rows as CSV (-: standard output)")
    command.add_argument("--json", action="store_true", help="print the rows as JSON")
