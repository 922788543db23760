"""One encoding for each message, and nothing else is taken."""

import dataclasses
from typing import Any

import pytest
from tests.common.secagg.test_binding import BINDING

from fedward_common.errors import MalformedMessageError
from fedward_common.secagg import messages
from fedward_common.secagg.messages import (
    Abandonment,
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    Message,
    RevealedShare,
    RoundKeys,
    ShareAnnouncement,
    ShareAnswer,
    SharePacket,
    Sharer,
    ShareRequest,
    Signed,
    UnmaskAnswer,
    UnmaskRequest,
    decode,
    decode_abandonments,
    encode,
    encode_abandonments,
)
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

SIGNED = Signed(b"body", bytes(64))
HASH = bytes(range(32))
CONFIRMATION = Confirmation("a", bytes(64))
EXAMPLES: list[Message] = [
    SIGNED,
    RoundKeys(BINDING, "a", bytes(1216), bytes(1216)),
    ShareRequest((SIGNED, SIGNED)),
    ShareAnnouncement("a", HASH, HASH, HASH, HASH, (b"", HASH)),
    SharePacket("a", "b", bytes(1088), bytes(148), bytes(1088)),
    SharePacket("b", "a", bytes(1088), bytes(148), b""),
    ShareAnswer(SIGNED, (b"", b"packet"), b"blob"),
    MaskRequest((Sharer(SIGNED, b""), Sharer(SIGNED, b"packet"))),
    ConfirmRequest(HASH, ("a", "b"), ("c",)),
    CONFIRMATION,
    UnmaskRequest(HASH, ("a", "b"), ("c",), (CONFIRMATION,)),
    UnmaskAnswer("a", HASH, (RevealedShare("a", "self-mask", bytes(66)),)),
    Abandonment("a", "aa" * 32),
]
WRONG_VALUES: list[Any] = [None, True, 1.5, {}, [1]]
NAMES = [f"{type(example).__name__} {number}" for number, example in enumerate(EXAMPLES)]


@pytest.mark.parametrize("message", EXAMPLES, ids=NAMES)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(type(message), encode(message)) == message


@pytest.mark.parametrize("message", EXAMPLES, ids=NAMES)
def test_a_missing_or_an_additional_field_is_refused(message: Message) -> None:
    table: dict[str, Any] = decode_canonically(encode(message))
    for name in table:
        fewer = {key: value for key, value in table.items() if key != name}
        with pytest.raises(MalformedMessageError):
            decode(type(message), encode_canonically(fewer))
    with pytest.raises(MalformedMessageError):
        decode(type(message), encode_canonically({**table, "more": 1}))


@pytest.mark.parametrize("message", EXAMPLES, ids=NAMES)
def test_a_field_of_another_type_is_refused(message: Message) -> None:
    table: dict[str, Any] = decode_canonically(encode(message))
    for name in table:
        for wrong in WRONG_VALUES:
            with pytest.raises(MalformedMessageError):
                decode(type(message), encode_canonically({**table, name: wrong}))


@pytest.mark.parametrize("message", EXAMPLES, ids=NAMES)
def test_bytes_that_are_cut_or_go_on_are_refused(message: Message) -> None:
    encoded = encode(message)
    for changed in (encoded[:-1], encoded + b"\0", b"", encoded[1:]):
        with pytest.raises(MalformedMessageError):
            decode(type(message), changed)


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        (EXAMPLES[0], "signature", bytes(63)),
        (EXAMPLES[1], "seal_key", bytes(1215)),
        (EXAMPLES[1], "mask_key", b""),
        (EXAMPLES[3], "directory_sha256", b""),
        (EXAMPLES[3], "self_mask_commitment", bytes(31)),
        (EXAMPLES[3], "packet_sha256s", (bytes(33),)),
        (EXAMPLES[4], "seal_ciphertext", bytes(1087)),
        (EXAMPLES[4], "sealed_shares", bytes(147)),
        (EXAMPLES[4], "mask_ciphertext", b""),
        (EXAMPLES[5], "mask_ciphertext", bytes(1088)),
        (EXAMPLES[9], "signature", bytes(65)),
        (EXAMPLES[11], "transcript_sha256", bytes(31)),
    ],
)
def test_a_key_hash_or_ciphertext_of_another_length_is_refused(
    message: Message, field: str, value: object
) -> None:
    with pytest.raises(MalformedMessageError):
        dataclasses.replace(message, **{field: value})  # type: ignore[arg-type]


def test_a_share_of_another_kind_or_length_is_refused() -> None:
    table: dict[str, Any] = decode_canonically(encode(EXAMPLES[11]))
    share = table["shares"][0]
    for changed in ({**share, "kind": "both"}, {**share, "share": bytes(65)}):
        with pytest.raises(MalformedMessageError):
            decode(UnmaskAnswer, encode_canonically({**table, "shares": [changed]}))


def test_a_share_does_not_show_in_repr() -> None:
    assert "\\x07" not in repr(RevealedShare("a", "recovery", b"\7" * 66))


def test_a_message_beyond_its_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(MalformedMessageError, match="at most"):
        decode(RoundKeys, bytes(9_000))
    with pytest.raises(MalformedMessageError, match="at most"):
        decode(MaskRequest, bytes((16 << 20) + 1))


def test_a_round_of_512_sites_fits_the_sizes() -> None:
    sites = tuple(f"s{number:047}" for number in range(512))
    signed_announcement = Signed(
        encode(ShareAnnouncement(sites[0], HASH, HASH, HASH, HASH, (HASH,) * 512)), bytes(64)
    )
    signed_keys = Signed(encode(RoundKeys(BINDING, sites[0], bytes(1216), bytes(1216))), bytes(64))
    packet = encode(SharePacket(sites[0], sites[1], bytes(1088), bytes(148), bytes(1088)))
    confirmations = tuple(Confirmation(site, bytes(64)) for site in sites)
    shares = tuple(RevealedShare(site, "self-mask", bytes(66)) for site in sites)
    largest: list[Message] = [
        ShareRequest((signed_keys,) * 512),
        ShareAnswer(signed_announcement, (packet,) * 512, bytes(60_000)),
        MaskRequest((Sharer(signed_announcement, packet),) * 512),
        ConfirmRequest(HASH, sites, ()),
        UnmaskRequest(HASH, sites, (), confirmations),
        UnmaskAnswer(sites[0], HASH, shares),
        Signed(encode(UnmaskAnswer(sites[0], HASH, shares)), bytes(64)),
    ]
    for message in largest:
        assert decode(type(message), encode(message)) == message


def test_every_kind_of_signature_has_a_context_of_its_own() -> None:
    contexts = [value for name, value in vars(messages).items() if name.endswith("_CONTEXT")]
    assert len(contexts) == len(set(contexts)) == 5


def test_abandonments_come_apart_as_they_were() -> None:
    assert decode_abandonments(encode_abandonments([b"", b"one", b"two"])) == [b"", b"one", b"two"]


@pytest.mark.parametrize("value", [b"", {}, ["text"], [b"", 1], "text"])
def test_what_is_no_list_of_byte_strings_is_refused(value: Any) -> None:
    with pytest.raises(MalformedMessageError):
        decode_abandonments(encode_canonically(value))


def test_abandonments_in_another_encoding_are_refused() -> None:
    with pytest.raises(MalformedMessageError):
        decode_abandonments(b"\x80\x00")
