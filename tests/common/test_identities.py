import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.errors import ConfigurationError
from fedward_common.identities import parse_site_id, parse_site_ids

_FIRST = string.ascii_letters + string.digits
names = st.builds(str.__add__, st.sampled_from(_FIRST), st.text(_FIRST + "-_", max_size=47)).filter(
    lambda name: name.casefold() != "coordinator"
)


@given(name=names)
def test_letters_digits_and_dashes_make_a_name(name: str) -> None:
    assert parse_site_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a b",
        "a\n",
        "\na",
        "a\x00",
        "-a",
        "_a",
        ".",
        "..",
        "../a",
        "a/b",
        "a\\b",
        "a.b",
        "a" * 49,
        "x" * 1_000_000,
        "coordinator",
        "Coordinator",
        "COORDINATOR",
        "ä",
        "\u0430lder",  # a Cyrillic a
        "\u212a",  # the Kelvin sign, which folds to k
        "hosp\u0131tal",  # a dotless i
        "\uff21",  # a fullwidth A
        "a\u200bb",
        "a\u0301",
        "\u0661",  # an Arabic digit
    ],
    ids=lambda name: ascii(name)[:24],
)
def test_a_name_that_could_be_confused_or_harm_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_site_id(name)
    assert caught.value.hint
    assert len(str(caught.value)) < 300


@given(name=st.text(max_size=60))
@settings(max_examples=200)
def test_any_text_is_taken_as_it_is_or_refused(name: str) -> None:
    try:
        assert parse_site_id(name) == name
    except ConfigurationError:
        return
    assert name.isascii()
    assert not set(name) & set("/\\. \n\x00")


@given(several=st.lists(names, unique_by=str.casefold, max_size=8))
def test_names_come_back_sorted(several: list[str]) -> None:
    assert list(parse_site_ids(several)) == sorted(several)


@pytest.mark.parametrize("pair", [("Alder", "alder"), ("a1B", "A1b"), ("alder", "alder")])
def test_two_names_that_people_would_confuse_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=pair[0]) as caught:
        parse_site_ids([*pair, "birch"])
    assert caught.value.hint


def test_one_bad_name_refuses_them_all() -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        parse_site_ids(["alder", "bir ch"])
