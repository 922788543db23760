import pytest

from fedward_common.consortium.organisations import parse_organisation, without_spelling
from fedward_common.errors import ConfigurationError


@pytest.mark.parametrize("name", ["a", "Klinikum Süd", "St. Mary's (North)", "東京 病院", "x" * 64])
def test_one_line_of_printable_text_is_a_name(name: str) -> None:
    assert parse_organisation(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", " a", "a ", "a  b", "a\nb", "a\tb", "a\u2028b", "a\u202eb", "a\u200bb", "a\u00a0b",
     "x" * 65, "u\u0308ber", "a\0b", "\ud800"],
)  # fmt: skip
def test_anything_else_is_not(name: str) -> None:
    with pytest.raises(ConfigurationError, match="organisation"):
        parse_organisation(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("North", "north"), ("STRASSE", "straße"), ("Ａ", "a")],  # noqa: RUF001
)
def test_names_that_differ_in_case_or_width_alone_are_one(one: str, other: str) -> None:
    assert without_spelling(one) == without_spelling(other)


def test_other_names_are_not() -> None:
    assert without_spelling("north") != without_spelling("south")
