"""Values of plain elements straight from their bytes, which is quicker than pydicom's conversion.

A scan reads forty elements of a million headers. Only what cannot be misread is taken here: ASCII
text and numbers of the common VRs. Everything else is left to pydicom.
"""

from functools import cache
from typing import Any

# PS3.5 section 6.2; of these, text may come in several values and in other character sets
_TEXT = frozenset({"AS", "CS", "DA", "DS", "IS", "LO", "PN", "SH", "UI"})
_MAX_BYTES = 4096
_ESCAPE = b"\x1b"  # of ISO 2022, begins another character set

NOT_PLAIN = object()


def plain_value(dataset: Any, keyword: str) -> Any:
    """Give an element's value where its bytes say it plainly.

    Returns:
        A text, a list of texts, or a whole number; None where the element is absent or empty;
        `NOT_PLAIN` where pydicom must say.
    """
    tag, dictionary_vr = _tag_and_vr(keyword)
    if tag not in dataset:
        return None
    element = dataset.get_item(tag)
    value = element.value if getattr(element, "is_raw", False) else NOT_PLAIN
    if not isinstance(value, bytes) or len(value) > _MAX_BYTES:
        return NOT_PLAIN
    vr = element.VR or dictionary_vr
    if vr in _TEXT and value.isascii() and _ESCAPE not in value:
        return _text_or_texts(value)
    if vr == "US" and len(value) == 2:
        return int.from_bytes(value, "little" if element.is_little_endian else "big")
    return NOT_PLAIN


def _text_or_texts(value: bytes) -> str | list[str] | None:
    text = value.decode("ascii").rstrip(" \0")
    if not text:
        return None
    return text.split("\\") if "\\" in text else text


@cache
def _tag_and_vr(keyword: str) -> tuple[Any, str]:
    from pydicom.datadict import dictionary_VR
    from pydicom.tag import Tag

    tag = Tag(keyword)
    return tag, dictionary_VR(tag)
