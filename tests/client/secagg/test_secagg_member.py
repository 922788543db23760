"""A site answers each step once and in order, and forgets its secrets at the end."""

import dataclasses

import numpy as np
import pytest
from tests.secagg_federation import (
    Federation,
    SeededEntropy,
    code_of,
    make_federation,
    signing_key_of,
)
from tests.secagg_steps import STEPS, answer_of, request_of, up_to

from fedward_client import secagg_member as member
from fedward_client.secagg_member import Stage
from fedward_common.crypto.key_agreement import SystemKem
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import AggregationRefusedError, MalformedMessageError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    MaskRequest,
    ShareAnswer,
    SharePacket,
    Signed,
    UnmaskAnswer,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_server import secagg_coordinator as coordinator


@pytest.fixture
def four() -> Federation:
    return make_federation(4)


@pytest.mark.parametrize("step", STEPS)
def test_the_same_request_gets_the_same_bytes(four: Federation, step: str) -> None:
    site = four.sites[1]
    before = (Stage.READY, Stage.SHARED, Stage.MASKED, Stage.CONFIRMED)[STEPS.index(step)]
    up_to(four, before)
    request = request_of(four, step, site)

    first = answer_of(four, step, site, request)
    after_first = four.states[site]
    second = answer_of(four, step, site, request)

    assert first == second
    assert four.states[site] == after_first


@pytest.mark.parametrize("step", ["share", "confirm", "unmask"])
def test_an_old_request_gets_its_old_answer_after_the_end(four: Federation, step: str) -> None:
    site = four.sites[0]
    up_to(four, Stage.UNMASKED)
    request = request_of(four, step, site)
    stored = four.states[site].answered[step].answer

    assert answer_of(four, step, site, request) == stored


@pytest.mark.parametrize("step", STEPS)
def test_a_different_request_of_an_answered_step_is_refused(four: Federation, step: str) -> None:
    site = four.sites[2]
    up_to(four, Stage.UNMASKED)
    request = request_of(four, step, site)

    with pytest.raises(AggregationRefusedError) as refused:
        answer_of(four, step, site, request + b"\0")

    assert refused.value.code == codes.SECOND_REQUEST


@pytest.mark.parametrize("step", ["mask", "confirm", "unmask"])
def test_a_step_before_its_turn_is_refused(four: Federation, step: str) -> None:
    site = four.sites[0]
    ahead = up_to(make_federation(4), Stage.UNMASKED)
    up_to(four, Stage.READY)

    with pytest.raises(AggregationRefusedError) as refused:
        answer_of(four, step, site, request_of(ahead, step, site))

    assert refused.value.code == codes.OUT_OF_ORDER


def test_a_vector_is_not_masked_again_after_unmasking(four: Federation) -> None:
    site = four.sites[0]
    up_to(four, Stage.UNMASKED)
    request = request_of(four, "mask", site)
    assert code_of(lambda: four.mask_one(site, request)) == codes.CLOSED


def test_another_contribution_is_never_masked_with_the_same_keys(four: Federation) -> None:
    site = four.sites[0]
    up_to(four, Stage.MASKED)
    request = request_of(four, "mask", site)
    words, lane = four.contributions[site][0] + 1, four.contributions[site][1].copy()

    with pytest.raises(AggregationRefusedError) as refused:
        member.mask(four.states[site], four.rules[site], request, words, lane, packed_bytes=4)

    assert refused.value.code == codes.SECOND_REQUEST
    # Beside the first vector, a second one under the same masks would show the difference.
    assert not words.any() and not lane.any()


def test_another_lane_is_never_masked_with_the_same_keys(four: Federation) -> None:
    site = four.sites[0]
    up_to(four, Stage.MASKED)
    words, lane = four.contributions[site]
    four.contributions[site] = (words, lane + np.uint64(1))

    request = request_of(four, "mask", site)

    assert code_of(lambda: four.mask_one(site, request)) == codes.SECOND_REQUEST


def test_a_state_that_names_its_contribution_masks_no_more_but_still_unmasks(
    four: Federation,
) -> None:
    """So an earlier build stored it: with the hash of what was masked, not of what came of it."""
    site = four.sites[0]
    up_to(four, Stage.MASKED)
    secrets = four.states[site].secrets
    assert secrets is not None
    earlier = dataclasses.replace(secrets, masked_sha256=SecretBytes(bytes(32)))
    four.keep(site, dataclasses.replace(four.states[site], secrets=earlier))

    request = request_of(four, "mask", site)
    assert code_of(lambda: four.mask_one(site, request)) == codes.SECOND_REQUEST
    four.confirm()
    four.unmask()
    assert four.states[site].stage is Stage.UNMASKED


def test_a_refused_request_masks_nothing(four: Federation) -> None:
    site = four.sites[0]
    up_to(four, Stage.SHARED)
    unverified = decode(MaskRequest, request_of(four, "mask", site))
    too_few = encode(MaskRequest(unverified.sharers[:2]))
    words, lane = four.contributions[site][0].copy(), four.contributions[site][1].copy()

    with pytest.raises(AggregationRefusedError):
        member.mask(four.states[site], four.rules[site], too_few, words, lane, packed_bytes=4)

    np.testing.assert_array_equal(words, four.contributions[site][0])
    np.testing.assert_array_equal(lane, four.contributions[site][1])


