import hashlib

import pytest

from fedward_common.consortium.fingerprint_words import (
    NUM_WORDS,
    WORDS,
    fingerprint_words,
    verify_words,
)
from fedward_common.errors import UnverifiedMessageError


def test_there_is_a_word_for_each_byte_told_apart_by_its_first_three_letters() -> None:
    assert len(WORDS) == len(set(WORDS)) == 256
    assert len({word[:3] for word in WORDS}) == 256
    assert all(word.isascii() and word.islower() and 4 <= len(word) <= 8 for word in WORDS)
    assert list(WORDS) == sorted(WORDS)


def test_the_words_are_scrypt_of_the_content() -> None:
    digest = hashlib.scrypt(
        b"a request", salt=b"fedward fingerprint words v1", n=32768, r=8, p=1, maxmem=2**26, dklen=8
    )
    assert fingerprint_words(b"a request") == tuple(WORDS[byte] for byte in digest)
    assert len(fingerprint_words(b"a request")) == NUM_WORDS


def test_another_content_has_other_words() -> None:
    assert fingerprint_words(b"a request") != fingerprint_words(b"a request ")


@pytest.mark.parametrize("written", ["{}", "  {} ", "{}\n"])
def test_spaces_commas_and_case_do_not_matter(written: str) -> None:
    words = WORDS[:8]
    verify_words(words, written.format(" ".join(words)))
    verify_words(words, written.format(", ".join(words).upper()))


@pytest.mark.parametrize(
    "heard",
    ["", " ".join(WORDS[:7]), " ".join(WORDS[1:9]), " ".join(reversed(WORDS[:8])), "x" * 10_000],
)
def test_other_words_are_refused_and_not_told(heard: str) -> None:
    with pytest.raises(UnverifiedMessageError) as caught:
        verify_words(WORDS[:8], heard)
    assert caught.value.code == "FINGERPRINT_MISMATCH"
    assert WORDS[0] not in str(caught.value)
