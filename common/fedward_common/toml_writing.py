"""Tables of plain values to TOML text, which `settings.read_toml` reads back to the same values."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def toml_of(table: Mapping[str, Any]) -> str:
    """Write a table; None is left out, for TOML has no such value.

    Args:
        table: Texts, numbers, booleans, lists of these, tables, and lists of tables.
    """
    return "\n".join(_lines(table, ())).strip("\n") + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    present = {key: value for key, value in table.items() if value is not None}
    inner = {key: value for key, value in present.items() if _is_nested(value)}
    for key, value in present.items():
        if key not in inner:
            yield f"{_text(key)} = {_value(value)}"
    for key, value in inner.items():
        name = ".".join(_text(part) for part in (*path, key))
        for one in (value,) if isinstance(value, Mapping) else value:
            yield f"\n[{name}]" if isinstance(value, Mapping) else f"\n[[{name}]]"
            yield from _lines(one, (*path, key))


def _is_nested(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return is_list and len(value) > 0 and isinstance(value[0], Mapping)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, int | float):
        return repr(value)
    return f"[{', '.join(_value(one) for one in value)}]"


def _text(key: str) -> str:
    plain = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if plain else _quoted(key)


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's; TOML also wants DEL escaped, and no surrogate pairs.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
