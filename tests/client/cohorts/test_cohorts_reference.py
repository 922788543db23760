"""`docs/COHORTS_FILE.md` knows every key and every code."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from fedward_client.cohorts import source
from fedward_client.cohorts.cohort_file import (
    ColumnsSection,
    SourceKind,
    SourceSettings,
    read_cohort_tables,
)

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "COHORTS_FILE.md"
_CODES = [
    value
    for name, value in vars(source).items()
    if name.startswith(("E_", "EXCLUDED_")) and isinstance(value, str)
]


def _first_cells() -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("kind", [SourceSettings, ColumnsSection])
def test_the_page_has_a_row_for_every_key(kind: type[SourceSettings | ColumnsSection]) -> None:
    assert {field.name for field in dataclasses.fields(kind)} <= set(_first_cells())


def test_the_page_has_a_row_for_every_code() -> None:
    assert "E_LABEL_UNMAPPED" in _CODES
    assert set(_CODES) <= set(_first_cells())


def test_the_page_knows_no_key_or_code_twice() -> None:
    cells = _first_cells()
    assert sorted(set(cells)) == sorted(cells)


def test_every_example_of_the_page_can_be_read_and_every_kind_has_one(tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    kinds = {
        settings.source
        for text in examples
        for sources in read_cohort_tables(tomllib.loads(text), tmp_path).values()
        for settings in sources
    }
    assert kinds == set(get_args(SourceKind))
