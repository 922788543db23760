import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically
from fedward_server.consortium.passphrase import open_at_rest, read_passphrase, seal_at_rest

WORDS = SecretBytes(b"five words nobody would guess")
SEALED = seal_at_rest(b"content", WORDS, kind="key", entropy=os.urandom, log2_cost=10)


def opened(content: bytes = SEALED, words: SecretBytes = WORDS, kind: str = "key") -> bytes:
    return open_at_rest(content, words, kind=kind, max_bytes=1000)


def file_with(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    file = folder / "passphrase"
    file.write_bytes(content)
    file.chmod(mode)
    return file


def test_what_rests_opens_with_its_passphrase_alone() -> None:
    assert opened() == b"content"
    with pytest.raises(ConfigurationError) as caught:
        opened(words=SecretBytes(b"Five words nobody would guess"))
    assert caught.value.code == "PASSPHRASE_WRONG"
    with pytest.raises(CorruptFileError):
        opened(kind="backup")


def test_the_same_content_rests_under_another_key_each_time() -> None:
    again = seal_at_rest(b"content", WORDS, kind="key", entropy=os.urandom, log2_cost=10)
    assert decode_canonically(again)["sealed"] != decode_canonically(SEALED)["sealed"]


@pytest.mark.parametrize("cost", [0, 9, 21, 63, -1])
def test_a_cost_out_of_range_is_refused_before_anything_is_spent(cost: int) -> None:
    with pytest.raises(CorruptFileError):
        opened(encode_canonically(decode_canonically(SEALED) | {"log2_cost": cost}))


def test_a_lowered_cost_opens_nothing() -> None:
    dear = seal_at_rest(b"content", WORDS, kind="key", entropy=os.urandom, log2_cost=11)
    with pytest.raises(ConfigurationError):
        opened(encode_canonically(decode_canonically(dear) | {"log2_cost": 10}))


@given(content=st.binary(max_size=200))
def test_random_bytes_open_to_nothing(content: bytes) -> None:
    with pytest.raises(CorruptFileError):
        opened(content)


def test_a_passphrase_comes_from_a_file_of_its_owner(tmp_path: Path) -> None:
    file = file_with(tmp_path, b"five words nobody would guess\n")
    assert read_passphrase(file, is_new=True).reveal() == WORDS.reveal()
    assert "guess" not in repr(read_passphrase(file, is_new=False))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="others"):
        read_passphrase(file_with(tmp_path, b"five words nobody", mode), is_new=False)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two\nlines of text", b"\xff\xfe", b"x" * 2000, b"\x00" * 20]
)
def test_a_file_without_one_line_of_text_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigurationError):
        read_passphrase(file_with(tmp_path, content), is_new=False)


def test_a_new_passphrase_has_a_least_length(tmp_path: Path) -> None:
    file = file_with(tmp_path, b"short")
    assert read_passphrase(file, is_new=False).reveal() == b"short"
    with pytest.raises(ConfigurationError, match="12"):
        read_passphrase(file, is_new=True)


def test_without_a_file_and_a_person_there_is_no_passphrase(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(ConfigurationError, match="nobody"):
        read_passphrase(None, is_new=False)
