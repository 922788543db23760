"""One key for one person, however the name was typed.

A person is a name, a birth date and a sex. Case, accents, punctuation and the German ways to write
an umlaut do not matter; the order of family name, given name and the others does.
"""

import unicodedata
from datetime import date

from fedward_client.pseudonyms import pseudonym

_LETTERS_WITHOUT_ACCENT_MARK = str.maketrans({"ø": "o", "æ": "a", "œ": "o", "đ": "d", "ł": "l"})
_TRANSLITERATIONS = (("ae", "a"), ("oe", "o"), ("ue", "u"))


def person_key(pseudonym_key: bytes, name: str, birth_date: date | None, sex: str) -> str:
    """Give a person's pseudonym.

    Args:
        pseudonym_key: Of the site.
        name: PatientName as the header has it.
        birth_date: PatientBirthDate.
        sex: "M", "F", "O" or "".

    Returns:
        32 hex digits; "" where name or birth date is missing, for a name alone is many people's.
    """
    spelled = normalised_name(name)
    if not spelled or birth_date is None:
        return ""
    return pseudonym(pseudonym_key, "person", f"{spelled}\0{birth_date.isoformat()}\0{sex}")


def normalised_name(name: str) -> str:
    """Reduce a name to its letters and digits, its parts still in order and apart by '^'.

    Of several ways of writing it (PS3.5 section 6.2.1, apart by '=') the first counts.
    """
    groups = [group for group in name.split("=") if group.strip(" ^")]
    if not groups:
        return ""
    parts = [_letters(part) for part in groups[0].replace(",", "^").split("^")]
    return "^".join(parts).rstrip("^")


def _letters(part: str) -> str:
    decomposed = unicodedata.normalize("NFKD", part.casefold())
    letters = "".join(c for c in decomposed if c.isalnum())
    letters = letters.translate(_LETTERS_WITHOUT_ACCENT_MARK)
    for two, one in _TRANSLITERATIONS:
        letters = letters.replace(two, one)
    return letters
