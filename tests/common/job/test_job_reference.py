"""`docs/JOB_FILE.md` knows every key of a job, with its default, and no other key."""

import dataclasses
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedward_common.job.job_file import Job, job_from_table
from fedward_common.models.catalogue import MODELS, check_model

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "JOB_FILE.md"
_ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", re.MULTILINE)


def _sections(kind: type[Any], where: str = "") -> Iterator[tuple[str, type[Any]]]:
    """Give each dataclass of a job by its TOML name, `training.loss` for instance."""
    if where:
        yield where, kind
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        for inner in (hints[field.name], *typing.get_args(hints[field.name])):
            if dataclasses.is_dataclass(inner):
                name = f"{where}.{field.name}" if where else field.name
                yield from _sections(typing.cast(type[Any], inner), name)


def _is_a_section(kind: type[Any], name: str) -> bool:
    return dataclasses.is_dataclass(typing.get_type_hints(kind)[name])


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return repr(value)


def _default_of(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f"`{_shown(field.default_factory())}`"
    if field.default is dataclasses.MISSING:
        return "**required**"
    return "not set" if field.default is None else f"`{_shown(field.default)}`"


def _rows_below(heading: str) -> dict[str, str]:
    """Give the default of each key in the table below a heading."""
    text = _PAGE.read_text(encoding="utf-8")
    assert f"\n{heading}\n" in text, f"{_PAGE.name} has no heading {heading!r}"
    below = text.split(f"\n{heading}\n", 1)[1]
    return dict(_ROW.findall(re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]))


@pytest.mark.parametrize(("name", "kind"), list(_sections(Job)))
def test_the_page_has_every_key_of_a_section_with_its_default(name: str, kind: type[Any]) -> None:
    expected = {
        field.name: _default_of(field)
        for field in dataclasses.fields(kind)
        if not _is_a_section(kind, field.name)
    }
    assert _rows_below(f"## `[{name}]`") == expected


@pytest.mark.parametrize("name", list(MODELS))
def test_the_page_has_every_option_of_a_model_with_its_default(name: str) -> None:
    options = dataclasses.fields(MODELS[name].options)
    expected = {field.name: _default_of(field) for field in options}
    assert _rows_below(f"### `{name}`") == expected


def test_the_smallest_job_of_the_page_is_a_job() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    check_model(job_from_table(tomllib.loads(text)))
