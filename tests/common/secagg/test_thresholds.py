import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.errors import AggregationRefusedError
from fedward_common.secagg.thresholds import (
    abandonments_needed,
    fewest_honest_survivors,
    largest_coalition,
    sites_of_share,
    sites_one_organisation_may_hold,
    threshold_of,
)

num_sites = st.integers(1, 100_000)


@pytest.mark.parametrize(
    ("n", "threshold", "coalition", "abandonments", "honest", "organisation"),
    [  # worked by hand from the module's formulas
        (1, 1, 0, 1, 1, 1),
        (2, 2, 0, 1, 2, 1),
        (3, 3, 0, 1, 3, 1),
        (4, 3, 1, 3, 2, 1),
        (5, 4, 1, 3, 3, 1),
        (6, 5, 1, 3, 4, 1),
        (7, 5, 2, 5, 3, 2),
        (10, 7, 3, 7, 4, 3),
        (100, 67, 33, 67, 34, 33),
    ],
)
def test_the_numbers_of_a_directory_worked_by_hand(
    n: int, threshold: int, coalition: int, abandonments: int, honest: int, organisation: int
) -> None:
    assert threshold_of(n) == threshold
    assert largest_coalition(n) == coalition
    assert abandonments_needed(n) == abandonments
    assert fewest_honest_survivors(n) == honest
    assert sites_one_organisation_may_hold(n) == organisation


@given(n=num_sites)
def test_a_coalition_is_the_most_that_is_under_a_third(n: int) -> None:
    assert 3 * largest_coalition(n) < n <= 3 * (largest_coalition(n) + 1)


@given(n=num_sites)
def test_two_groups_of_threshold_sites_share_an_honest_one(n: int) -> None:
    assert 2 * threshold_of(n) - n > largest_coalition(n)


@given(n=num_sites)
def test_either_list_leaves_too_few_for_the_other(n: int) -> None:
    """The one that is signed in advance, and one with dropouts: t - c honest sites for one list
    are none for the other, and all the others together, liars included, are fewer than t."""
    honest_for_one = threshold_of(n) - largest_coalition(n)
    assert n - honest_for_one < threshold_of(n)


@given(n=num_sites)
def test_a_coalition_opens_nothing_by_itself(n: int) -> None:
    assert largest_coalition(n) < threshold_of(n) <= n


@given(n=num_sites)
def test_after_enough_abandonments_too_few_are_left_to_unmask(n: int) -> None:
    honest_abandonments = abandonments_needed(n) - largest_coalition(n)
    assert n - honest_abandonments < threshold_of(n)


@given(n=num_sites)
def test_one_abandonment_fewer_would_not_do(n: int) -> None:
    honest_abandonments = abandonments_needed(n) - 1 - largest_coalition(n)
    assert n - honest_abandonments >= threshold_of(n)


@given(n=num_sites)
def test_honest_sites_alone_can_abandon_an_attempt(n: int) -> None:
    assert abandonments_needed(n) <= n - largest_coalition(n)


@given(n=num_sites)
def test_more_than_a_third_of_the_directory_is_honest_in_every_sum(n: int) -> None:
    assert 3 * fewest_honest_survivors(n) > n
    assert fewest_honest_survivors(n) == threshold_of(n) - (n - 1) // 3


@given(n=st.integers(4, 100_000))
def test_an_organisation_is_no_more_than_a_coalition(n: int) -> None:
    assert sites_one_organisation_may_hold(n) == largest_coalition(n)


@pytest.mark.parametrize("n", [0, -1])
def test_a_directory_of_no_sites_is_refused(n: int) -> None:
    for number in (
        threshold_of,
        largest_coalition,
        abandonments_needed,
        fewest_honest_survivors,
        sites_one_organisation_may_hold,
    ):
        with pytest.raises(AggregationRefusedError, match="at least 1") as refusal:
            number(n)
        assert refusal.value.code == "SECAGG_TOO_FEW_SITES"


@pytest.mark.parametrize(
    ("share", "n", "sites"),
    [(0.55, 20, 11), (0.56, 20, 12), (0.5, 5, 3), (0.07, 100, 7), (0.0, 9, 0), (1.0, 9, 9)],
)
def test_a_share_of_the_sites_is_rounded_up_and_not_by_floating_point(
    share: float, n: int, sites: int
) -> None:
    assert sites_of_share(share, n) == sites
