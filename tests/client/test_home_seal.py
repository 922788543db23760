"""Seals: what was sealed is read back, and nothing else is."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.home_seal import open_sealed_table, seal_of, sealed_table, verify_seal
from fedward_common.errors import CorruptFileError

KEY = bytes(range(32))
DAMAGED = CorruptFileError("the file is damaged", hint="restore it")

contents = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


def test_a_seal_is_hmac_sha256_of_domain_label_and_parts() -> None:
    text = b"fedward seal v1\0" + b"label\0" + b"ab" + b"c"
    assert seal_of(KEY, "label", [b"ab", b"c"]) == hmac.new(KEY, text, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("key", "label", "parts"),
    [(KEY[::-1], "label", b"a"), (KEY, "other", b"a"), (KEY, "label", b"b")],
)
def test_a_seal_of_anything_else_does_not_fit(key: bytes, label: str, parts: bytes) -> None:
    seal = seal_of(KEY, "label", [b"a"])
    verify_seal(KEY, "label", [b"a"], seal, DAMAGED)
    with pytest.raises(CorruptFileError):
        verify_seal(key, label, [parts], seal, DAMAGED)
    for unverified in ("", seal[:-1], seal.upper(), "\N{SNOWMAN}" * 64):
        with pytest.raises(CorruptFileError):
            verify_seal(KEY, "label", [b"a"], unverified, DAMAGED)


@given(content=contents)
def test_a_sealed_table_is_read_back(content: dict[str, str]) -> None:
    assert open_sealed_table(KEY, "s/1", sealed_table(KEY, "s/1", content), DAMAGED) == content


@given(content=contents, other=contents)
def test_another_content_under_the_same_seal_is_refused(
    content: dict[str, str], other: dict[str, str]
) -> None:
    table = json.loads(sealed_table(KEY, "s/1", content))
    forged = json.dumps({**table, "content": other}).encode()
    if content == other:
        assert open_sealed_table(KEY, "s/1", forged, DAMAGED) == content
    else:
        with pytest.raises(CorruptFileError):
            open_sealed_table(KEY, "s/1", forged, DAMAGED)


@pytest.mark.parametrize(
    "unverified", [b"", b"{}", b"[]", b"null", b"\xff", b'{"schema":"s/1","seal":"","content":[]}']
)
def test_what_is_no_sealed_table_is_refused(unverified: bytes) -> None:
    with pytest.raises(CorruptFileError):
        open_sealed_table(KEY, "s/1", unverified, DAMAGED)
