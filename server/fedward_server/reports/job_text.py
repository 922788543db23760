"""A resolved job as text in the manner of TOML, for reading beside a result."""

import json
from collections.abc import Mapping
from typing import Any


def job_text(table: Mapping[str, Any]) -> str:
    """Write the tables of a job one after another, nested ones under dotted names."""
    return "\n\n".join(_blocks(table, ""))


def _blocks(table: Mapping[str, Any], name: str) -> list[str]:
    plain = {key: value for key, value in table.items() if not _is_nested(value)}
    blocks = []
    if plain:
        lines = [f"[{name}]"] if name else []
        lines += [f"{key} = {_value(value)}" for key, value in plain.items() if value is not None]
        blocks.append("\n".join(lines))
    for key, value in table.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, Mapping):
            blocks += _blocks(value, path)
        elif _is_nested(value):
            for entry in value:
                blocks += [
                    block.replace(f"[{path}]", f"[[{path}]]", 1) for block in _blocks(entry, path)
                ]
    return blocks


def _is_nested(value: object) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(entry, Mapping) for entry in value)
    return isinstance(value, Mapping)


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
