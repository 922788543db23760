import os
import tracemalloc

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.crypto.crypto_vectors import replayed, slow_hkdf, unhex, vectors
from tests.common.crypto.recorded_kem import RecordedKem

from fedward_common.crypto import sealing
from fedward_common.crypto.key_agreement import (
    HybridPrivateKey,
    HybridPublicKey,
    SystemKem,
    diffie_hellman_with_point,
)
from fedward_common.crypto.sealing import (
    BOX_HEADER_BYTES,
    TAG_BYTES,
    open_box,
    open_sealed,
    seal,
    seal_into,
    seal_to,
)
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import (
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)

GCM = vectors("aes256_gcm")
MLKEM = vectors("mlkem768")["decapsulation"]
X25519 = vectors("x25519")["agreement"]
KEY = SecretBytes(bytes(range(32)))
ALICE, BOB = (HybridPrivateKey.from_secret(SecretBytes(bytes([n]) * 96)) for n in (1, 2))
texts = st.binary(max_size=200)


def box_for(private: HybridPrivateKey, text: bytes, associated: bytes = b"") -> bytes:
    return seal_to(private.public, text, associated=associated, entropy=os.urandom, kem=SystemKem())


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# One key, one message


@pytest.mark.parametrize("known", [*GCM["specification"], *GCM["zero_nonce"]])
def test_a_sealed_message_is_that_of_another_implementation(known: dict[str, str]) -> None:
    key, text, associated, sealed = unhex(known, "key", "plaintext", "associated", "sealed")
    assert seal(SecretBytes(key), text, associated=associated) == sealed
    assert open_sealed(SecretBytes(key), sealed, associated=associated) == text


@given(text=texts, associated=texts, more=st.integers(0, 40))
def test_sealed_into_memory_of_the_caller_it_is_the_same(
    text: bytes, associated: bytes, more: int
) -> None:
    room = bytearray(len(text) + TAG_BYTES + more)
    sealed = seal_into(KEY, text, associated=associated, room=memoryview(room))
    assert sealed == seal(KEY, text, associated=associated)
    assert room[: len(sealed)] == sealed
    assert not any(room[len(sealed) :])


def test_room_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer"):
        seal_into(KEY, b"text", associated=b"", room=memoryview(bytearray(3 + TAG_BYTES)))


@given(key=st.binary(min_size=32, max_size=32), text=texts, associated=texts)
def test_what_was_sealed_opens(key: bytes, text: bytes, associated: bytes) -> None:
    sealed = seal(SecretBytes(key), text, associated=associated)
    assert len(sealed) == len(text) + 16
    assert open_sealed(SecretBytes(key), sealed, associated=associated) == text


@given(text=texts, data=st.data())
def test_a_flipped_bit_does_not_open(text: bytes, data: st.DataObject) -> None:
    sealed = seal(KEY, text, associated=b"to bob")
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    with pytest.raises(UnverifiedMessageError, match="does not open"):
        open_sealed(KEY, flipped(sealed, bit), associated=b"to bob")


@given(associated=texts.filter(lambda given: given != b"to bob"))
def test_a_message_sealed_for_one_purpose_opens_for_no_other(associated: bytes) -> None:
    with pytest.raises(UnverifiedMessageError):
        open_sealed(KEY, seal(KEY, b"text", associated=b"to bob"), associated=associated)


@pytest.mark.parametrize("num_bytes", range(20))
def test_a_message_cut_short_does_not_open(num_bytes: int) -> None:
    sealed = seal(KEY, b"text", associated=b"")
    with pytest.raises(UnverifiedMessageError):
        open_sealed(KEY, sealed[:num_bytes], associated=b"")


@pytest.mark.parametrize("bit", [0, 100, 255])
def test_a_message_opens_under_no_other_key(bit: int) -> None:
    other = SecretBytes(flipped(KEY.reveal(), bit))
    with pytest.raises(UnverifiedMessageError):
        open_sealed(other, seal(KEY, b"text", associated=b""), associated=b"")


@pytest.mark.parametrize("num_bytes", [0, 16, 24, 31, 33])
def test_no_shorter_key_is_taken(num_bytes: int) -> None:
    key = SecretBytes(bytes(num_bytes))
    with pytest.raises(MalformedMessageError, match="32 are needed"):
        seal(key, b"text", associated=b"")
    with pytest.raises(MalformedMessageError, match="32 are needed"):
        open_sealed(key, bytes(20), associated=b"")


def test_a_message_longer_than_the_cipher_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_PLAINTEXT_BYTES", 3)
    with pytest.raises(ConfigurationError, match="has 4 bytes, 3 are the most"):
        seal(KEY, b"text", associated=b"")
    with pytest.raises(ConfigurationError, match="has 4 bytes, 3 are the most"):
        box_for(BOB, b"text")


def test_the_refusal_shows_nothing_of_key_or_message() -> None:
    with pytest.raises(UnverifiedMessageError) as refused:
        open_sealed(KEY, bytes(range(48)), associated=b"patient")
    assert "patient" not in f"{refused.value} {refused.value.hint}"
    assert refused.value.code == "UNVERIFIED_MESSAGE"


# To the holder of a key


