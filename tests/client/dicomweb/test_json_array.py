"""Objects of a JSON array, cut anywhere, one at a time."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.dicomweb.json_array import objects_of
from fedward_client.dicomweb.problems import DicomWebError, PassingError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=3)


def read(blocks: list[bytes], limit: int = 10_000) -> list[Any]:
    return list(objects_of(blocks, max_object_characters=limit))


@given(
    array=st.lists(objects, max_size=4),
    places=st.lists(st.integers(0, 5000), max_size=6),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_objects_come_back_however_the_text_is_cut(
    array: list[Any], places: list[int], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(array, indent=indent, ensure_ascii=ascii_only)
    content = text.encode("utf-8", "surrogatepass" if ascii_only else "replace")
    edges = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    blocks = [content[a:b] for a, b in itertools.pairwise(edges)]
    assert read(blocks) == json.loads(content)


def test_nothing_is_an_empty_array() -> None:
    assert read([]) == read([b" \n"]) == read([b"[ ]"]) == []


@pytest.mark.parametrize(
    "content",
    [b"{", b"{}", b"[", b"[{}", b"[{},", b"[{} {}]", b"[1]", b"[{}] x", b'[{"a": NaN}]', b'[{"a":',
     b"\xff", b'[{"a": "\xc3"}]', b"null", b"<html>", b'[{"a":' * 200_000],
)  # fmt: skip
def test_what_is_no_array_of_objects_is_an_error(content: bytes) -> None:
    with pytest.raises(PassingError):
        read([content], 10_000_000)


def test_an_object_beyond_the_limit_is_refused_before_it_is_whole() -> None:
    asked = 0

    def blocks() -> Iterator[bytes]:
        nonlocal asked
        yield b'[{"a": "'
        while True:
            asked += 1
            yield b"x" * 1000

    with pytest.raises(DicomWebError) as caught:
        list(objects_of(blocks(), max_object_characters=20_000))
    assert caught.value.code == "E_SERVER_TOO_LARGE"
    assert asked < 100


def test_many_objects_take_the_space_of_one() -> None:
    one = b'{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}'
    blocks = (b"[" + one if n == 0 else b"," + one for n in range(10_000))
    assert sum(1 for _ in objects_of((*blocks, b"]"), max_object_characters=200)) == 10_000
