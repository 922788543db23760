"""Who gives an attempt up is out of it for good; who masked in it needs enough others to do so."""

import pytest
from tests.secagg_federation import Federation, code_of, make_federation, signing_key_of
from tests.secagg_steps import STEPS, answer_of, request_of, up_to

from fedward_client.secagg_member import Stage
from fedward_common.errors import AggregationRefusedError
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    Abandonment,
    Signed,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_common.secagg.thresholds import abandonments_needed


@pytest.fixture
def four() -> Federation:
    return make_federation(4)


@pytest.mark.parametrize("stage", [Stage.READY, Stage.SHARED, Stage.MASKED, Stage.CONFIRMED])
def test_an_attempt_can_be_abandoned_until_it_is_unmasked(four: Federation, stage: Stage) -> None:
    up_to(four, stage)
    site = four.sites[0]

    first, second = four.abandon_one(site), four.abandon_one(site)

    assert first == second
    assert decode(Abandonment, decode(Signed, first).body).binding_sha256 == four.binding.sha256
    assert four.states[site].stage is Stage.ABANDONED
    assert four.states[site].secrets is None


def test_an_attempt_is_not_abandoned_after_unmasking(four: Federation) -> None:
    up_to(four, Stage.UNMASKED)
    assert code_of(lambda: four.abandon_one(four.sites[0])) == codes.CLOSED


@pytest.mark.parametrize("step", STEPS)
def test_whoever_abandoned_answers_nothing_more_of_that_attempt(
    four: Federation, step: str
) -> None:
    site = four.sites[0]
    up_to(four, Stage.CONFIRMED)
    four.abandon_one(site)
    request = request_of(four, step, site)
    assert code_of(lambda: answer_of(four, step, site, request)) == codes.ABANDONED


def test_an_attempt_in_which_nothing_was_masked_is_begun_again_freely(four: Federation) -> None:
    up_to(four, Stage.SHARED)
    four.next_attempt()
    four.run()
    four.assert_totals_are_those_of(four.sites)


@pytest.mark.parametrize("num_sites", [2, 3, 5, 7])
def test_a_masked_contribution_is_masked_again_on_enough_abandonments_only(num_sites: int) -> None:
    federation = up_to(make_federation(num_sites), Stage.MASKED)
    needed = abandonments_needed(num_sites)
    abandonments = [federation.abandon_one(site) for site in federation.sites]
    federation.next_attempt()

    too_few = abandonments[: needed - 1]
    for repeated in (too_few, [*too_few, *too_few]):
        with pytest.raises(AggregationRefusedError) as refused:
            federation.begin_one(federation.sites[0], repeated)
        assert refused.value.code == codes.MASKED_BEFORE

    federation.begin(abandonments=abandonments[:needed])
    federation.share()
    federation.mask()
    federation.confirm()
    federation.unmask()
    federation.assert_totals_are_those_of(federation.sites)


def test_a_round_that_was_unmasked_is_not_begun_again(four: Federation) -> None:
    up_to(four, Stage.UNMASKED)
    four.next_attempt()
    assert code_of(lambda: four.begin_one(four.sites[0])) == codes.CLOSED


def test_an_abandonment_of_another_attempt_does_not_count(four: Federation) -> None:
    up_to(four, Stage.MASKED)
    stale = [
        encode(sign_item(Abandonment(site, "00" * 32), signing_key_of(site))) for site in four.sites
    ]
    four.next_attempt()
    assert code_of(lambda: four.begin_one(four.sites[0], stale)) == codes.BINDING


def test_an_abandonment_that_another_signed_does_not_count(four: Federation) -> None:
    up_to(four, Stage.MASKED)
    forged = [
        encode(sign_item(Abandonment(site, four.binding.sha256), signing_key_of("coordinator")))
        for site in four.sites
    ]
    four.next_attempt()
    assert code_of(lambda: four.begin_one(four.sites[0], forged)) == codes.BAD_SIGNATURE


def test_abandonments_of_sites_outside_the_directory_do_not_count() -> None:
    federation = make_federation(7)
    inside = federation.sites[:4]
    federation.begin(inside)
    federation.share()
    federation.mask()
    outside = [
        encode(sign_item(Abandonment(site, federation.binding.sha256), signing_key_of(site)))
        for site in federation.sites[4:]
    ]
    federation.next_attempt()
    assert code_of(lambda: federation.begin_one(inside[0], outside)) == codes.MASKED_BEFORE


def test_a_site_that_began_again_answers_nothing_of_the_attempt_before(four: Federation) -> None:
    up_to(four, Stage.SHARED)
    site = four.sites[0]
    old_directory = request_of(four, "share", site)
    old_sharers = request_of(four, "mask", site)
    abandoned = four.binding.sha256
    four.next_attempt()
    four.begin()

    assert code_of(lambda: four.share_one(site, old_directory)) == codes.KEYS_CHANGED
    assert code_of(lambda: four.mask_one(site, old_sharers)) == codes.OUT_OF_ORDER
    four.share()
    assert code_of(lambda: four.mask_one(site, old_sharers)) == codes.BINDING
    assert list(four.states[site].abandonments) == [abandoned]