def test_unmasking_leaves_no_secret_in_the_state(four: Federation) -> None:
    site = four.sites[0]
    up_to(four, Stage.CONFIRMED)
    held = four.states[site].secrets
    assert held is not None and held.self_mask_seed is not None
    secrets = [held.self_mask_seed, *held.pair_keys.values()]
    secrets += [shares.recovery for shares in held.held.values()]

    four.unmask()

    stored = four.states[site].to_secret().reveal()
    assert four.states[site].secrets is None
    assert not any(secret.reveal() in stored for secret in secrets)


def test_private_keys_are_gone_once_packets_are_opened(four: Federation) -> None:
    site = four.sites[0]
    up_to(four, Stage.SHARED)
    before = four.states[site].secrets
    assert before is not None and before.seal_private is not None
    four.mask()
    assert before.seal_private.reveal() not in four.states[site].to_secret().reveal()


def test_of_a_survivor_only_the_self_mask_and_of_a_dropout_only_the_recovery_is_revealed() -> None:
    federation = make_federation(5)
    federation.begin()
    federation.share()
    federation.mask(federation.sites[:4])
    federation.confirm()
    request = coordinator.unmask_request(federation.attempt)

    answer = decode(Signed, federation.unmask_one(federation.sites[0], request))

    kinds = {share.site: share.kind for share in decode(UnmaskAnswer, answer.body).shares}
    assert kinds == dict.fromkeys(federation.sites[:4], "self-mask") | {
        federation.sites[4]: "recovery"
    }


def test_no_secret_shows_in_a_state_or_in_the_rules(four: Federation) -> None:
    up_to(four, Stage.MASKED)
    site = four.sites[0]
    secrets = four.states[site].secrets
    assert secrets is not None
    shown = repr(four.states[site]) + repr(four.rules[site]) + str(four.states)
    for secret in (secrets.self_mask_seed, *secrets.pair_keys.values()):
        assert secret is not None
        assert repr(secret.reveal())[2:-1] not in shown
        assert secret.reveal().hex() not in shown


def test_a_changed_stored_state_is_refused(four: Federation) -> None:
    four.begin()
    stored = four.states[four.sites[0]].to_secret().reveal()
    with pytest.raises(MalformedMessageError):
        member.MemberState.from_secret(SecretBytes(stored[:-1]))


def test_a_site_goes_on_without_shares_that_were_sealed_wrongly(four: Federation) -> None:
    liar, victim = four.sites[2], four.sites[0]

    def spoil(step: str, site: SiteId, message: bytes) -> bytes:
        if step != "share answer" or site != liar:
            return message
        return with_spoilt_packet(four, message, liar, victim)

    four.tamper = spoil
    up_to(four, Stage.UNMASKED)

    assert four.states[victim].notes == (f"the shares from {liar} do not open",)
    assert four.states[four.sites[1]].notes == ()
    four.assert_totals_are_those_of(four.sites)


def with_spoilt_packet(
    federation: Federation, answer: bytes, liar: SiteId, victim: SiteId
) -> bytes:
    """What a site would send that seals rubbish for one other, and announces that."""
    import hashlib

    from fedward_common.secagg.messages import ShareAnnouncement

    shared = decode(ShareAnswer, answer)
    place = federation.attempt.directory.index_of(victim)
    packet = decode(SharePacket, shared.packets[place])
    packets = list(shared.packets)
    packets[place] = encode(dataclasses.replace(packet, sealed_shares=bytes(148)))
    announcement = decode(ShareAnnouncement, shared.announcement.body)
    hashes = list(announcement.packet_sha256s)
    hashes[place] = hashlib.sha256(packets[place]).digest()
    changed = dataclasses.replace(announcement, packet_sha256s=tuple(hashes))
    signed = sign_item(changed, signing_key_of(liar))
    # The liar's own copy has to be what it announced, or it would refuse its own round.
    state = federation.states[liar]
    answer = encode(ShareAnswer(signed, tuple(packets), shared.recovery_blob))
    answered = dataclasses.replace(state.answered["share"], answer=answer)
    federation.keep(
        liar, dataclasses.replace(state, answered={**state.answered, "share": answered})
    )
    return answer


def test_entropy_and_kem_are_the_only_sources_of_chance(four: Federation) -> None:
    site = four.sites[0]
    rules, binding = four.rules[site], four.binding
    first = member.begin(rules, binding, entropy=SeededEntropy(1))[1]
    assert first == member.begin(rules, binding, entropy=SeededEntropy(1))[1]
    assert first != member.begin(rules, binding, entropy=SeededEntropy(2))[1]


def test_a_request_that_is_not_canonical_is_refused(four: Federation) -> None:
    four.begin()
    site = four.sites[0]
    request = coordinator.share_request(four.attempt)
    with pytest.raises(MalformedMessageError):
        member.share(
            four.states[site],
            four.rules[site],
            request + b"\0",
            entropy=SeededEntropy(1),
            kem=SystemKem(),
        )
