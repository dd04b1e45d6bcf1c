"""Plain JSON values <-> frozen dataclasses, strictly: nothing missing, nothing unknown, right types.

Only the translation belongs here; what the fields mean stands where the dataclasses are.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import cache
from typing import Any, TypeVar

from estimator.errors import UnreadableFile

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """`value` with its dataclasses as dicts and its tuples as lists, ready for json.dumps."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    return value


def from_plain(kind: type[T], plain: Any, where: str) -> T:
    """The dataclass `kind` read from `plain`; `where` names it in errors. Raises UnreadableFile."""
    if not isinstance(plain, dict):
        raise UnreadableFile(f"{where} must be an object, not {_named(plain)}: write it anew")
    hints, fields = _hints(kind), {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [key for key in plain if key not in fields]
    if unknown:
        raise UnreadableFile(f"{where} has an unknown field {unknown[0]!r}: a newer version may have written it")
    missing = [key for key, field in fields.items() if key not in plain and _is_required(field)]
    if missing:
        raise UnreadableFile(f"{where} lacks the field {missing[0]!r}: write it anew")
    return kind(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in plain.items()})


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, plain: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or (plain is None and type(None) in arguments):
        return plain
    if origin is types.UnionType:
        return _value(next(option for option in arguments if option is not type(None)), plain, where)
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast("type[Any]", hint), plain, where)
    reader = {tuple: _tuple, dict: _dict, typing.Literal: _choice}.get(origin)
    return _checked(hint, plain, where) if reader is None else reader(arguments, plain, where)


def _dict(arguments: tuple[Any, ...], plain: Any, where: str) -> dict[str, Any]:
    entries = _checked(dict, plain, where)
    return {key: _value(arguments[1], entry, f"{where}.{key}") for key, entry in entries.items()}


def _choice(arguments: tuple[Any, ...], plain: Any, where: str) -> Any:
    if plain not in arguments:
        raise UnreadableFile(f"{where} must be one of {', '.join(map(str, arguments))}, not {plain!r}")
    return plain


def _tuple(arguments: tuple[Any, ...], plain: Any, where: str) -> tuple[Any, ...]:
    entries = _checked(list, list(plain) if isinstance(plain, tuple) else plain, where)
    if arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(entries)
    if len(entries) != len(arguments):
        raise UnreadableFile(f"{where} must have {len(arguments)} entries, not {len(entries)}")
    pairs = enumerate(zip(arguments, entries, strict=True))
    return tuple(_value(hint, entry, f"{where}[{index}]") for index, (hint, entry) in pairs)


def _checked(kind: Any, plain: Any, where: str) -> Any:
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        try:
            return float(plain)
        except OverflowError:
            raise UnreadableFile(f"{where} is too large for a number: write it anew") from None
    if not isinstance(plain, kind) or (isinstance(plain, bool) and kind is not bool):
        raise UnreadableFile(f"{where} must be {kind.__name__}, not {_named(plain)}: write it anew")
    return plain


def _named(plain: Any) -> str:
    return "nothing" if plain is None else f"{type(plain).__name__} {str(plain)[:40]!r}"
