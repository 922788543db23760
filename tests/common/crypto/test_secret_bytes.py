import copy
import dataclasses
import hmac
import logging
import pickle  # noqa: TID251 - what is tested is that a secret refuses it
import pprint
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from fedward_common.crypto.key_agreement import HybridPrivateKey
from fedward_common.crypto.mask_stream import Mask
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import MalformedMessageError

RAW = b"\xa7" * 96
TRACES = ("a7a7", "A7A7", "\\xa7", "§", "[167, 167", "p6en")

SECRETS = {
    "bytes": SecretBytes(RAW),
    "hybrid": HybridPrivateKey.from_secret(SecretBytes(RAW)),
    "signing": SigningKey.from_raw(RAW[:32]),
    "mask": Mask(SecretBytes(RAW[:32]), negative=True),
}
every_secret = pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)


@every_secret
@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r:>9}".format, pprint.pformat, ascii])
def test_a_secret_shows_nothing(secret: object, show: Callable[[object], str]) -> None:
    shown = show(secret)
    assert "hidden" in shown
    assert not any(trace in shown for trace in TRACES)


@every_secret
def test_a_secret_in_a_log_shows_nothing(secret: object, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("site").debug("key %s of %r", secret, [secret])
    assert caplog.text.count("hidden") == 2
    assert not any(trace in caplog.text for trace in TRACES)


@every_secret
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(secret: object, protocol: int) -> None:
    with pytest.raises(TypeError, match="by accident"):
        pickle.dumps(secret, protocol)


@every_secret
def test_a_secret_is_not_copied_by_accident(secret: object) -> None:
    with pytest.raises(TypeError, match="by accident"):
        copy.deepcopy(secret)
    with pytest.raises(TypeError, match="by accident"):
        copy.copy(getattr(secret, "key", secret))


def test_a_dataclass_with_a_secret_does_not_become_a_dictionary() -> None:
    with pytest.raises(TypeError, match="by accident"):
        dataclasses.asdict(Mask(SecretBytes(RAW), negative=False))


@pytest.mark.parametrize("opened", [bytes, bytearray, list, iter, hash, vars, memoryview])
def test_only_reveal_gives_the_content(opened: Callable[[Any], object]) -> None:
    secret = SecretBytes(b"abc")
    with pytest.raises(TypeError):
        opened(secret)
    assert secret.reveal() == b"abc"
    assert len(secret) == 3


def test_a_later_change_of_the_given_bytes_does_not_reach_the_secret() -> None:
    given = bytearray(b"abc")
    secret = SecretBytes(given)
    given[0] = 0
    assert secret.reveal() == b"abc"


def test_a_number_is_no_secret() -> None:
    with pytest.raises(TypeError):
        SecretBytes(32)  # type: ignore[arg-type]


def test_secrets_are_equal_by_content_alone() -> None:
    assert SecretBytes(b"abc") == SecretBytes(b"abc")
    assert SecretBytes(b"abc") != SecretBytes(b"abd")
    assert SecretBytes(b"abc") != SecretBytes(b"ab")
    assert SecretBytes(b"abc") != b"abc"


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    assert SecretBytes(b"abc") == SecretBytes(b"abd")
    assert compared == [(b"abc", b"abd")]


def test_a_secret_of_another_length_is_not_revealed() -> None:
    assert SecretBytes(b"abc").reveal_exactly(3) == b"abc"
    for num_bytes in (0, 2, 4):
        with pytest.raises(MalformedMessageError, match=f"3 bytes, {num_bytes} are needed"):
            SecretBytes(b"abc").reveal_exactly(num_bytes)


def test_a_refused_secret_is_not_in_the_error() -> None:
    try:
        HybridPrivateKey.from_secret(SecretBytes(RAW[:95]))
    except MalformedMessageError:
        shown = traceback.format_exc()
    assert "95 bytes" in shown
    assert not any(trace in shown for trace in TRACES)
