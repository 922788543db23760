"""What sites sign with their vectors opens the sum of all of them, or nothing.

This is how most rounds of training go from four sites on: all sharers mask, nobody is asked to
confirm, and the next that can happen is that sites leave before they reveal their shares. For
every list of sharers that takes this way, every set of sites that stays is tried, up to 7 sites.
"""

import math
from functools import partial

import numpy as np
import pytest
from tests.attacks.secure_aggregation.attacker import Opened
from tests.secagg.ways_to_leave import let_all_share, put_together, subsets, take_shares
from tests.secagg_federation import Federation, code_of, make_federation

from fedward_client.secagg.step_guards import CONFIRM
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import SELF_MASK
from fedward_server import secagg_coordinator as coordinator


def all_shared(num_sites: int) -> Federation:
    federation = make_federation(num_sites, num_words=2, num_lane=1)
    federation.begin()
    let_all_share(federation)
    return federation


def masked_by(start: Federation, sharers: tuple[SiteId, ...]) -> Federation:
    """All of these share, mask and sign with their vectors; the coordinator takes it."""
    here = start.fork()
    here.attempt = coordinator.fix_sharers(take_shares(here, sharers))
    here.mask()
    here.take_in_advance()
    return here


def asked_to_unmask(here: Federation) -> dict[SiteId, bytes]:
    """What every survivor answers, without a word of `confirm`; one answer hangs on no other."""
    assert {item.site for item in here.attempt.confirmed} == set(here.attempt.survivors)
    request = coordinator.unmask_request(here.attempt)
    answers = {site: here.unmask_one(site, request) for site in here.attempt.survivors}
    assert not any(CONFIRM in state.answered for state in here.states.values())
    return answers


def opened_by(here: Federation, answers: dict[SiteId, bytes]) -> Opened:
    """Check what comes of these answers alone; give the secrets they open."""
    attempt = here.attempt
    for site, answer in answers.items():
        attempt = coordinator.take_unmask(attempt, site, answer)
    here.attempt = attempt
    if len(answers) >= here.threshold:
        assert coordinator.has_enough_shares(here.attempt)
        here.assert_totals_are_those_of(here.attempt.survivors)
    else:
        assert not coordinator.has_enough_shares(here.attempt)
        words, lane = here.masked_totals()
        stopped_by = code_of(lambda: coordinator.remove_masks(here.attempt, words, lane))
        assert stopped_by == codes.UNRECOVERABLE
        for got, masked in zip((words, lane), here.masked_totals(), strict=True):
            np.testing.assert_array_equal(got, masked)
    return put_together(here, answers)


@pytest.mark.parametrize("num_sites", [4, 5, 6, 7])
def test_whoever_leaves_after_signing_in_advance_the_sum_is_of_all_or_nothing_is_opened(
    num_sites: int,
) -> None:
    start = all_shared(num_sites)
    threshold = start.threshold
    num_sums = num_stopped = 0
    for sharers in subsets(start.sites, threshold + 1):
        here = masked_by(start, sharers)
        answers = asked_to_unmask(here)
        for staying in subsets(sharers):
            opened = opened_by(here.fork(), {site: answers[site] for site in staying})
            if len(staying) >= threshold:
                assert opened == {(site, SELF_MASK) for site in sharers}
                num_sums += 1
            else:
                assert not opened
                num_stopped += 1
    # Of the k that share and sign, any may stay.
    lists = {k: math.comb(num_sites, k) for k in range(threshold + 1, num_sites + 1)}
    assert num_sums + num_stopped == sum(num * 2**k for k, num in lists.items())
    assert num_sums == sum(
        num * math.comb(k, kept) for k, num in lists.items() for kept in range(threshold, k + 1)
    )


@pytest.mark.parametrize("num_sites", [4, 5, 6, 7])
def test_with_just_t_sharers_all_are_asked_to_confirm(num_sites: int) -> None:
    """No site may leave any more, and until `confirm` is over nothing is revealed."""
    start = all_shared(num_sites)
    for sharers in subsets(start.sites, start.threshold):
        if len(sharers) == start.threshold:
            here = masked_by(start, sharers)
            assert here.attempt.confirmed == ()
            step = partial(coordinator.unmask_request, here.attempt)
            assert code_of(step) == codes.TOO_FEW_SIGNATURES
