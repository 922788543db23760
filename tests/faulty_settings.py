"""What a person, an editor or a damaged disk makes of a TOML file, for the tests of each reader."""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from fedward_common.errors import ConfigurationError

Read = Callable[[Path], Any]

_NUMBERS = ("nan", "inf", "-inf", "1e400", "-1e400")
_WHOLE = (*_NUMBERS, "1.0", "true", '"1"', "[]", "{}", "2026-01-01", "9" * 30)
_FRACTION = (*_NUMBERS, "false", '"0.5"', "[]", "{}", "2026-01-01", "9" * 400)
_TEXT = ("1", "1.5", "true", "nan", "[]", "{}", "2026-01-01", '["x"]')
_SWITCH = ("0", "1", '"true"', "nan", "[]", "{}")
_CHOICE = ('"none of these"', '""', "1", "true", "nan", "[]", "{}", '"\\u0430sk"')
_LIST = ("1", "true", '{a = "b"}', "[1.5]", "[[]]", "[true]")


def unusable_files(good: str) -> dict[str, bytes]:
    """Give what a good file of at least one line may become as a whole."""
    first = next(line for line in good.splitlines() if " = " in line)
    return {
        "byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "UTF-16": good.encode("utf-16"),
        "UTF-16 without a mark": good.encode("utf-16-le"),
        "Latin-1": (good + '# "\u00e9"\n').encode("latin-1"),
        "10 MB": good.encode() + b"#" * 10_000_000,
        "10 MB in one value": f'{first.split(" = ")[0]} = "{"x" * 10_000_000}"\n'.encode(),
        "key twice": f"{first}\n{good}".encode(),
        "unknown key": f"unheard_of = 1\n{good}".encode(),
        "key in capitals": f"{first.split(' = ')[0].upper()} = 1\n{good}".encode(),
        "confusable key": ("\u0440" + good.lstrip()).encode(),
        "unknown section": f"{good}\n[unheard_of]\nx = 1\n".encode(),
        "section of sections": f"{good}\n[[unheard_of]]\n".encode(),
        "cut short": good.encode()[: good.index(" = ") + 3],
        "zeros": bytes(4096),
        "1,000 deep": good.encode() + b"x = " + b"[" * 1000 + b"]" * 1000,
        "other file": b"-----BEGIN CERTIFICATE-----\n",
    }


def wrong_values(kind: type) -> Iterator[tuple[str, str]]:
    """Give each key of a dataclass, dotted, with literals that are none of its type."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        wanted = hints[field.name]
        if dataclasses.is_dataclass(wanted):
            for key, literal in wrong_values(typing.cast(type, wanted)):
                yield f"{field.name}.{key}", literal
            yield field.name, "1"
            yield field.name, "[]"
        else:
            for literal in _wrong_for(wanted):
                yield field.name, literal


def _wrong_for(wanted: Any) -> tuple[str, ...]:
    known: Mapping[Any, tuple[str, ...]] = {
        int: _WHOLE, float: _FRACTION, str: _TEXT, bool: _SWITCH,
    }  # fmt: skip
    if wanted in known:
        return known[wanted]
    if get_origin(wanted) is Literal:
        return _CHOICE
    if get_origin(wanted) is tuple:
        return (*_LIST, '"x"')
    assert get_origin(wanted) in (Union, types.UnionType)
    kinds = [_wrong_for(choice) for choice in get_args(wanted)]
    return tuple(literal for literal in kinds[0] if all(literal in kind for kind in kinds))


def with_value(good: str, key: str, literal: str) -> str:
    """Set a key of a file, which may stand in a section, to a literal."""
    *section, name = key.split(".")
    lines = good.splitlines()
    begin = lines.index(f"[{section[0]}]") + 1 if section else 0
    headings = [i for i, line in enumerate(lines[begin:], begin) if line.startswith("[")]
    end = headings[0] if headings else len(lines)
    kept = [line for line in lines[begin:end] if not line.startswith(f"{name} = ")]
    return "\n".join([*lines[:begin], f"{name} = {literal}", *kept, *lines[end:]]) + "\n"


def require_refused(read: Read, file: Path, content: bytes, *, fault: str) -> str:
    """Check that a file is refused as one line with a hint that does not quote all of it."""
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        pytest.fail(f"{fault} was read as {read(file)}")
    assert refused.value.hint, fault
    assert len(str(refused.value)) < 300 + len(str(file)), fault
    return str(refused.value)


def require_unreadable_places_refused(read: Read, file: Path) -> None:
    """Check a loop of links, a folder and a link to nowhere in the file's place."""
    file.unlink(missing_ok=True)
    file.symlink_to(file.name)
    _require_error(read, file)
    file.unlink()
    file.symlink_to(file.with_name("gone"))
    _require_error(read, file)
    file.unlink()
    file.mkdir()
    _require_error(read, file)
    file.rmdir()


def _require_error(read: Read, file: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(file)
    assert refused.value.hint
