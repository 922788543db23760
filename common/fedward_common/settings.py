"""TOML into frozen dataclasses, once, strictly.

An unknown key, a wrong type, NaN or infinity is one `ConfigurationError` that names the key, says
what came and what was needed. Numbers are never converted behind the reader's back: `true` is no
integer and `"3"` no number; an integer is taken where a float is wanted.
"""

import codecs
import dataclasses
import difflib
import functools
import math
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from fedward_common.errors import ConfigurationError

T = TypeVar("T")

_MAX_FILE_BYTES = 1_000_000
_MAX_DEPTH = 32


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 1 MB, nested 32 deep at most.

    Raises:
        ConfigurationError: It is missing, too large, too deep, not UTF-8 or not TOML.
    """
    text = _read_text(path)
    try:
        table = tomllib.loads(text)
    # Besides its own error, tomllib lets the limit on an integer's digits pass as a ValueError.
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{path}: {error}", hint="https://toml.io shows the form"
        ) from error
    if _is_deep(table):
        raise ConfigurationError(
            f"{path} is nested more than {_MAX_DEPTH} deep", hint="is it the right file?"
        )
    return table


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"{path}: {reason}", hint="check the path") from error
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigurationError(
            f"{path} is larger than {_MAX_FILE_BYTES} bytes", hint="is it the right file?"
        )
    if content.startswith(codecs.BOM_UTF8):
        raise ConfigurationError(
            f"{path} begins with a byte order mark", hint="save it as UTF-8 without BOM"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _is_deep(table: dict[str, Any]) -> bool:
    # A dotted key nests without recursion in tomllib; what walks the table afterwards recurses.
    level: list[Any] = [table]
    for _ in range(_MAX_DEPTH):
        inner = [v for item in level for v in (item.values() if isinstance(item, dict) else item)]
        level = [value for value in inner if isinstance(value, dict | list)]
    return bool(level)


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `training.learning_rate=0.1` into its key and its TOML value.

    A value that is no TOML literal is taken as text, so `model.name=cnn` needs no quotes.

    Raises:
        ConfigurationError: No `=`, an empty key, or bytes that are no text.
    """
    key, equals, value = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise ConfigurationError(
            f"--set {text!r} has no key or no '='", hint="write --set section.key=value"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"--set {text!r} is no text", hint="use UTF-8") from error
    return keys, _literal_or_text(value)


def _literal_or_text(value: str) -> Any:
    try:
        table = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return value.strip()
    # A line break could smuggle in a second key.
    return table["value"] if len(table) == 1 else value.strip()


