import copy
import json
import pickle  # noqa: TID251 - what is tested is that a key refuses it
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import ConfigurationError, UnverifiedMessageError

_VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "ed25519.json").read_text()
)
KEY = SigningKey.from_raw(bytes(range(32)))


@pytest.mark.parametrize("known", _VECTORS["keys"], ids=lambda known: known["name"])
def test_the_public_half_is_that_of_rfc_8032(known: dict[str, str]) -> None:
    key = SigningKey.from_raw(bytes.fromhex(known["seed"]))
    assert key.verifying_key.raw.hex() == known["public"]
    assert key.to_raw().hex() == known["seed"]


@pytest.mark.parametrize("known", _VECTORS["framed"])
def test_a_signature_is_the_one_another_implementation_made(known: dict[str, str]) -> None:
    key = SigningKey.from_raw(bytes.fromhex(known["seed"]))
    message, signature = bytes.fromhex(known["message"]), bytes.fromhex(known["signature"])
    assert key.sign(message, context=known["context"]) == signature
    key.verifying_key.verify(signature, message, context=known["context"])


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    signature = KEY.sign(b"message", context="roster")
    KEY.verifying_key.verify(signature, b"message", context="roster")
    with pytest.raises(UnverifiedMessageError, match="envelope"):
        KEY.verifying_key.verify(signature, b"message", context="envelope")


@given(
    text=st.text("ab\x00", min_size=1, max_size=8),
    signed=st.integers(0, 8),
    claimed=st.integers(0, 8),
)
@settings(max_examples=100, deadline=None)
def test_no_bytes_move_between_context_and_message(text: str, signed: int, claimed: int) -> None:
    signed, claimed = min(signed, len(text)), min(claimed, len(text))
    assume(signed != claimed)
    signature = KEY.sign(text[signed:].encode(), context=text[:signed])
    with pytest.raises(UnverifiedMessageError):
        KEY.verifying_key.verify(signature, text[claimed:].encode(), context=text[:claimed])


@pytest.mark.parametrize("position", range(0, 64, 7))
def test_a_flipped_bit_of_the_signature_is_found(position: int) -> None:
    signature = bytearray(KEY.sign(b"message", context="c"))
    signature[position] ^= 0x10
    with pytest.raises(UnverifiedMessageError):
        KEY.verifying_key.verify(bytes(signature), b"message", context="c")


@pytest.mark.parametrize("length", [0, 1, 63, 65, 10_000])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    signature = (KEY.sign(b"message", context="c") * 200)[:length]
    with pytest.raises(UnverifiedMessageError):
        KEY.verifying_key.verify(signature, b"message", context="c")


def test_a_signature_of_another_key_is_refused() -> None:
    signature = SigningKey.generate().sign(b"message", context="c")
    with pytest.raises(UnverifiedMessageError):
        KEY.verifying_key.verify(signature, b"message", context="c")


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format])
def test_nothing_of_a_signing_key_is_shown(show: Any) -> None:
    shown = show(KEY)
    assert shown == "SigningKey(hidden)"
    assert KEY.to_raw().hex() not in shown


def test_the_repr_of_a_verifying_key_names_its_beginning() -> None:
    assert repr(KEY.verifying_key) == f"VerifyingKey({KEY.verifying_key.raw.hex()[:16]}...)"


def test_verifying_keys_are_the_same_by_their_bytes() -> None:
    one, again, other = KEY.verifying_key, KEY.verifying_key, SigningKey.generate().verifying_key
    assert one is not again
    assert one == again
    assert one != other
    assert one != one.raw
    assert len({one, again, other}) == 2


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_signing_key_cannot_be_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(KEY, protocol)
    with pytest.raises(TypeError, match="not serialised"):
        copy.deepcopy({"key": KEY})


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ConfigurationError, match="32 bytes"):
        SigningKey.from_raw(bytes(length))
    with pytest.raises(ConfigurationError, match="32 bytes"):
        VerifyingKey(bytes(length))


def test_two_generated_keys_differ() -> None:
    assert SigningKey.generate().to_raw() != SigningKey.generate().to_raw()
