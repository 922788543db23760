"""Masks come off with enough good shares; wrong ones are found, and nothing changes without."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from tests.secagg_federation import (
    Federation,
    code_of,
    make_federation,
    signing_key_of,
)

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import AggregationRefusedError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.key_schedule import RecoveryBlob, open_blob, seal_blob
from fedward_common.secagg.messages import (
    RevealedShare,
    ShareAnnouncement,
    ShareAnswer,
    Signed,
    UnmaskAnswer,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_server import secagg_coordinator as coordinator
from fedward_server.secagg_coordinator import WrongShare

Change = Callable[[RevealedShare], RevealedShare]


@pytest.fixture
def four() -> Federation:
    return make_federation(4)


def announced_anew(answer: ShareAnswer, signer: SiteId, **changes: object) -> ShareAnswer:
    """The answer with a changed announcement, which its maker signed."""
    announcement = decode(ShareAnnouncement, answer.announcement.body)
    changed = dataclasses.replace(announcement, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(answer, announcement=sign_item(changed, signing_key_of(signer)))


def unmasked(federation: Federation, liars: dict[SiteId, Change]) -> Federation:
    """A round with one dropout in which some sites change the shares they reveal."""

    def lie(step: str, site: SiteId, message: bytes) -> bytes:
        if step != "unmask answer" or site not in liars:
            return message
        answer = decode(UnmaskAnswer, decode(Signed, message).body)
        changed = dataclasses.replace(answer, shares=tuple(map(liars[site], answer.shares)))
        return encode(sign_item(changed, signing_key_of(site)))

    federation.tamper = lie
    federation.begin()
    federation.share()
    federation.mask(federation.sites[:-1])
    federation.confirm()
    federation.unmask()
    return federation


def spoilt(share: RevealedShare) -> RevealedShare:
    return dataclasses.replace(share, share=bytes(65) + b"\7")


def beyond_the_field(share: RevealedShare) -> RevealedShare:
    return dataclasses.replace(share, share=b"\xff" * 66)


@pytest.mark.parametrize("lie", [spoilt, beyond_the_field])
def test_a_wrong_share_is_found_and_another_subset_gives_the_sum(lie: Change) -> None:
    federation = make_federation(7)  # 6 survivors, any 5 of which open a secret
    liar = federation.sites[2]
    unmasked(federation, {liar: lie})

    words, lane = federation.masked_totals()
    found = coordinator.remove_masks(federation.attempt, words, lane)

    expected = federation.plain_totals(federation.sites[:-1])
    np.testing.assert_array_equal(words, expected[0])
    np.testing.assert_array_equal(lane, expected[1])
    assert {share.revealed_by for share in found} == {liar}


def test_a_wrong_share_of_one_secret_is_named_with_both_who_may_have_lied() -> None:
    federation = make_federation(7)
    liar, target = federation.sites[0], federation.sites[4]
    unmasked(federation, {liar: lambda share: spoilt(share) if share.site == target else share})

    found = coordinator.remove_masks(federation.attempt, *federation.masked_totals())

    assert found == (WrongShare(of=target, revealed_by=liar),)


def test_two_sites_that_lie_among_ten_are_borne() -> None:
    federation = make_federation(10)  # 9 survivors, any 7 of which open a secret
    liars = federation.sites[1], federation.sites[5]
    unmasked(federation, dict.fromkeys(liars, spoilt))

    found = coordinator.remove_masks(federation.attempt, *federation.masked_totals())

    assert {share.revealed_by for share in found} == set(liars)


def test_too_many_wrong_shares_leave_the_sum_masked() -> None:
    federation = make_federation(7)
    unmasked(federation, dict.fromkeys(federation.sites[:2], spoilt))
    words, lane = federation.masked_totals()
    before = words.copy(), lane.copy()

    with pytest.raises(AggregationRefusedError) as refused:
        coordinator.remove_masks(federation.attempt, words, lane)

    assert refused.value.code == codes.UNRECOVERABLE
    np.testing.assert_array_equal(words, before[0])
    np.testing.assert_array_equal(lane, before[1])


def test_a_share_that_was_held_back_is_made_up_for_by_another_site() -> None:
    federation = make_federation(7)
    shares_nothing = federation.sites[3]

    def hold_back(step: str, site: SiteId, message: bytes) -> bytes:
        if step != "unmask answer" or site != shares_nothing:
            return message
        answer = decode(UnmaskAnswer, decode(Signed, message).body)
        return encode(sign_item(dataclasses.replace(answer, shares=()), signing_key_of(site)))

    federation.tamper = hold_back
    federation.run()
    federation.assert_totals_are_those_of(federation.sites)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda a: dataclasses.replace(a, transcript_sha256=bytes(32)), codes.BINDING),
        (lambda a: dataclasses.replace(a, shares=(*a.shares, a.shares[0])), codes.NOT_A_CHAIN),
        (
            lambda a: dataclasses.replace(
                a, shares=(dataclasses.replace(a.shares[0], kind="recovery"), *a.shares[1:])
            ),
            codes.LISTS_OVERLAP,
        ),
        (lambda a: dataclasses.replace(a, site="site-001"), codes.BAD_SIGNATURE),
    ],
    ids=["other lists", "a share twice", "the other secret", "another name"],
)
def test_shares_that_were_not_asked_for_are_refused(
    four: Federation, change: Callable[[UnmaskAnswer], UnmaskAnswer], code: str
) -> None:
    four.begin()
    four.share()
    four.mask()
    four.confirm()
    site = four.sites[0]
    request = coordinator.unmask_request(four.attempt)
    answer = decode(UnmaskAnswer, decode(Signed, four.unmask_one(site, request)).body)
    faulty = encode(sign_item(change(answer), signing_key_of(site)))
    assert code_of(lambda: coordinator.take_unmask(four.attempt, site, faulty)) == code


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        (0, "other mask keys"),
        (2, "other mask keys"),
        (4, "other mask keys"),
        (0, "no ciphertext's secret"),
        (2, "no ciphertext's secret"),
        (2, "rubbish"),
    ],
)
def test_a_recovery_blob_that_does_not_fit_ends_the_attempt(place: int, fault: str) -> None:
    federation = make_federation(5)
    dropout = federation.sites[place]

    def wrap_otherwise(step: str, site: SiteId, message: bytes) -> bytes:
        if step != "share answer" or site != dropout:
            return message
        entropy = federation.entropy_of(dropout, "share")
        _, key = entropy(32), SecretBytes(entropy(32))
        answer = decode(ShareAnswer, message)
        scope = federation.attempt.directory.scope
        good = open_blob(answer.recovery_blob, key, scope, dropout)
        bad = {
            "other mask keys": RecoveryBlob(SecretBytes(bytes(96)), good.encapsulated),
            "no ciphertext's secret": RecoveryBlob(good.mask_private, {}),
        }
        blob = seal_blob(bad[fault], key, scope, dropout) if fault in bad else b"rubbish"
        answer = dataclasses.replace(answer, recovery_blob=blob)
        announced = hashlib.sha256(blob).digest()
        return encode(announced_anew(answer, dropout, recovery_blob_sha256=announced))

    federation.tamper = wrap_otherwise
    staying = [site for site in federation.sites if site != dropout]
    federation.begin()
    federation.share()
    federation.mask(staying)
    federation.confirm()
    federation.unmask()

    with pytest.raises(AggregationRefusedError, match="recovery blob") as refused:
        federation.totals()

    assert refused.value.code == codes.UNRECOVERABLE
