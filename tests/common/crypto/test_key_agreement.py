import hashlib
import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.crypto.crypto_vectors import replayed, slow_hkdf, unhex, vectors
from tests.common.crypto.recorded_kem import RecordedKem, RecordingKem

from fedward_common.crypto.key_agreement import (
    HybridPrivateKey,
    HybridPublicKey,
    Kem,
    SystemKem,
    combined_key,
    decapsulate,
    diffie_hellman,
    diffie_hellman_with_point,
    ephemeral_diffie_hellman,
)
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import (
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)

X25519 = vectors("x25519")
MLKEM = vectors("mlkem768")
ML_KEM_MODULUS = 3329
seeds = st.binary(min_size=96, max_size=96)


def key_of(seed: bytes) -> HybridPrivateKey:
    return HybridPrivateKey.from_secret(SecretBytes(seed))


def x25519_key(scalar: str) -> HybridPrivateKey:
    return key_of(bytes.fromhex(scalar) + bytes(64))


def mlkem_key(known: dict[str, str]) -> HybridPrivateKey:
    return key_of(bytes(32) + b"".join(unhex(known, "d", "z")))


ALICE, BOB = key_of(bytes(range(96))), key_of(bytes(range(1, 97)))


# X25519


@pytest.mark.parametrize("known", X25519["multiplication"])
def test_x25519_is_that_of_rfc_7748(known: dict[str, str]) -> None:
    agreed = diffie_hellman_with_point(x25519_key(known["scalar"]), bytes.fromhex(known["u"]))
    assert agreed.reveal().hex() == known["product"]


def test_x25519_iterated_is_that_of_rfc_7748() -> None:
    known = X25519["iterated"]
    scalar = point = known["start"]
    for number in range(1, 1001):
        product = diffie_hellman_with_point(x25519_key(scalar), bytes.fromhex(point))
        scalar, point = product.reveal().hex(), scalar
        assert number != 1 or scalar == known["after_1"]
    assert scalar == known["after_1000"]


def test_two_parties_agree_on_the_secret_of_rfc_7748() -> None:
    known = X25519["agreement"]
    one, other = (x25519_key(private) for private in known["private"])
    assert [one.public.x25519.hex(), other.public.x25519.hex()] == known["public"]
    assert diffie_hellman(one, other.public).reveal().hex() == known["shared"]
    assert diffie_hellman(other, one.public).reveal().hex() == known["shared"]


@pytest.mark.parametrize("point", X25519["low_order"])
@pytest.mark.parametrize("top_bit", [0x00, 0x80], ids=["plain", "top bit set"])
def test_a_point_of_low_order_is_refused(point: str, top_bit: int) -> None:
    raw = bytearray.fromhex(point)
    raw[31] |= top_bit  # RFC 7748 section 5: the bit is ignored
    peer = HybridPublicKey(bytes(raw), BOB.public.mlkem768)
    with pytest.raises(UnverifiedMessageError, match="low order"):
        diffie_hellman(ALICE, peer)
    with pytest.raises(UnverifiedMessageError, match="low order"):
        ephemeral_diffie_hellman(peer, os.urandom)


@pytest.mark.parametrize("num_bytes", [0, 31, 33])
def test_a_point_of_another_length_is_refused(num_bytes: int) -> None:
    with pytest.raises(UnverifiedMessageError, match="32 bytes"):
        diffie_hellman_with_point(ALICE, b"\x09" * num_bytes)


@given(one=seeds, other=seeds)
@settings(max_examples=30)
def test_both_sides_come_to_one_secret(one: bytes, other: bytes) -> None:
    alice, bob = key_of(one), key_of(other)
    agreed = diffie_hellman(alice, bob.public)
    assert agreed == diffie_hellman(bob, alice.public)
    ciphertext, secret = SystemKem().encapsulate(bob.public)
    assert decapsulate(bob, ciphertext) == secret


