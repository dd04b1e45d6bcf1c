"""The scenario file: questions to `predict` with limits that the answers must keep.

[defaults]                          # options of `predict`, with _ for -, for all scenarios
model = "mistral:7b"
prompt_tokens = 1000

[[scenario]]
name = "chat on the team's laptops"
hardware = "M3 Max"                 # this machine where neither hardware nor instance is named
fits = "yes"                        # or "tight": at least that
max.ttft_s = 2                      # any quantity of the answer (`predict --json`: memory, speed, cost)
min.decode_tokens_per_s = 20
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from estimator.errors import EstimatorError, UnreadableFile
from estimator.options import arguments_of

FITS = ("tight", "yes")
_OWN = ("name", "fits", "max", "min")


@dataclass(frozen=True, slots=True)
class Limit:
    """`quantity` of the answer at most ("max") or at least ("min") `bound`, in the unit that ends its name."""

    side: Literal["max", "min"]
    quantity: str
    bound: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """`arguments` as on the command line of `predict`; `fits` is the least verdict that is accepted, if any."""

    name: str
    arguments: tuple[str, ...]
    limits: tuple[Limit, ...]
    fits: str | None = None


def read_scenarios(path: Path) -> tuple[Scenario, ...]:
    """The scenarios of the file. Raises UnreadableFile with the place and what is wrong there."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UnreadableFile(f"{path}: {error.strerror}; name a scenario file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableFile(f"{path} is not TOML: {str(error) or 'nested too deeply'}") from None
    unknown = content.keys() - {"defaults", "scenario"}
    if unknown:
        raise UnreadableFile(f"{path}: unknown key {min(unknown)!r}; there are [defaults] and [[scenario]]")
    defaults, rows = content.get("defaults", {}), content.get("scenario", [])
    if not isinstance(defaults, dict) or not isinstance(rows, list) or not rows:
        raise UnreadableFile(f"{path} holds no [[scenario]]: write at least one, with a name and a limit")
    found = tuple(_scenario(row, defaults, f"{path}: scenario {number}") for number, row in enumerate(rows, 1))
    names = [scenario.name for scenario in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UnreadableFile(f"{path}: two scenarios are called {twice!r}: give each a name of its own")
    return found


def _scenario(row: Any, defaults: dict[str, Any], where: str) -> Scenario:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise UnreadableFile(f'{where} has no name: write name = "..."')
    where = f"{where} ({row['name']})"
    fits = row.get("fits")
    if fits not in (None, *FITS):
        raise UnreadableFile(f"{where}: fits is one of {', '.join(FITS)}, not {fits!r}")
    limits = (*_limits(row, "max", where), *_limits(row, "min", where))
    if not limits and fits is None:
        raise UnreadableFile(f'{where} has no limit: write fits = "yes", max.ttft_s = 2 or the like')
    options = {**_without_rival(defaults, row), **{key: value for key, value in row.items() if key not in _OWN}}
    try:
        arguments = arguments_of(options, where)
    except EstimatorError as error:
        raise UnreadableFile(str(error)) from None
    return Scenario(row["name"], arguments, limits, fits)


def _without_rival(defaults: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The defaults, without the machine that they name where the scenario names another."""
    rivals = {"hardware", "instance", "gpus"}
    return {key: value for key, value in defaults.items() if not (key in rivals and rivals & row.keys())}


def _limits(row: dict[str, Any], side: Literal["max", "min"], where: str) -> list[Limit]:
    table = row.get(side, {})
    if not isinstance(table, dict):
        raise UnreadableFile(f"{where}: {side} is a table, such as {side}.ttft_s = 2")
    for quantity, bound in table.items():
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound < float("inf"):
            raise UnreadableFile(f"{where}: {side}.{quantity} must be a number from 0 on, not {bound!r}")
    return [Limit(side, quantity, float(bound)) for quantity, bound in table.items()]
