"""The fast way of a header against the general one, which is slower and known to be right."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedward_common.errors import FedwardError, MalformedMessageError
from fedward_common.wire import header as header_module
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_common.wire.header import Header, decode_header, encode_header
from fedward_common.wire.messages import PROTOCOL_VERSION, plain_dataclass

HEADER = Header(
    protocol=PROTOCOL_VERSION,
    consortium="simulation",
    run="a1b2c3d4",
    round=300,
    attempt=1,
    manifest_sha256="a" * 64,
    sender="alder",
    recipient="coordinator",
    kind="train.reply",
    in_reply_to="b" * 64,
    body_sha256="c" * 64,
    arrays_sha256={"sums": "d" * 64, "update": "e" * 64},
)

# Where the length of a head changes, RFC 8949 section 3.
EDGES = (0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1)
numbers = st.sampled_from(EDGES) | st.integers(1 - 2**63, 2**63 - 1)  # what a header may hold
lengths = st.sampled_from((0, 22, 23, 24, 25, 255, 256, 300))
texts = st.text(max_size=30) | lengths.map(lambda length: "x" * length)
headers = st.builds(
    Header,
    protocol=st.just(PROTOCOL_VERSION),
    consortium=texts,
    run=texts,
    round=numbers,
    attempt=numbers,
    manifest_sha256=texts,
    sender=texts,
    recipient=texts,
    kind=texts,
    in_reply_to=texts,
    body_sha256=texts,
    arrays_sha256=st.dictionaries(texts, texts, max_size=4)
    | st.integers(20, 30).map(lambda count: {f"array{n}": "f" for n in range(count)}),
)


def decoded_the_general_way(unverified: bytes) -> Header:
    plain = decode_canonically(unverified, max_bytes=header_module.MAX_HEADER_BYTES)
    return plain_dataclass(Header, plain)


def outcome(decode: Callable[[bytes], Header], unverified: bytes) -> Header | tuple[str, str]:
    """Give the header, or what the error says."""
    try:
        return decode(unverified)
    except FedwardError as error:
        return error.code, str(error)


@given(header=headers)
def test_a_header_has_the_canonical_bytes_of_its_fields_and_comes_back(header: Header) -> None:
    encoded = encode_header(header)
    assert encoded == encode_canonically(dict(vars(header)))
    if len(encoded) <= header_module.MAX_HEADER_BYTES:
        assert decode_header(encoded) == header
        order = list(decode_header(encoded).arrays_sha256)
        assert order == list(decoded_the_general_way(encoded).arrays_sha256)


@given(header=headers, data=st.data())
def test_bytes_that_were_changed_are_read_or_refused_as_the_general_way_does(
    header: Header, data: st.DataObject
) -> None:
    changed = bytearray(encode_header(data.draw(st.sampled_from([header, HEADER]))))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed)))
        gone = data.draw(st.integers(0, 3))
        changed[at : at + gone] = data.draw(st.binary(max_size=3))
    found = outcome(decode_header, bytes(changed))
    expected = outcome(decoded_the_general_way, bytes(changed))
    if isinstance(expected, Header) and expected.protocol != PROTOCOL_VERSION:
        assert isinstance(found, tuple)
        is_newer = expected.protocol > PROTOCOL_VERSION
        assert found[0] == ("PROTOCOL_TOO_NEW" if is_newer else "PROTOCOL_TOO_OLD")
    else:
        assert found == expected


@given(unverified=st.binary(max_size=40))
@example(b"")
@example(b"\xac")
def test_bytes_that_are_no_header_are_malformed(unverified: bytes) -> None:
    with pytest.raises(MalformedMessageError):
        decode_header(unverified)


@pytest.mark.parametrize("at", range(0, len(encode_header(HEADER)), 5))
def test_a_header_cut_short_is_malformed(at: int) -> None:
    with pytest.raises(MalformedMessageError):
        decode_header(encode_header(HEADER)[:at])


# One byte string a line: what is there, what a lax reader would take in its place.
OTHER_ENCODINGS = [
    pytest.param(b"\x65alder", b"\x78\x05alder", id="a length in one byte more"),
    pytest.param(b"\x65alder", b"\x79\x00\x05alder", id="a length in two bytes more"),
    pytest.param(b"\x65alder", b"\x7f\x65alder\xff", id="a text of indefinite length"),
    pytest.param(b"\x65alder", b"\x45alder", id="bytes for text"),
    pytest.param(b"\x65alder", b"\x65alde\xff", id="no UTF-8"),
    pytest.param(b"\x67attempt\x01", b"\x67attempt\x18\x01", id="a number in one byte more"),
    pytest.param(b"\x67attempt\x01", b"\x67attempt\xf5", id="true for 1"),
    pytest.param(b"\x67attempt\x01", b"\x67attempt\xf9\x3c\x00", id="1.0 for 1"),
    pytest.param(b"\x65round\x19\x01\x2c", b"\x65round\x1a\x00\x00\x01\x2c", id="four bytes for 2"),
    pytest.param(b"\x65round\x19\x01\x2c", b"\x65round\x19\x00\xff", id="two bytes for 1"),
    pytest.param(b"\xac\x63run", b"\xb8\x0c\x63run", id="a map's length in one byte more"),
    pytest.param(b"\xac\x63run", b"\xc1\xac\x63run", id="a tag"),
    pytest.param(b"\x64sums\x78\x40" + b"d" * 64, b"", id="an array fewer than said"),
    pytest.param(b"\x64sums", b"\x66update", id="one array twice"),
    pytest.param(b"\x64sums", b"\x66zzzzzz", id="arrays in another order"),
]


@pytest.mark.parametrize(("canonical", "other"), OTHER_ENCODINGS)
def test_another_encoding_of_the_same_header_is_malformed(canonical: bytes, other: bytes) -> None:
    encoded = encode_header(HEADER)
    assert encoded.count(canonical) == 1
    with pytest.raises(MalformedMessageError):
        decode_header(encoded.replace(canonical, other))


def test_bytes_after_a_header_are_malformed() -> None:
    with pytest.raises(MalformedMessageError):
        decode_header(encode_header(HEADER) + b"\x00")


def test_a_header_of_more_than_8192_bytes_is_malformed() -> None:
    arrays = {f"{number:03d}": "f" * 255 for number in range(23)}
    names: list[str] = ["consortium", "run", "sender", "recipient", "kind", "in_reply_to"]
    fields: dict[str, Any] = dict.fromkeys(names, "x" * 255)
    long = replace(HEADER, arrays_sha256=arrays, **fields)
    assert decode_header(encode_header(long)) == long
    with pytest.raises(MalformedMessageError, match="at most 8192"):
        decode_header(encode_header(replace(long, arrays_sha256=arrays | {"m" * 255: "f" * 255})))


def test_another_protocol_is_named() -> None:
    with pytest.raises(MalformedMessageError, match="protocol 99 came") as caught:
        decode_header(encode_header(replace(HEADER, protocol=99)))
    assert caught.value.code == "PROTOCOL_TOO_NEW"


class _NotPlainText(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "field",
    [
        {"round": 2**64},
        {"sender": "\ud800"},
        {"sender": _NotPlainText("alder")},
        {"arrays_sha256": {1: "a"}},
        {"arrays_sha256": {"\ud800": "a"}},
    ],
)
def test_a_field_that_is_not_plain_is_not_encoded(field: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessageError):
        encode_header(replace(HEADER, **field))


def test_a_usual_header_never_goes_the_general_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def general(*_: object, **__: object) -> None:
        pytest.fail("the general way was gone")

    for name in ("encode_canonically", "decode_canonically", "plain_dataclass"):
        monkeypatch.setattr(header_module, name, general)
    assert decode_header(encode_header(HEADER)) == HEADER
