"""Every code has words for whoever runs the site: what it means, and what to do."""

import pytest
from tests.refusal_codes import sent_codes

from fedward_client.daemon.audit import APP_RAISED, REPLAY
from fedward_client.enrolment.node_news import DUPLICATE
from fedward_client.jobs.refusal_words import _WORDS, words_of_refusal

UNKNOWN = words_of_refusal("OF_ANOTHER_RELEASE")


def test_every_code_that_a_site_sends_or_writes_down_has_words() -> None:
    written = {*sent_codes(), APP_RAISED, DUPLICATE, REPLAY, "NOT_ALLOWED"}
    missing = sorted(code for code in written if words_of_refusal(code) == UNKNOWN)
    assert missing == [], f"add words in jobs/refusal_words.py: {missing}"


def test_no_words_are_kept_of_a_code_that_is_never_sent() -> None:
    assert set(_WORDS) - sent_codes() == {APP_RAISED, DUPLICATE, REPLAY, "NOT_ALLOWED"}


@pytest.mark.parametrize("code", ["E_COHORT_CHANGED", "UNKNOWN_RUN", "SECAGG_CLOSED"])
def test_words_say_what_it_is_and_what_to_do(code: str) -> None:
    words = words_of_refusal(code)
    assert words.meaning
    assert words.advice
    assert words != UNKNOWN


def test_words_are_short_enough_for_two_lines_of_a_terminal() -> None:
    for code in _WORDS:
        words = words_of_refusal(code)
        assert len(words.meaning) <= 100, code
        assert len(words.advice) <= 100, code
