from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.messages import plain_dataclass, plain_values
from fedward_common.wire.typed_cbor import UnusualError, decode_typed, encode_typed


@dataclass(frozen=True)
class Inner:
    name: str
    content: bytes


@dataclass(frozen=True)
class Outer:
    number: int
    truth: bool
    kind: Literal["red", "green"]
    maybe: bytes | None
    inner: Inner
    perhaps: Inner | None
    items: tuple[Inner, ...]
    names: tuple[str, ...]
    a_name_that_is_longer_than_24: Mapping[str, bytes]
    by_name: dict[str, Inner]


inners = st.builds(Inner, st.text(max_size=300), st.binary(max_size=300))
outers = st.builds(
    Outer,
    number=st.integers(0, 2**63 - 1),
    truth=st.booleans(),
    kind=st.sampled_from(("red", "green")),
    maybe=st.none() | st.binary(max_size=70_000),
    inner=inners,
    perhaps=st.none() | inners,
    items=st.lists(inners, max_size=30).map(tuple),
    names=st.lists(st.text(), max_size=3).map(tuple),
    a_name_that_is_longer_than_24=st.dictionaries(st.text(max_size=40), st.binary(), max_size=9),
    by_name=st.dictionaries(st.text(max_size=3), inners, max_size=9),
)
SMALL = Outer(300, True, "red", None, Inner("a", b""), None, (Inner("é", b"x"),), (), {}, {})


@given(outers)
def test_the_bytes_are_those_of_the_general_way_and_give_the_same_value(outer: Outer) -> None:
    encoded = encode_typed(outer)
    assert encoded == encode_canonically(plain_values(outer))
    assert decode_typed(Outer, encoded) == outer


@given(outers, st.data())
def test_what_is_taken_is_what_the_general_way_takes(outer: Outer, data: st.DataObject) -> None:
    encoded = bytearray(encode_typed(outer))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(encoded) - 1))
        change = data.draw(st.sampled_from(("set", "cut", "insert")))
        byte = data.draw(st.integers(0, 255))
        if change == "set":
            encoded[place] = byte
        elif change == "cut" and len(encoded) > 1:
            del encoded[place]
        else:
            encoded.insert(place, byte)
    changed = bytes(encoded)
    try:
        taken = decode_typed(Outer, changed)
    except UnusualError:
        return
    assert taken == plain_dataclass(Outer, decode_canonically(changed, max_bytes=1 << 24))


@pytest.mark.parametrize(
    ("name", "other"),
    [("5", "1805"), ("250", "1900fa"), ("65535", "1a0000ffff"), ("7", "1b0000000000000007")],
)
def test_a_number_that_is_not_in_its_shortest_form_is_unusual(name: str, other: str) -> None:
    usual = encode_typed(replace(SMALL, number=int(name)))
    shortest = encode_canonically(int(name))
    assert usual.count(shortest) == 1 or int(name) < 24
    key = encode_canonically("number")
    long = usual.replace(key + shortest, key + bytes.fromhex(other))
    with pytest.raises(UnusualError):
        decode_typed(Outer, long)


@pytest.mark.parametrize(
    "odd",
    [
        replace(SMALL, number=-1),
        replace(SMALL, number=2**63),
        replace(SMALL, number=True),
        replace(SMALL, truth=1),  # type: ignore[arg-type]
        replace(SMALL, kind="blue"),  # type: ignore[arg-type]
        replace(SMALL, kind=[]),  # type: ignore[arg-type]
        replace(SMALL, inner=None),  # type: ignore[arg-type]
        replace(SMALL, items=[]),  # type: ignore[arg-type]
        replace(SMALL, names=(b"a",)),  # type: ignore[arg-type]
        replace(SMALL, inner=Inner("\ud800", b"")),
        replace(SMALL, by_name={1: SMALL.inner}),  # type: ignore[dict-item]
    ],
)
def test_a_value_that_is_not_of_its_type_is_unusual(odd: Outer) -> None:
    with pytest.raises(UnusualError):
        encode_typed(odd)


def test_every_cut_of_a_message_is_unusual() -> None:
    encoded = encode_typed(SMALL)
    for length in range(len(encoded)):
        with pytest.raises(UnusualError):
            decode_typed(Outer, encoded[:length])
    with pytest.raises(UnusualError):
        decode_typed(Outer, encoded + b"\x00")


@dataclass(frozen=True)
class Strange:
    number: float


def test_a_type_that_no_message_has_is_left_to_the_general_way() -> None:
    with pytest.raises(UnusualError):
        encode_typed(Strange(0.5))
    with pytest.raises(UnusualError):
        decode_typed(Strange, b"\xa1fnumber\xf9\x38\x00")


@dataclass(frozen=True)
class Once:
    name: str
    inner: Inner

    remembers_canonical_bytes = True


@given(st.builds(Once, st.text(), inners), st.text())
def test_what_remembers_its_bytes_gives_the_same_ones_and_a_changed_copy_its_own(
    once: Once, other: str
) -> None:
    expected = encode_canonically(plain_values(once))
    assert [encode_typed(once), encode_typed(once)] == [expected, expected]
    assert once == decode_typed(Once, expected)
    changed = replace(once, name=other)
    assert encode_typed(changed) == encode_canonically(plain_values(changed))