def test_a_box_is_built_from_the_parts_that_its_description_names() -> None:
    (known, point_secret) = (MLKEM[0], bytes.fromhex(X25519["private"][0]))
    bob = HybridPrivateKey.from_secret(
        SecretBytes(bytes.fromhex(X25519["private"][1]) + b"".join(unhex(known, "d", "z")))
    )
    ciphertext, secret = unhex(known, "ciphertext", "secret")
    box = seal_to(
        bob.public,
        b"weights",
        associated=b"round 3",
        entropy=replayed(point_secret),
        kem=RecordedKem([(ciphertext, SecretBytes(secret))]),
    )
    header = bytes.fromhex(X25519["public"][0]) + ciphertext
    label = b"fedward sealed box v1"
    key = slow_hkdf(
        secret + bytes.fromhex(X25519["shared"]),
        salt=b"",
        info=len(label).to_bytes(2, "big") + label + bob.public.to_bytes() + header,
        num_bytes=32,
    )
    assert box == header + AESGCM(key).encrypt(bytes(12), b"weights", b"round 3")
    assert open_box(bob, box, associated=b"round 3") == b"weights"


@given(text=texts, associated=texts)
@settings(max_examples=30)
def test_what_was_sealed_to_a_key_opens_with_it(text: bytes, associated: bytes) -> None:
    box = box_for(BOB, text, associated)
    assert len(box) == BOX_HEADER_BYTES + len(text) + 16
    assert open_box(BOB, box, associated=associated) == text


@given(data=st.data())
@settings(max_examples=100)
def test_a_box_with_a_flipped_bit_does_not_open(data: st.DataObject) -> None:
    box = box_for(BOB, b"weights")
    bit = data.draw(st.integers(0, 8 * len(box) - 1))
    with pytest.raises(UnverifiedMessageError):
        open_box(BOB, flipped(box, bit), associated=b"")


def test_the_ignored_bit_of_the_point_is_bound_too() -> None:
    changed = flipped(box_for(BOB, b"weights"), 8 * 31 + 7)
    private = BOB
    assert diffie_hellman_with_point(private, changed[:32])  # the same point, other bytes
    with pytest.raises(UnverifiedMessageError):
        open_box(private, changed, associated=b"")


def test_a_box_opens_for_its_recipient_and_purpose_alone() -> None:
    box = box_for(BOB, b"weights", b"round 3")
    with pytest.raises(UnverifiedMessageError):
        open_box(ALICE, box, associated=b"round 3")
    with pytest.raises(UnverifiedMessageError):
        open_box(BOB, box, associated=b"round 4")


@pytest.mark.parametrize("half", ["x25519", "mlkem768"])
def test_a_box_needs_both_private_halves(half: str) -> None:
    bob, alice = BOB.to_secret().reveal(), ALICE.to_secret().reveal()
    mixed = alice[:32] + bob[32:] if half == "x25519" else bob[:32] + alice[32:]
    with pytest.raises(UnverifiedMessageError):
        open_box(
            HybridPrivateKey.from_secret(SecretBytes(mixed)), box_for(BOB, b"x"), associated=b""
        )


def test_two_boxes_of_one_message_share_no_part() -> None:
    one, other = box_for(BOB, b"weights"), box_for(BOB, b"weights")
    assert one[:32] != other[:32]
    assert one[32:BOX_HEADER_BYTES] != other[32:BOX_HEADER_BYTES]
    assert one[BOX_HEADER_BYTES:] != other[BOX_HEADER_BYTES:]


@pytest.mark.parametrize("num_bytes", [0, 32, BOX_HEADER_BYTES, BOX_HEADER_BYTES + 15])
def test_a_box_cut_short_is_malformed(num_bytes: int) -> None:
    with pytest.raises(MalformedMessageError, match=f"has {num_bytes} bytes"):
        open_box(BOB, box_for(BOB, b"weights")[:num_bytes], associated=b"")


def test_nothing_is_sealed_to_a_point_of_low_order() -> None:
    public = HybridPublicKey(bytes(32), BOB.public.mlkem768)
    with pytest.raises(UnverifiedMessageError, match="low order"):
        seal_to(public, b"weights", associated=b"", entropy=os.urandom, kem=SystemKem())


def test_a_box_whose_point_is_of_low_order_does_not_open() -> None:
    with pytest.raises(UnverifiedMessageError, match="low order"):
        open_box(BOB, bytes(32) + box_for(BOB, b"weights")[32:], associated=b"")


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
@pytest.mark.parametrize("num_values", [0, 1, 5])
def test_an_array_is_sealed_by_its_bytes(dtype: type[np.generic], num_values: int) -> None:
    array = np.arange(num_values).astype(dtype)
    box = seal_to(BOB.public, array.data, associated=b"", entropy=os.urandom, kem=SystemKem())
    opened = open_box(BOB, bytearray(box), associated=b"")
    assert opened == array.tobytes()
    sealed = np.frombuffer(seal(KEY, array.data, associated=b""), dtype=np.uint8)
    assert open_sealed(KEY, sealed.data, associated=b"") == array.tobytes()


def test_a_large_message_is_copied_once_in_sealing_and_once_in_opening() -> None:
    text = bytes(8_000_000)
    tracemalloc.start()
    try:
        box = box_for(BOB, text)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * len(text)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        opened = open_box(BOB, box, associated=b"")
        assert tracemalloc.get_traced_memory()[1] - before < 1.1 * len(text)
    finally:
        tracemalloc.stop()
    assert opened == text
