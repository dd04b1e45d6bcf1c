"""The options of `cost` and `cheapest`, their defaults and their help; nothing is computed here."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path


def add_cost_options(command: ArgumentParser) -> None:
    """The options of `cost`."""
    _add_load(command)
    command.add_argument("--per-day", type=float, metavar="N", help="requests a day (machines in full use)")
    command.add_argument(
        "--api", action="append", default=[], metavar="PROVIDER:MODEL", help="as genai-prices names it; can be repeated"
    )
    command.add_argument("--batch", action="store_true", help="the API's prices for requests that may wait")
    for kind in ("in", "out", "cached", "cache-write"):
        command.add_argument(f"--price-{kind}", type=float, metavar="USD", help="per million tokens (as listed)")
    command.add_argument(
        "--instance", action="append", default=[], metavar="NAME", help="a name of `clouds`; can be repeated"
    )
    command.add_argument("--usd-per-hour", type=float, metavar="USD", help="rent, of this machine without another")
    command.add_argument("--hardware", metavar="NAME", help="a name of `hardware`, or 2x NAME")
    command.add_argument("--memory", metavar="SIZE", help="memory of each device of --hardware, such as 64GiB")
    command.add_argument("--hardware-usd", type=float, metavar="USD", help="price of the whole machine")
    _add_owning(command)
    command.add_argument("--watts", type=float, metavar="W", help="power while it works (the catalogue's limit)")
    command.add_argument("--idle-watts", type=float, metavar="W", help="power while it waits (not counted)")
    command.add_argument("--joules-per-request", type=float, metavar="J", help="as `harness show` measured it")
    command.add_argument("--bandwidth", metavar="RATE", help="memory bandwidth of this machine, such as 25GB/s")
    command.add_argument("--compute", metavar="RATE", help="compute rate of this machine, such as 200GFLOP/s")
    command.add_argument("--coefficients", type=Path, metavar="FILE", help="of this machine, as in predict")
    command.add_argument("--anyway", action="store_true", help="use coefficients of another machine all the same")
    command.add_argument("--json", action="store_true", help="print the answer as JSON")


def add_cheapest_options(command: ArgumentParser) -> None:
    """The options of `cheapest`."""
    _add_load(command)
    command.add_argument("--per-day", type=float, required=True, metavar="N", help="requests a day")
    command.add_argument("--among", metavar="TEXT", help="words that an instance must hold, such as AWS (all)")
    command.add_argument(
        "--own", action="append", default=[], metavar="NAME=USD", help="hardware and its price; can be repeated"
    )
    _add_owning(command)
    command.add_argument(
        "--api",
        action="append",
        default=[],
        metavar="PROVIDER:MODEL[@ttft=..,tpot=..]",
        help="with the latency that it is known to have; can be repeated",
    )
    command.add_argument("--all", action="store_true", help="all rows, not the ten cheapest")
    command.add_argument("--json", action="store_true", help="print the answer as JSON")


def _add_load(command: ArgumentParser) -> None:
    command.add_argument("--model", default="mistral:7b", help="what machines run, as in predict (%(default)s)")
    command.add_argument("--quant", help="weight type (q4_k_m); files and servers state their own")
    command.add_argument("--prompt-tokens", "--prompt", type=int, default=512, metavar="N", help="(%(default)s)")
    command.add_argument("--output-tokens", "--output", type=int, default=128, metavar="N", help="(%(default)s)")
    command.add_argument(
        "--cached-tokens", type=int, default=0, metavar="N", help="of the prompt, found in a cache (0)"
    )
    command.add_argument("--cache-write-tokens", type=int, default=0, metavar="N", help="written to a cache (0)")
    command.add_argument("--reasoning-tokens", type=int, default=0, metavar="N", help="billed beside the answer (0)")
    command.add_argument(
        "--utilisation", type=float, default=1.0, metavar="SHARE", help="of the day that machines can be busy (1)"
    )
    command.add_argument("--slo", metavar="LIMITS", help="limits on latency: ttft=500ms,tpot=50ms (none)")
    command.add_argument("--concurrency", type=int, metavar="N", help="requests at once of each copy (the best to 64)")


def _add_owning(command: ArgumentParser) -> None:
    command.add_argument("--lifetime-years", type=float, metavar="Y", help="of hardware of one's own (3, assumed)")
    command.add_argument("--usd-per-kwh", type=float, metavar="USD", help="price of electricity")
