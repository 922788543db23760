"""Multipart bodies, cut anywhere, in the space of a block."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.dicomweb.multipart import (
    MalformedBodyError,
    PartStart,
    media_type_of,
    read_parts,
)

BOUNDARY = "b0und"


def message_of(contents: list[bytes]) -> bytes:
    parts = [
        b"--b0und\r\nContent-Type: application/dicom\r\nX: y\r\n\r\n" + content + b"\r\n"
        for content in contents
    ]
    return b"a preamble\r\n" + b"".join(parts) + b"--b0und--\r\nan epilogue"


def cut(content: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(content) + 1) for place in places), len(content)]
    return [content[a:b] for a, b in itertools.pairwise(edges)]


def batched(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def parts_of(blocks: list[bytes]) -> list[bytes]:
    parts: list[bytes] = []
    for piece in read_parts(blocks, BOUNDARY):
        if isinstance(piece, PartStart):
            assert piece.media_type == "application/dicom"
            parts.append(b"")
        else:
            parts[-1] += piece
    return parts


@given(
    contents=st.lists(
        st.lists(
            st.sampled_from([b"\r", b"\n", b"-", b"\r\n--", b"\r\n--b0un", b"x", b"\0"]), max_size=9
        ).map(b"".join),
        min_size=1,
        max_size=3,
    ),
    places=st.lists(st.integers(0, 10_000), max_size=8),
)
def test_parts_come_back_however_the_message_is_cut_into_blocks(
    contents: list[bytes], places: list[int]
) -> None:
    assert parts_of(cut(message_of(contents), places)) == contents


@given(end=st.integers(0, 10_000))
def test_a_message_that_is_cut_short_is_an_error(end: int) -> None:
    whole = message_of([b"first", b"second"])
    last_needed = whole.rindex(b"--\r\nan epilogue") + 2
    with pytest.raises(MalformedBodyError):
        parts_of([whole[: end % last_needed]])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no delimiter at all",
        b"--b0und\r\nno colon\r\n\r\nx\r\n--b0und--",
        b"--b0undX\r\n\r\nx\r\n--b0und--",
        b"--b0und\r\n" + b"A: b\r\n" * 10_000 + b"\r\nx\r\n--b0und--",
        b"--b0und\r\nA: " + b"b" * 100_000 + b"\r\n\r\nx\r\n--b0und--",
        b"x" * 100_000 + b"\r\n--b0und\r\n\r\nx\r\n--b0und--",
        b"--b0und\r\n\r\nx\r\n--b0und--" + b"e" * 100_000,
    ],
)
def test_what_is_no_multipart_message_is_an_error(content: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        list(read_parts(batched(content, 1000), BOUNDARY))


@pytest.mark.parametrize("boundary", ["", "a b ", "x" * 300, "a\r\nb", "ä"])
def test_a_boundary_that_no_message_may_have_is_an_error(boundary: str) -> None:
    with pytest.raises(MalformedBodyError):
        list(read_parts([b"--x\r\n\r\n"], boundary))


def test_a_content_type_is_split_into_type_and_parameters() -> None:
    kind, parameters = media_type_of('Multipart/Related; type="application/dicom"; boundary="a=b"')
    assert kind == "multipart/related"
    assert parameters["boundary"] == "a=b"
