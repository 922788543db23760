"""Packets of shares and ciphertexts on their way: changed, exchanged, or made wrongly by an ally.

What an ally makes wrongly under its own signature cannot always be found: then the sum is of no
use, but nothing of an honest site is in it that would not be in a right one.
"""

import dataclasses
import hashlib
from functools import partial
from typing import Any

import numpy as np
import pytest
from tests.attacks.secure_aggregation.attacker import (
    changed,
    corrupted,
    finish,
    opened_secrets,
    refuses,
)
from tests.secagg_federation import (
    SHARE_ANSWER,
    UNMASK_ANSWER,
    Federation,
    Tamper,
    code_of,
    make_federation,
    signing_key_of,
)

from fedward_common.crypto.key_agreement import SystemKem
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    MaskRequest,
    ShareAnnouncement,
    ShareAnswer,
    SharePacket,
    Sharer,
    Signed,
    UnmaskAnswer,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_server import secagg_coordinator as coordinator


@pytest.fixture
def shared(seven: Federation) -> Federation:
    seven.share()
    return seven


def sharers_for(federation: Federation, site: SiteId) -> list[Sharer]:
    return list(decode(MaskRequest, coordinator.mask_request(federation.attempt, site)).sharers)


def is_refused(federation: Federation, site: SiteId, sharers: list[Sharer], code: str) -> None:
    request = encode(MaskRequest(tuple(sharers)))
    refuses(federation, site, partial(federation.mask_one, site, request), code)


def test_shares_that_were_sealed_for_one_site_are_not_taken_by_another(shared: Federation) -> None:
    victim, ally = shared.sites[0], shared.sites[6]
    mine, of_ally = sharers_for(shared, victim), sharers_for(shared, ally)
    for place in range(1, 6):
        exchanged = [*mine]
        exchanged[place] = Sharer(mine[place].announcement, of_ally[place].packet)
        is_refused(shared, victim, exchanged, codes.BAD_PACKET)
    finish(shared)


def test_two_packets_for_one_site_cannot_be_exchanged(shared: Federation) -> None:
    victim = shared.sites[0]
    mine = sharers_for(shared, victim)
    mine[2], mine[3] = (
        Sharer(mine[2].announcement, mine[3].packet),
        Sharer(mine[3].announcement, mine[2].packet),
    )
    is_refused(shared, victim, mine, codes.BAD_PACKET)


@pytest.mark.parametrize("field", ["seal_ciphertext", "sealed_shares", "mask_ciphertext"])
def test_a_packet_that_was_changed_on_its_way_is_refused(shared: Federation, field: str) -> None:
    """A mask ciphertext of the coordinator's own would give it the key of one pair."""
    victim = shared.sites[5]
    mine = sharers_for(shared, victim)
    packet = decode(SharePacket, mine[0].packet)
    other: dict[str, Any] = {field: bytes(len(getattr(packet, field)))}
    own, _ = SystemKem().encapsulate(shared.attempt.directory.peer(victim).mask_public)
    if field == "mask_ciphertext":
        other = {field: own}
    mine[0] = Sharer(mine[0].announcement, encode(dataclasses.replace(packet, **other)))
    is_refused(shared, victim, mine, codes.BAD_PACKET)


def test_a_packet_that_is_missing_or_to_oneself_is_refused(shared: Federation) -> None:
    victim = shared.sites[0]
    mine = sharers_for(shared, victim)
    is_refused(shared, victim, [mine[0], Sharer(mine[1].announcement, b""), *mine[2:]],
               codes.BAD_PACKET)  # fmt: skip
    is_refused(shared, victim, [Sharer(mine[0].announcement, mine[1].packet), *mine[1:]],
               codes.BAD_PACKET)  # fmt: skip


def announced(
    federation: Federation, maker: SiteId, victim: SiteId, packet: bytes, signer: str | None = None
) -> Signed:
    """The maker's announcement with the hash of another packet for the victim."""
    old = decode(ShareAnswer, federation.share_answers[maker]).announcement
    hashes = list(decode(ShareAnnouncement, old.body).packet_sha256s)
    hashes[federation.attempt.directory.index_of(victim)] = hashlib.sha256(packet).digest()
    return changed(old, ShareAnnouncement, signer or maker, packet_sha256s=tuple(hashes))


