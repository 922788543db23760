import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.wire.canonical_cbor import decode_canonically
from fedward_common.wire.envelope import (
    Arrays,
    Subject,
    hash_of_array,
    hashes_of_arrays,
    sign_envelope,
    verify_envelope,
    verify_subject,
)
from fedward_common.wire.header import Header, decode_header
from fedward_common.wire.messages import PROTOCOL_VERSION

KEY = SigningKey.from_raw(bytes(range(32)))
SUBJECT = Subject("consortium", "run-1", "a" * 64, round=3, attempt=1)
ARRAYS: dict[str, Any] = {
    "weights": np.arange(4, dtype=np.float32),
    "sums": np.arange(2, dtype=np.int64),
}


def its_key(_: Header) -> VerifyingKey:
    return KEY.verifying_key


@given(
    body=st.binary(max_size=50),
    run=st.text(max_size=20),
    number=st.integers(0, 2**31),
    values=st.lists(st.floats(width=32), max_size=5),
)
@settings(max_examples=40, deadline=None)
def test_what_was_signed_is_verified_and_says_what_was_meant(
    body: bytes, run: str, number: int, values: list[float]
) -> None:
    subject = dataclasses.replace(SUBJECT, run=run, round=number)
    arrays: Arrays = {"weights": np.array(values, dtype=np.float32)}
    envelope = sign_envelope(
        KEY,
        subject=subject,
        sender="alder",
        recipient="coordinator",
        kind="train.reply",
        body=body,
        arrays_sha256=hashes_of_arrays(arrays),
        in_reply_to="b" * 64,
    )
    header = verify_envelope(envelope, arrays, its_key)
    verify_subject(header, subject, recipient="coordinator")
    assert header == decode_header(envelope.header_bytes)
    assert (header.sender, header.kind, header.in_reply_to) == ("alder", "train.reply", "b" * 64)
    assert header.protocol == PROTOCOL_VERSION
    assert envelope.body == body


def test_the_key_is_chosen_by_the_header_and_a_refusal_of_the_chooser_stands() -> None:
    envelope = sign_envelope(
        KEY, subject=SUBJECT, sender="alder", recipient="", kind="k", body=b"", arrays_sha256={}
    )

    def nobody(header: Header) -> VerifyingKey:
        raise LookupError(header.sender)

    with pytest.raises(LookupError, match="alder"):
        verify_envelope(envelope, {}, nobody)


def test_the_signature_covers_every_field_of_the_header() -> None:
    envelope = sign_envelope(
        KEY, subject=SUBJECT, sender="s", recipient="r", kind="k", body=b"b", arrays_sha256={}
    )
    written = decode_canonically(envelope.header_bytes)
    assert set(written) == {field.name for field in dataclasses.fields(Header)}
    assert envelope.sha256 == hashlib.sha256(envelope.header_bytes).hexdigest()


def test_the_hash_of_an_array_is_that_of_dtype_shape_and_bytes() -> None:
    # 1.0 and 2.0 in IEEE 754, little-endian, by hand
    content = b"float32:(2,):" + bytes.fromhex("0000803f00000040")
    array = np.array([1.0, 2.0], dtype=np.float32)
    assert hash_of_array(array) == hashlib.sha256(content).hexdigest()


def test_shape_dtype_and_content_each_change_the_hash() -> None:
    flat = np.zeros(4, dtype=np.float32)
    different: list[NDArray[np.float32] | NDArray[np.int64]] = [
        flat,
        flat.reshape(2, 2),
        flat.reshape(4, 1),
        np.zeros(2, dtype=np.int64),  # the same 16 bytes
        -flat,  # negative zero
        np.zeros(5, dtype=np.float32),
        np.zeros((0, 3), dtype=np.float32),
        np.zeros((3, 0), dtype=np.float32),
    ]
    assert len({hash_of_array(array) for array in different}) == len(different)


def test_the_hash_does_not_depend_on_how_an_array_lies_in_memory() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = hash_of_array(array)
    assert hash_of_array(np.asfortranarray(array)) == expected
    assert hash_of_array(np.repeat(array, 2, axis=1)[:, ::2]) == expected
    assert hash_of_array(array.astype(">f4")) == expected


def test_hashes_are_named_in_one_order() -> None:
    backwards = dict(reversed(ARRAYS.items()))
    assert (
        list(hashes_of_arrays(ARRAYS)) == list(hashes_of_arrays(backwards)) == ["sums", "weights"]
    )