def with_overrides(table: Mapping[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Give a copy of `table` in which each `key.path=value` is set."""
    result = _deep_copy(table)
    for text in overrides:
        keys, value = parse_override(text)
        target = result
        for key in keys[:-1]:
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise ConfigurationError(
                    f"--set {text!r}: {key!r} is no section", hint="it holds a value of its own"
                )
        target[keys[-1]] = value
    return result


def _deep_copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _deep_copy(v) if isinstance(v, Mapping) else v for k, v in table.items()}


def from_table(kind: type[T], table: object, *, where: str = "") -> T:
    """Build the dataclass `kind` from a TOML table.

    Args:
        kind: A dataclass whose fields are scalars, tuples, `Literal`s, optional values, mappings
            of text to scalars, or dataclasses.
        table: What the TOML parser gave.
        where: Key path of the table, for messages; empty at the top.

    Raises:
        ConfigurationError: With the key's full name and a hint.
    """
    if not isinstance(table, Mapping):
        raise ConfigurationError(
            f"{where or 'the file'} must be a table, got {_shown(table)}",
            hint=f"write [{where}] with its keys below",
        )
    hints, fields = _shape_of(kind)  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            raise _unknown_key(str(key), where, list(fields))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        path = f"{where}.{name}" if where else name
        if name in table:
            values[name] = _convert(hints[name], table[name], path)
        elif _is_required(field):
            raise ConfigurationError(f"{path} is missing", hint=_wanted(hints[name], path))
    return kind(**values)


@functools.cache
def _shape_of(kind: type) -> tuple[dict[str, Any], "dict[str, dataclasses.Field[Any]]"]:
    return typing.get_type_hints(kind), {f.name: f for f in dataclasses.fields(kind) if f.init}


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _unknown_key(key: str, where: str, known: list[str]) -> ConfigurationError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return ConfigurationError(f"unknown key {f'{where}.{key}' if where else key!r}", hint=hint)


def _convert(wanted: Any, value: Any, path: str) -> Any:
    if (wanted is str or wanted is bytes) and type(value) is wanted:
        return value  # most fields of a message; the general way costs ten times as much
    return _converter_of(wanted)(wanted, value, path)


@functools.cache
def _converter_of(wanted: Any) -> Callable[[Any, Any, str], Any]:
    """Find once what takes values of a type: messages are read as jobs are, a thousand a second."""
    origin = get_origin(wanted)
    if origin in (Union, types.UnionType):
        return _convert_optional
    if origin is Literal:
        return _convert_literal
    if origin is tuple:
        return _convert_tuple
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return _convert_mapping
    return _convert_table if dataclasses.is_dataclass(wanted) else _convert_scalar


def _convert_mapping(wanted: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(wanted, value, path)
    item = get_args(wanted)[1]
    return {str(k): _convert(item, v, f"{path}.{k}") for k, v in value.items()}


def _convert_table(wanted: Any, value: Any, path: str) -> Any:
    return from_table(wanted, value, where=path)


def _convert_scalar(wanted: Any, value: Any, path: str) -> Any:
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ConfigurationError(f"{path} is {number}", hint="a finite number is needed")
        return number
    if wanted is int and isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 2**63:
            raise ConfigurationError(f"{path} is too large", hint="use a number below 2^63")
        return value
    if wanted in (str, bool, bytes) and type(value) is wanted:
        return value
    raise _wrong(wanted, value, path)


def _convert_optional(wanted: Any, value: Any, path: str) -> Any:
    if value is None and type(None) in get_args(wanted):
        return None
    choices = [choice for choice in get_args(wanted) if choice is not type(None)]
    problem: ConfigurationError | None = None
    for choice in choices:
        try:
            return _convert(choice, value, path)
        except ConfigurationError as error:
            problem = problem or error
    if len(choices) == 1 and problem is not None:
        raise problem
    raise _wrong(wanted, value, path)


def _convert_literal(wanted: Any, value: Any, path: str) -> Any:
    allowed = get_args(wanted)
    if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
        text = value if isinstance(value, str) else ""
        near = difflib.get_close_matches(text, [str(a) for a in allowed], n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        names = ", ".join(repr(a) for a in allowed)
        raise ConfigurationError(f"{path} is {_shown(value)}", hint=f"{hint}one of: {names}")
    return value


def _convert_tuple(wanted: Any, value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(wanted, value, path)
    items = get_args(wanted)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_convert(items[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if len(value) != len(items):
        raise ConfigurationError(
            f"{path} has {len(value)} values", hint=f"{len(items)} values are needed"
        )
    return tuple(
        _convert(item, v, f"{path}[{i}]")
        for i, (item, v) in enumerate(zip(items, value, strict=True))
    )


def _wrong(wanted: Any, value: Any, path: str) -> ConfigurationError:
    return ConfigurationError(f"{path} is {_shown(value)}", hint=_wanted(wanted, path))


def _wanted(wanted: Any, path: str) -> str:
    if get_origin(wanted) is Literal:
        return f"{path} is one of: {', '.join(repr(a) for a in get_args(wanted))}"
    if dataclasses.is_dataclass(wanted):
        return f"write a section [{path}]"
    names = {float: "a number", int: "a whole number", str: "text in quotes", bool: "true or false"}
    if wanted in names:
        return f"{path} needs {names[wanted]}"
    if get_origin(wanted) is tuple:
        return f"{path} needs a list in [ ]"
    return f"{path} needs {wanted}"


def _shown(value: object) -> str:
    kinds: dict[type, str] = {bool: "true/false", str: "text", int: "a whole number"}
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = "too large to show"
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    kind = kinds.get(type(value), type(value).__name__)
    return f"{shown} ({kind})"