def test_an_announcement_is_not_made_for_another_site(shared: Federation) -> None:
    victim, other, ally = shared.sites[0], shared.sites[3], shared.sites[6]
    mine = sharers_for(shared, victim)
    packet = mine[2].packet
    for signer in (ally, "coordinator"):
        forged = announced(shared, other, victim, packet, signer)
        is_refused(
            shared, victim, [*mine[:3], Sharer(forged, packet), *mine[4:]], codes.BAD_SIGNATURE
        )  # fmt: skip


def test_an_allys_packet_that_is_made_out_to_another_is_refused(shared: Federation) -> None:
    """It announces what an honest site sealed, to have it opened under its own name."""
    victim, ally = shared.sites[0], shared.sites[6]
    mine = sharers_for(shared, victim)
    stolen = mine[2].packet
    lie = Sharer(announced(shared, ally, victim, stolen), stolen)
    is_refused(shared, victim, [*mine[:6], lie], codes.BAD_PACKET)


def test_shares_that_an_ally_copied_from_another_do_not_open(shared: Federation) -> None:
    """Under its own name and with its own signature: they are bound to who sealed them."""
    victim, ally = shared.sites[0], shared.sites[6]
    mine = sharers_for(shared, victim)
    stolen, own = decode(SharePacket, mine[2].packet), decode(SharePacket, mine[6].packet)
    copied = encode(
        dataclasses.replace(
            own, seal_ciphertext=stolen.seal_ciphertext, sealed_shares=stolen.sealed_shares
        )
    )
    lie = Sharer(announced(shared, ally, victim, copied), copied)
    shared.mask_one(victim, encode(MaskRequest((*mine[:6], lie))))

    state = shared.states[victim]
    assert state.notes == (f"the shares from {ally} do not open",)
    assert state.secrets is not None
    assert ally not in state.secrets.held


def test_hashes_of_packets_that_are_too_few_or_empty_are_refused(shared: Federation) -> None:
    victim, ally = shared.sites[0], shared.sites[6]
    mine = sharers_for(shared, victim)
    hashes = decode(ShareAnnouncement, mine[6].announcement.body).packet_sha256s
    for other in (hashes[:-1], (b"", *hashes[1:]), (*hashes[:-1], hashes[0]), ()):
        lie = changed(mine[6].announcement, ShareAnnouncement, ally, packet_sha256s=other)
        is_refused(shared, victim, [*mine[:6], Sharer(lie, mine[6].packet)], codes.BAD_PACKET)


def lying(federation: Federation, liar: SiteId, victim: SiteId, **fields: Any) -> Federation:
    """An ally that seals something else for one site and announces that."""

    def lie(step: str, site: SiteId, message: bytes) -> bytes:
        if step != SHARE_ANSWER or site != liar:
            return message
        answer = decode(ShareAnswer, message)
        place = federation.attempt.directory.index_of(victim)
        packet = decode(SharePacket, answer.packets[place])
        packets = list(answer.packets)
        packets[place] = encode(dataclasses.replace(packet, **fields))
        signed = announced(federation, liar, victim, packets[place])
        changed_answer = encode(ShareAnswer(signed, tuple(packets), answer.recovery_blob))
        state = federation.states[liar]  # its own copy has to agree, or it refuses its own round
        own = dataclasses.replace(state.answered["share"], answer=changed_answer)
        answered = {**state.answered, "share": own}
        federation.keep(liar, dataclasses.replace(state, answered=answered))
        return changed_answer

    federation.tamper = lie
    return federation


def test_an_exchanged_mask_ciphertext_spoils_the_sum_and_shows_nothing(
    seven: Federation,
) -> None:
    """The pair derives two keys, so one mask stays in the sum (ML-KEM rejects without a word)."""
    liar, victim = seven.sites[0], seven.sites[6]
    ciphertext, _ = SystemKem().encapsulate(seven.attempt.directory.peer(victim).mask_public)
    lying(seven, liar, victim, mask_ciphertext=ciphertext)
    seven.share()
    seven.mask()
    seven.confirm()
    before = seven.fork()
    seven.unmask()
    words, lane = seven.totals()

    expected = seven.plain_totals(seven.sites)
    assert not np.any(words == expected[0])
    assert not np.any(lane == expected[1])
    revealed = dict.fromkeys(seven.sites[1:], b"")
    request = coordinator.unmask_request(before.attempt)
    for site in revealed:
        revealed[site] = before.fork().unmask_one(site, request)
    opened = opened_secrets(before, [liar], revealed)
    assert {kind for _, kind in opened} == {"self-mask"}


