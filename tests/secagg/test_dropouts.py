"""Sites drop out at every step: the sum of the survivors, or an end with nothing revealed.

Every way in which n sites can leave is tried for n up to 7: before sharing, after it, after
masking, after confirming, or never. Steps that several ways have in common are done once. Below the
threshold the coordinator stops; that the sites would refuse as well is asked of them each time.
"""

import itertools

import numpy as np
import pytest
from tests.secagg.ways_to_leave import (
    forced_confirm_request,
    forced_mask_request,
    forced_unmask_request,
    let_all_share,
    subsets,
    take_shares,
)
from tests.secagg_federation import Federation, code_of, make_federation

from fedward_common.errors import AggregationRefusedError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.thresholds import threshold_of
from fedward_server import secagg_coordinator as coordinator


class EveryWay:
    """Walks all ways from one directory, and counts how they end."""

    def __init__(self, num_sites: int) -> None:
        self.threshold = threshold_of(num_sites)
        self.num_sums = 0
        self.num_stopped = 0
        self.federation = make_federation(num_sites, num_words=2, num_lane=1)
        self.federation.begin()

    def walk(self) -> None:
        shared = self.federation.fork()
        let_all_share(shared)
        for sharers in subsets(shared.sites):
            self._with_sharers(shared.fork(), sharers)

    def _with_sharers(self, here: Federation, sharers: tuple[SiteId, ...]) -> None:
        attempt = take_shares(here, sharers)
        if len(sharers) < self.threshold:
            self._expect(codes.TOO_FEW_SITES, coordinator.fix_sharers, attempt)
            for site in sharers:
                self._expect(
                    codes.TOO_FEW_SITES,
                    here.mask_one,
                    site,
                    forced_mask_request(here, sharers, site),
                )
            return
        here.attempt = coordinator.fix_sharers(attempt)
        for site, mask_request in coordinator.mask_requests(here.attempt).items():
            here.masked[site] = here.mask_one(site, mask_request)
        for survivors in subsets(sharers):
            self._with_survivors(here.fork(), survivors)

    def _with_survivors(self, here: Federation, survivors: tuple[SiteId, ...]) -> None:
        if len(survivors) < self.threshold:
            self._expect(codes.TOO_FEW_SITES, coordinator.fix_survivors, here.attempt, survivors)
            forced = forced_confirm_request(here, survivors)
            for site in survivors:
                self._expect(codes.TOO_FEW_SITES, here.confirm_one, site, forced)
            return
        here.attempt = coordinator.fix_survivors(here.attempt, survivors)
        request = coordinator.confirm_request(here.attempt)
        confirmations = {site: here.confirm_one(site, request) for site in survivors}
        for confirmed in subsets(survivors):
            self._with_confirmed(here.fork(), {site: confirmations[site] for site in confirmed})

    def _with_confirmed(self, here: Federation, confirmations: dict[SiteId, bytes]) -> None:
        attempt = here.attempt
        for site, answer in confirmations.items():
            attempt = coordinator.take_confirmation(attempt, site, answer)
        here.attempt = attempt
        if len(confirmations) < self.threshold:
            self._expect(codes.TOO_FEW_SIGNATURES, coordinator.unmask_request, attempt)
            forced = forced_unmask_request(here)
            for site in confirmations:
                self._expect(codes.TOO_FEW_SIGNATURES, here.unmask_one, site, forced)
            return
        request = coordinator.unmask_request(here.attempt)
        answers = {site: here.unmask_one(site, request) for site in confirmations}
        for revealed in subsets(tuple(answers)):
            self._with_revealed(here.fork(), {site: answers[site] for site in revealed})

    def _with_revealed(self, here: Federation, answers: dict[SiteId, bytes]) -> None:
        attempt = here.attempt
        for site, answer in answers.items():
            attempt = coordinator.take_unmask(attempt, site, answer)
        here.attempt = attempt
        words, lane = here.masked_totals()
        if len(answers) < self.threshold:
            assert not coordinator.has_enough_shares(here.attempt)
            before = words.copy(), lane.copy()
            self._expect(codes.UNRECOVERABLE, coordinator.remove_masks, here.attempt, words, lane)
            np.testing.assert_array_equal(words, before[0])
            np.testing.assert_array_equal(lane, before[1])
            return
        assert coordinator.has_enough_shares(here.attempt)
        here.assert_totals_are_those_of(here.attempt.survivors)
        self.num_sums += 1

    def _expect(self, code: str, step: object, *arguments: object) -> None:
        assert callable(step)
        with pytest.raises(AggregationRefusedError) as refused:
            step(*arguments)
        assert refused.value.code == code
        self.num_stopped += 1


@pytest.mark.parametrize("num_sites", [2, 3, 4, 5, 6, 7])
def test_every_way_to_drop_out_ends_in_the_survivors_sum_or_in_nothing(num_sites: int) -> None:
    every_way = EveryWay(num_sites)

    every_way.walk()

    # Of k sites that reveal, each other may have left at any of four steps.
    expected = sum(
        len(list(itertools.combinations(range(num_sites), kept))) * 4 ** (num_sites - kept)
        for kept in range(every_way.threshold, num_sites + 1)
    )
    assert every_way.num_sums == expected
    assert every_way.num_stopped > 0


def test_no_site_reveals_anything_of_a_round_that_stays_below_the_threshold() -> None:
    federation = make_federation(6)
    federation.begin()
    federation.share()
    federation.mask()
    federation.confirm(federation.sites[: federation.threshold - 1])

    assert code_of(lambda: coordinator.unmask_request(federation.attempt)) == (
        codes.TOO_FEW_SIGNATURES
    )
    assert not any("unmask" in state.answered for state in federation.states.values())
