from datetime import date

import pytest

from fedward_client.dicom.person_names import normalised_name, person_key

KEY = bytes(range(32))
BORN = date(1960, 1, 2)


@pytest.mark.parametrize(
    "spelling",
    [
        "Müller^Hans-Peter",
        "MUELLER^HANS PETER",
        "muller^hanspeter^^",
        "Müller, Hans Peter",
        " Mu\u0308ller ^ Hans-Peter ",  # the accent as a character of its own
        "MÜLLER^HANS-PETER=\u5c71\u7530^\u592a\u90ce",
    ],
)
def test_one_name_in_many_spellings_is_one_name(spelling: str) -> None:
    assert normalised_name(spelling) == "muller^hanspeter"


def test_the_order_of_the_parts_is_kept() -> None:
    assert normalised_name("Peter^Hans") != normalised_name("Hans^Peter")
    assert normalised_name("^Hans") == "^hans"


def test_other_scripts_are_kept() -> None:
    assert normalised_name("=\u5c71\u7530^\u592a\u90ce") == "\u5c71\u7530^\u592a\u90ce"
    assert normalised_name("O'Brien^Zoë") == normalised_name("OBRIEN^ZOE")
    assert normalised_name("Bjørn^Æsa") == "bjorn^asa"


@pytest.mark.parametrize("nobody", ["", "^^", "=", "^=^", " ", "...^,"])
def test_no_letters_are_no_name(nobody: str) -> None:
    assert normalised_name(nobody) == ""
    assert person_key(KEY, nobody, BORN, "F") == ""


def test_a_name_alone_is_nobody() -> None:
    assert person_key(KEY, "DOE^JANE", None, "F") == ""


def test_birth_date_sex_and_key_tell_persons_apart() -> None:
    keys = {
        person_key(KEY, "DOE^JANE", BORN, "F"),
        person_key(KEY, "DOE^JANE", date(1960, 1, 3), "F"),
        person_key(KEY, "DOE^JANE", BORN, "M"),
        person_key(bytes(32), "DOE^JANE", BORN, "F"),
        person_key(KEY, "DOE^JANET", BORN, "F"),
    }
    assert len(keys) == 5
    assert all("doe" not in key for key in keys)