def test_an_ephemeral_key_is_made_of_the_given_entropy() -> None:
    known = X25519["agreement"]
    bob = x25519_key(known["private"][1])
    entropy = replayed(bytes.fromhex(known["private"][0]))
    point, agreed = ephemeral_diffie_hellman(bob.public, entropy)
    assert (point.hex(), agreed.reveal().hex()) == (known["public"][0], known["shared"])
    assert diffie_hellman_with_point(bob, point) == agreed


# ML-KEM-768


@pytest.mark.parametrize(
    "known", [*MLKEM["key_generation"], *MLKEM["decapsulation"]], ids=lambda known: known["name"]
)
def test_the_public_key_of_a_seed_is_that_of_fips_203(known: dict[str, str]) -> None:
    public = mlkem_key(known).public.mlkem768
    assert hashlib.sha256(public).hexdigest() == known["public_sha256"]
    assert public.hex().startswith(known.get("public_begins", ""))


@pytest.mark.parametrize("known", MLKEM["decapsulation"], ids=lambda known: known["name"])
def test_decapsulation_is_that_of_fips_203(known: dict[str, str]) -> None:
    ciphertext, secret = unhex(known, "ciphertext", "secret")
    assert decapsulate(mlkem_key(known), ciphertext).reveal() == secret


@pytest.mark.parametrize("known", MLKEM["decapsulation"], ids=lambda known: known["name"])
def test_a_wrong_ciphertext_gives_the_secret_that_fips_203_says(known: dict[str, str]) -> None:
    ciphertext, secret = unhex(known, "wrong_ciphertext", "wrong_secret")
    assert decapsulate(mlkem_key(known), ciphertext).reveal() == secret


