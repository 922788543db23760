import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fedward_common.toml_writing import toml_of

# surrogates are no text, and TOML has no 64-bit unsigned numbers
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    texts
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = scalars | st.lists(scalars, max_size=3)
flat = st.dictionaries(texts, values, max_size=4)
tables = st.dictionaries(texts, values | flat | st.lists(flat, min_size=1, max_size=3), max_size=5)


@given(table=tables)
def test_what_was_written_is_read_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_of(table)) == table


def test_none_is_left_out_and_inner_tables_come_last() -> None:
    table = {"inner": {"b": 1}, "gone": None, "a": [1.5, 2.0]}
    assert toml_of(table) == "a = [1.5, 2.0]\n\n[inner]\nb = 1\n"