def test_wrong_shares_of_allies_are_found_and_do_without(seven: Federation) -> None:
    """Two of seven lie at the end. All others answered, so the sum is right, and they are named."""
    allies = seven.sites[:2]
    seven.tamper = revealing_rubbish(allies)
    finish(seven)
    wrong = coordinator.remove_masks(seven.attempt, *seven.masked_totals())
    assert {share.revealed_by for share in wrong} == set(allies)


def revealing_rubbish(allies: list[SiteId]) -> Tamper:
    def lie(step: str, site: SiteId, message: bytes) -> bytes:
        if step != UNMASK_ANSWER or site not in allies:
            return message
        answer = decode(UnmaskAnswer, decode(Signed, message).body)
        rubbish = tuple(
            dataclasses.replace(share, share=bytes(64) + b"\1\2") for share in answer.shares
        )
        changed_answer = dataclasses.replace(answer, shares=rubbish)
        return encode(sign_item(changed_answer, signing_key_of(site)))

    return lie


def test_with_too_many_wrong_shares_the_sum_stays_masked(seven: Federation) -> None:
    """One honest site is gone as well: nothing is opened until it is back."""
    allies = corrupted(seven)
    seven.tamper = revealing_rubbish(allies)
    seven.share()
    seven.mask()
    seven.confirm()
    seven.unmask(seven.sites[1:])
    words, lane = seven.masked_totals()
    before = words.copy(), lane.copy()

    code = code_of(lambda: coordinator.remove_masks(seven.attempt, words, lane))

    assert code == codes.UNRECOVERABLE
    np.testing.assert_array_equal(words, before[0])
    np.testing.assert_array_equal(lane, before[1])
    seven.unmask(seven.sites[:1])
    seven.assert_totals_are_those_of(seven.sites)


@pytest.mark.parametrize("other", ["another site's", "of another attempt", "rubbish", "empty"])
def test_a_recovery_blob_that_was_exchanged_opens_nothing(seven: Federation, other: str) -> None:
    """It is kept by the coordinator alone, who has only itself to harm by that."""
    elsewhere = make_federation(7, num_words=2, num_lane=1, seed=5)
    elsewhere.begin()
    elsewhere.share()
    seven.share()
    dropout = seven.sites[3]
    blobs = {
        "another site's": decode(ShareAnswer, seven.share_answers[seven.sites[4]]).recovery_blob,
        "of another attempt": decode(ShareAnswer, elsewhere.share_answers[dropout]).recovery_blob,
        "rubbish": bytes(200),
        "empty": b"",
    }
    seven.mask([site for site in seven.sites if site != dropout])
    seven.confirm()
    seven.unmask()
    answer = decode(ShareAnswer, seven.share_answers[dropout])
    swapped = encode(dataclasses.replace(answer, recovery_blob=blobs[other]))
    attempt = dataclasses.replace(seven.attempt, shared={**seven.attempt.shared, dropout: swapped})
    words, lane = seven.masked_totals()
    before = words.copy(), lane.copy()

    code = code_of(lambda: coordinator.remove_masks(attempt, words, lane))

    assert code == codes.UNRECOVERABLE
    np.testing.assert_array_equal(words, before[0])
    np.testing.assert_array_equal(lane, before[1])
    seven.assert_totals_are_those_of(seven.attempt.survivors)


def test_the_sum_of_lists_that_were_not_signed_stays_masked(seven: Federation) -> None:
    """The coordinator takes the masks off another sum than the sites agreed on: noise is left."""
    seven.share()
    seven.mask()
    seven.confirm()
    seven.unmask()
    target = seven.sites[2]
    others = [site for site in seven.sites if site != target]
    words = sum(seven.masked[site][0] for site in others)
    lane = sum(seven.masked[site][1] for site in others)
    assert isinstance(words, np.ndarray)
    assert isinstance(lane, np.ndarray)

    coordinator.remove_masks(seven.attempt, words, lane)

    expected = seven.plain_totals(others)
    assert not np.any(words == expected[0])
    assert not np.any(lane == expected[1])
