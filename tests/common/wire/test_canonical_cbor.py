import json
import math
import struct
from pathlib import Path
from typing import Any

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_common.errors import MalformedMessageError
from fedward_common.wire.canonical_cbor import (
    MAX_DEPTH,
    MAX_MESSAGE_BYTES,
    decode_canonically,
    encode_canonically,
)

_VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "cbor.json").read_text()
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=60)
    | st.binary(max_size=60)
)
plain_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner),
    max_leaves=12,
)


def same(left: object, right: object) -> bool:
    """Equal in value, type and, for floats, in sign."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, float) and isinstance(right, float):
        return struct.pack("d", left) == struct.pack("d", right)
    return type(left) is type(right) and left == right


def by_hand(text: str) -> bytes:
    return bytes.fromhex(text)


def nested_lists(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(("encoded", "value"), _VECTORS["accepted"], ids=repr)
def test_an_example_of_rfc_8949_is_read_and_written(encoded: str, value: Any) -> None:
    assert same(decode_canonically(by_hand(encoded)), value)
    assert encode_canonically(value) == by_hand(encoded)


@pytest.mark.parametrize(("encoded", "content"), _VECTORS["bytes"])
def test_an_example_of_bytes_is_read_and_written(encoded: str, content: str) -> None:
    assert decode_canonically(by_hand(encoded)) == by_hand(content)
    assert encode_canonically(by_hand(content)) == by_hand(encoded)


@pytest.mark.parametrize(
    "encoded", [item[0] for item in _VECTORS["refused"] + _VECTORS["non_canonical"]]
)
def test_what_is_not_plain_or_not_the_one_encoding_is_refused(encoded: str) -> None:
    with pytest.raises(MalformedMessageError):
        decode_canonically(by_hand(encoded))


@given(value=plain_values)
@settings(max_examples=150, deadline=None)
def test_a_plain_value_comes_back_as_it_was(value: Any) -> None:
    encoded = encode_canonically(value)
    assert same(decode_canonically(encoded), value)
    assert len(encoded) > 0


@given(value=plain_values)
@settings(max_examples=30, deadline=None)
def test_every_truncation_and_every_extra_byte_is_refused(value: Any) -> None:
    encoded = encode_canonically(value)
    for length in range(len(encoded)):
        with pytest.raises(MalformedMessageError):
            decode_canonically(encoded[:length])
    for extra in (b"\x00", b"\xf6", b"\xff"):
        with pytest.raises(MalformedMessageError):
            decode_canonically(encoded + extra)


@given(unverified=st.binary(max_size=64))
@settings(max_examples=400, deadline=None)
def test_random_bytes_are_canonical_or_refused(unverified: bytes) -> None:
    try:
        value = decode_canonically(unverified)
    except MalformedMessageError:
        return
    assert encode_canonically(value) == unverified


@given(value=plain_values, data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_flipped_bit_never_gives_the_same_value(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode_canonically(value))
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    try:
        assert not same(decode_canonically(bytes(encoded)), value)
    except MalformedMessageError:
        return


@given(table=st.dictionaries(st.text(max_size=40), st.integers(0, 9), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_order_in_which_a_table_was_filled_does_not_show(table: dict[str, int]) -> None:
    backwards = dict(reversed(table.items()))
    assert encode_canonically(table) == encode_canonically(backwards)


def test_a_message_of_2_mb_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedMessageError, match="at most 1048576"):
        decode_canonically(cbor2.dumps(bytes(2 * MAX_MESSAGE_BYTES)))


def test_the_limit_counts_every_byte() -> None:
    encoded = encode_canonically(bytes(95))  # and two bytes of head
    assert decode_canonically(encoded, max_bytes=97) == bytes(95)
    with pytest.raises(MalformedMessageError, match="97 bytes came"):
        decode_canonically(encoded, max_bytes=96)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x81" * 1000 + b"\x00",
        b"\x81" * 1_000_000 + b"\x00",
        b"\xa1\x61\x61" * 1000 + b"\x00",
        b"\xa1\x61\x61" * 300_000 + b"\x00",
        b"\x82\x00" * 1000 + b"\x00\x00",
        b"\x9f" * 1000 + b"\xff" * 1000,
        b"\xc1" * 1000 + b"\x00",
        b"\x98\x01" * 1000 + b"\x00",
        b"\x85" + b"\x00" * 4 + b"\x81" * 1000 + b"\x00",
    ],
    ids=[
        "lists", "a million lists", "maps", "many maps", "pairs", "indefinite", "tags",
        "long heads", "behind others",
    ],
)  # fmt: skip
def test_a_thousand_levels_are_refused_before_a_recursive_decoder_sees_them(
    bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cbor2, "loads", lambda _: pytest.fail("cbor2 saw it"))
    with pytest.raises(MalformedMessageError):
        decode_canonically(bomb)


@pytest.mark.parametrize("encoded", [item[0] for item in _VECTORS["refused"] if "tag" in item[1]])
def test_a_tag_is_refused_before_cbor2_makes_an_object_of_it(
    encoded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cbor2, "loads", lambda _: pytest.fail("cbor2 saw it"))
    with pytest.raises(MalformedMessageError, match="tag"):
        decode_canonically(by_hand(encoded))


@pytest.mark.parametrize("head", ["5b", "7b", "9b", "bb"])
@pytest.mark.parametrize("claimed", ["7fffffffffffffff", "ffffffffffffffff", "0000000100000000"])
def test_a_length_beyond_the_body_is_refused(head: str, claimed: str) -> None:
    with pytest.raises(MalformedMessageError):
        decode_canonically(by_hand(head + claimed) + b"\x00" * 20)


def test_as_many_levels_as_allowed_come_back_and_one_more_does_not() -> None:
    deepest = nested_lists(MAX_DEPTH)
    assert decode_canonically(encode_canonically(deepest)) == deepest
    with pytest.raises(MalformedMessageError, match="deep"):
        encode_canonically([deepest])
    with pytest.raises(MalformedMessageError, match="deep"):
        decode_canonically(cbor2.dumps([deepest]))


@pytest.mark.parametrize(
    "content",
    ["д" * 500, "שלום" * 100, "Ω" * 60, bytes([0x81] * 4000), bytes([0xA1, 0x9F] * 900)],
    ids=["Cyrillic", "Hebrew", "Greek", "list heads", "map heads"],
)
def test_bytes_inside_a_text_are_not_taken_for_nesting(content: Any) -> None:
    value = {"purpose": content}
    assert decode_canonically(encode_canonically(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**63) - 1,
        10**400,
        {1: "a"},
        {b"a": 1},
        {None: 1},
        {1, 2},
        object(),
        1j,
        np.float32(1),
        np.int64(1),
        np.zeros(2),
        bytearray(b"a"),
        "\ud800",
        {"\udfff": 1},
        cbor2.undefined,
        cbor2.CBORTag(1, 0),
        [[{"a": math.nan}]],
    ],
    ids=lambda value: f"{type(value).__name__} {str(value)[:12]!a}",
)
def test_what_is_not_plain_is_not_written(value: Any) -> None:
    with pytest.raises(MalformedMessageError):
        encode_canonically(value)


def test_a_list_that_holds_itself_is_not_written() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(MalformedMessageError, match="deep"):
        encode_canonically(endless)