@given(position=st.integers(0, 8 * 1088 - 1))
@settings(max_examples=50)
def test_a_changed_ciphertext_gives_another_secret_and_no_error(position: int) -> None:
    ciphertext, secret = SystemKem().encapsulate(BOB.public)
    changed = bytearray(ciphertext)
    changed[position // 8] ^= 1 << position % 8
    other = decapsulate(BOB, bytes(changed))
    assert other != secret
    assert len(other) == 32
    assert decapsulate(BOB, bytes(changed)) == other


@pytest.mark.parametrize("num_bytes", [0, 1087, 1089])
def test_a_ciphertext_of_another_length_is_malformed(num_bytes: int) -> None:
    with pytest.raises(MalformedMessageError, match=f"{num_bytes} bytes, 1088"):
        decapsulate(BOB, bytes(num_bytes))


def test_every_encapsulation_is_a_new_one() -> None:
    (one, first), (other, second) = (SystemKem().encapsulate(BOB.public) for _ in range(2))
    assert (one, first) != (other, second)
    assert first != second


# Keys


def test_a_public_key_is_x25519_then_mlkem() -> None:
    public = ALICE.public
    assert len(public.to_bytes()) == 1216
    assert public.to_bytes() == public.x25519 + public.mlkem768
    assert HybridPublicKey.from_bytes(public.to_bytes()) == public


@pytest.mark.parametrize("num_bytes", [0, 1215, 1217])
def test_a_public_key_of_another_length_is_malformed(num_bytes: int) -> None:
    with pytest.raises(MalformedMessageError, match=f"{num_bytes} bytes, 1216"):
        HybridPublicKey.from_bytes((ALICE.public.to_bytes() * 2)[:num_bytes])
    with pytest.raises(MalformedMessageError, match="31 and 1185 bytes"):
        HybridPublicKey(bytes(31), bytes(1185))


@given(index=st.integers(0, 767), coefficient=st.integers(ML_KEM_MODULUS, 4095))
@settings(max_examples=50)
def test_a_coefficient_outside_the_field_is_malformed(index: int, coefficient: int) -> None:
    # FIPS 203 section 7.2, modulus check: coefficients are packed in 12 bits each.
    packed = int.from_bytes(ALICE.public.mlkem768[:1152], "little")
    packed &= ~(0xFFF << 12 * index)
    changed = (packed | coefficient << 12 * index).to_bytes(1152, "little")
    with pytest.raises(MalformedMessageError, match="coefficient"):
        HybridPublicKey(ALICE.public.x25519, changed + ALICE.public.mlkem768[1152:])


@given(seed=seeds)
@settings(max_examples=20)
def test_a_private_key_comes_back_from_its_secret(seed: bytes) -> None:
    key = HybridPrivateKey.generate(replayed(seed))
    assert key.to_secret() == SecretBytes(seed)
    assert HybridPrivateKey.from_secret(key.to_secret()).public == key.public


def test_the_public_half_is_computed_once() -> None:
    assert ALICE.public is ALICE.public


def test_new_keys_differ() -> None:
    assert (
        HybridPrivateKey.generate(os.urandom).public != HybridPrivateKey.generate(os.urandom).public
    )


def test_no_key_is_made_of_too_little_entropy() -> None:
    with pytest.raises(ConfigurationError, match="95 bytes, 96"):
        HybridPrivateKey.generate(lambda _: bytes(95))
    with pytest.raises(ConfigurationError, match="31 bytes, 32"):
        ephemeral_diffie_hellman(BOB.public, lambda _: bytes(31))


@pytest.mark.parametrize("num_bytes", [0, 95, 97])
def test_a_private_key_of_another_length_is_malformed(num_bytes: int) -> None:
    with pytest.raises(MalformedMessageError, match=f"{num_bytes} bytes, 96"):
        key_of(bytes(num_bytes))


def test_nothing_of_a_private_key_lies_in_its_attributes_as_bytes() -> None:
    assert not any(isinstance(value, bytes | SecretBytes) for value in vars(ALICE).values())


# Both together


def test_the_combined_key_takes_kem_then_diffie_hellman() -> None:
    agreed, secret = SecretBytes(b"\x01" * 32), SecretBytes(b"\x02" * 32)
    key = combined_key(agreed, secret, label="ab", context=b"cd")
    joined, info = b"\x02" * 32 + b"\x01" * 32, b"\x00\x02abcd"
    assert key.reveal() == slow_hkdf(joined, salt=b"", info=info, num_bytes=32)


@pytest.mark.parametrize("changed", ["diffie_hellman", "kem", "label", "context"])
def test_the_combined_key_depends_on_all_it_is_given(changed: str) -> None:
    given_once: dict[str, object] = {
        "diffie_hellman": SecretBytes(b"\x01" * 32),
        "kem": SecretBytes(b"\x02" * 32),
        "label": "ab",
        "context": b"cd",
    }
    other: dict[str, object] = {
        "diffie_hellman": SecretBytes(b"\x03" * 32),
        "kem": SecretBytes(b"\x03" * 32),
        "label": "ac",
        "context": b"ce",
    }
    combined: Callable[..., SecretBytes] = combined_key
    assert combined(**given_once) != combined(**(given_once | {changed: other[changed]}))


@pytest.mark.parametrize(("agreed_bytes", "secret_bytes"), [(31, 32), (32, 33), (33, 31)])
def test_no_byte_moves_between_the_two_secrets(agreed_bytes: int, secret_bytes: int) -> None:
    agreed, secret = SecretBytes(bytes(agreed_bytes)), SecretBytes(bytes(secret_bytes))
    with pytest.raises(MalformedMessageError):
        combined_key(agreed, secret, label="x", context=b"")


@pytest.mark.parametrize(
    "make", [SystemKem, RecordingKem, lambda: RecordedKem([SystemKem().encapsulate(BOB.public)])]
)
def test_every_kem_makes_what_the_key_opens(make: Callable[[], Kem]) -> None:
    ciphertext, secret = make().encapsulate(BOB.public)
    assert (len(ciphertext), len(secret)) == (1088, 32)
    assert decapsulate(BOB, ciphertext) == secret


def test_a_recording_is_replayed_in_its_order() -> None:
    recording = RecordingKem()
    made = [recording.encapsulate(key.public) for key in (ALICE, BOB)]
    replay = recording.replay()
    assert [replay.encapsulate(key.public) for key in (ALICE, BOB)] == made
