import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.common.crypto.crypto_vectors import slow_hkdf, unhex, vectors

from fedward_common.crypto.key_derivation import _expand, derive_key, framed
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError

CASES = vectors("hkdf_sha256")["cases"]
SECRET = SecretBytes(bytes(range(32)))
texts = st.text("ab\x00", max_size=6)


@pytest.mark.parametrize("known", CASES, ids=lambda known: known["name"])
def test_the_slow_derivation_is_that_of_rfc_5869(known: dict[str, str]) -> None:
    ikm, salt, info, okm = unhex(known, "ikm", "salt", "info", "okm")
    assert slow_hkdf(ikm, salt=salt, info=info, num_bytes=int(known["num_bytes"])) == okm


def test_without_salt_the_derivation_is_that_of_rfc_5869() -> None:
    (known,) = (case for case in CASES if not case["salt"])
    ikm, info, okm = unhex(known, "ikm", "info", "okm")
    assert _expand(ikm, info, int(known["num_bytes"])) == okm


@given(secret=st.binary(min_size=32, max_size=80), label=st.text(max_size=20), context=st.binary())
def test_a_key_is_what_the_slow_derivation_gives(secret: bytes, label: str, context: bytes) -> None:
    info = len(label.encode()).to_bytes(2, "big") + label.encode() + context
    derived = derive_key(SecretBytes(secret), label=label, context=context)
    assert derived.reveal() == slow_hkdf(secret, salt=b"", info=info, num_bytes=32)


@given(one=st.tuples(texts, texts), other=st.tuples(texts, texts))
def test_no_two_purposes_share_a_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = [derive_key(SECRET, label=name, context=text.encode()) for name, text in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


def test_the_label_goes_in_front_with_its_length() -> None:
    assert framed("ab", b"cd") == b"\x00\x02abcd"


@pytest.mark.parametrize("num_bytes", [0, 31])
def test_no_key_comes_from_a_secret_that_is_too_short(num_bytes: int) -> None:
    with pytest.raises(MalformedMessageError, match=f"{num_bytes} bytes"):
        derive_key(SecretBytes(bytes(num_bytes)), label="x", context=b"")
