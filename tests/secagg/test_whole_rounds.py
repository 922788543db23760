"""A round in which everybody stays gives the plain sum, whatever the words are."""

import numpy as np
import pytest
from tests.secagg_federation import Federation, make_federation


@pytest.mark.parametrize("num_sites", [2, 3, 4, 5, 7, 10])
def test_a_whole_round_gives_the_plain_sum_of_all_sites(num_sites: int) -> None:
    federation = make_federation(num_sites)

    words, lane = federation.run()

    expected_words, expected_lane = federation.plain_totals(federation.sites)
    np.testing.assert_array_equal(words, expected_words)
    np.testing.assert_array_equal(lane, expected_lane)


@pytest.mark.parametrize(
    ("num_words", "num_lane", "dtype"),
    [(0, 4, np.uint32), (7, 1, np.uint64), (40_001, 3, np.uint32)],
    ids=["a lane alone", "64-bit words", "more than one block"],
)
def test_any_size_of_words_and_lane_is_summed(num_words: int, num_lane: int, dtype: type) -> None:
    federation = make_federation(3, num_words=num_words, num_lane=num_lane, dtype=dtype)
    federation.run()
    federation.assert_totals_are_those_of(federation.sites)


def test_a_masked_vector_shares_no_word_with_the_plain_one() -> None:
    federation = make_federation(4, num_words=500)
    federation.begin()
    federation.share()
    federation.mask()

    for site in federation.sites:
        masked, plain = federation.masked[site], federation.contributions[site]
        assert np.count_nonzero(masked[0] == plain[0]) == 0
        assert np.count_nonzero(masked[1] == plain[1]) == 0


def test_the_sum_stays_masked_until_shares_come() -> None:
    federation = make_federation(4)
    federation.begin()
    federation.share()
    federation.mask()

    masked, plain = federation.masked_totals(), federation.plain_totals(federation.sites)

    assert not np.any(masked[0] == plain[0])
    assert not np.any(masked[1] == plain[1])


def test_two_attempts_at_one_sum_use_different_masks() -> None:
    def masked_in(seed: int) -> Federation:
        federation = make_federation(3, seed=seed)
        federation.begin()
        federation.share()
        federation.mask()
        return federation

    first, second = masked_in(1), masked_in(2)

    for site in first.sites:
        assert not np.any(first.masked[site][0] == second.masked[site][0])


def test_only_sites_that_sent_usable_keys_are_in_the_round() -> None:
    federation = make_federation(5)
    late = federation.sites[1]

    federation.begin([site for site in federation.sites if site != late])
    federation.share()
    federation.mask()
    federation.confirm()
    federation.unmask()

    federation.assert_totals_are_those_of(site for site in federation.sites if site != late)
