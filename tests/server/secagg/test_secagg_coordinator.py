"""The coordinator leaves faulty sites out, keeps its lists fixed, and finds wrong shares."""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from tests.secagg_federation import (
    Federation,
    code_of,
    make_binding,
    make_federation,
    signing_key_of,
)

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import MalformedMessageError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    Confirmation,
    RevealedShare,
    RoundKeys,
    ShareAnnouncement,
    ShareAnswer,
    Signed,
    UnmaskAnswer,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_server import secagg_coordinator as coordinator

Change = Callable[[RevealedShare], RevealedShare]


@pytest.fixture
def four() -> Federation:
    return make_federation(4)


def opened_with(federation: Federation, site: SiteId, keys: RoundKeys) -> Federation:
    """A directory in which one site's keys were replaced by these, with its own signature."""

    def replace(step: str, sender: SiteId, message: bytes) -> bytes:
        return encode(sign_item(keys, signing_key_of(site))) if sender == site else message

    federation.tamper = replace
    federation.begin()
    return federation


def keys_of(federation: Federation, site: SiteId) -> RoundKeys:
    probe = federation.fork()
    return decode(RoundKeys, decode(Signed, probe.begin_one(site)).body)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda k: dataclasses.replace(k, seal_key=k.mask_key), codes.FOREIGN_KEY),
        (
            lambda k: dataclasses.replace(k, mask_key=bytes(32) + k.mask_key[32:]),
            "UNVERIFIED_MESSAGE",
        ),
        (
            lambda k: dataclasses.replace(k, mask_key=k.mask_key[:32] + b"\xff" * 1184),
            "MALFORMED_MESSAGE",
        ),
        (
            lambda k: dataclasses.replace(
                k, binding=dataclasses.replace(k.binding, weights_sha256="00" * 32)
            ),
            codes.WEIGHTS_DIFFER,
        ),
        (lambda k: dataclasses.replace(k, site="stranger"), codes.FOREIGN_KEY),
        (lambda k: dataclasses.replace(k, site="site-000"), codes.BAD_SIGNATURE),
    ],
    ids=["one key twice", "low order", "no ML-KEM key", "other weights", "stranger", "another"],
)
def test_a_site_with_unusable_keys_is_left_out_with_a_code(
    four: Federation, change: Callable[[RoundKeys], RoundKeys], code: str
) -> None:
    faulty = four.sites[1]

    opened_with(four, faulty, change(keys_of(four, faulty)))

    assert four.left_out == {faulty: code}
    assert four.attempt.directory.sites == tuple(s for s in four.sites if s != faulty)


def test_two_sites_with_one_key_are_both_left_out() -> None:
    federation = make_federation(5)
    first, second = federation.sites[:2]
    copied = dataclasses.replace(
        keys_of(federation, second), seal_key=keys_of(federation, first).seal_key
    )
    opened_with(federation, second, copied)
    assert federation.left_out == {first: codes.FOREIGN_KEY, second: codes.FOREIGN_KEY}


def test_a_directory_that_is_too_small_is_not_opened() -> None:
    federation = make_federation(4, minimum_sites=4)
    assert code_of(lambda: federation.begin(federation.sites[:3])) == codes.TOO_FEW_SITES


def test_an_organisation_that_is_too_large_opens_no_directory() -> None:
    sites = make_federation(6).sites
    federation = make_federation(6, organisations=dict.fromkeys(sites[:2], "chain of clinics"))
    assert code_of(federation.begin) == codes.ORGANISATION_TOO_LARGE


def test_a_binding_under_another_roster_opens_no_directory(four: Federation) -> None:
    binding = make_binding(four.coordinator_rules.roster, roster_sha256="00" * 32)
    assert (
        code_of(lambda: coordinator.open_directory(four.coordinator_rules, binding, {}))
        == codes.ROSTER
    )


# Sharing.


def share_answer_of(federation: Federation, site: SiteId) -> ShareAnswer:
    federation.begin()
    request = coordinator.share_request(federation.attempt)
    return decode(ShareAnswer, federation.share_one(site, request))


def announced_anew(answer: ShareAnswer, signer: SiteId, **changes: object) -> ShareAnswer:
    """The answer with a changed announcement, which its maker signed."""
    announcement = decode(ShareAnnouncement, answer.announcement.body)
    changed = dataclasses.replace(announcement, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(answer, announcement=sign_item(changed, signing_key_of(signer)))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda a, s: dataclasses.replace(a, packets=a.packets[:-1]), codes.BAD_PACKET),
        (
            lambda a, s: dataclasses.replace(a, packets=(a.packets[1], *a.packets[1:])),
            codes.BAD_PACKET,
        ),
        (
            lambda a, s: dataclasses.replace(
                a, packets=(b"", a.packets[2], a.packets[1], a.packets[3])
            ),
            codes.BAD_PACKET,
        ),
        (lambda a, s: dataclasses.replace(a, recovery_blob=b"another"), codes.BAD_PACKET),
        (
            lambda a, s: announced_anew(
                dataclasses.replace(a, recovery_blob=bytes(9_000)),
                s,
                recovery_blob_sha256=hashlib.sha256(bytes(9_000)).digest(),
            ),
            codes.BAD_PACKET,
        ),
        (lambda a, s: announced_anew(a, s, directory_sha256=bytes(32)), codes.BINDING),
        (lambda a, s: announced_anew(a, s, packet_sha256s=()), codes.BAD_PACKET),
        (lambda a, s: announced_anew(a, SiteId("site-001")), codes.BAD_SIGNATURE),
        (lambda a, s: announced_anew(a, s, site="stranger"), codes.FOREIGN_KEY),
    ],
    ids=[
        "a packet missing",
        "a packet to itself",
        "packets exchanged",
        "another blob",
        "a huge blob",
        "another directory",
        "nothing announced",
        "another signature",
        "another name",
    ],
)
def test_a_faulty_share_answer_is_refused_and_the_others_go_on(
    four: Federation, change: Callable[[ShareAnswer, SiteId], ShareAnswer], code: str
) -> None:
    site = four.sites[0]
    faulty = encode(change(share_answer_of(four, site), site))

    assert code_of(lambda: coordinator.take_share(four.attempt, site, faulty)) == code

    four.share(four.sites[1:])
    assert four.attempt.sharers == tuple(four.sites[1:])


def test_an_answer_is_taken_once_and_a_different_one_is_refused(four: Federation) -> None:
    site = four.sites[0]
    answer = encode(share_answer_of(four, site))
    taken = coordinator.take_share(four.attempt, site, answer)

    assert coordinator.take_share(taken, site, answer) == taken
    assert (
        code_of(lambda: coordinator.take_share(taken, site, answer + b"\0")) == codes.SECOND_REQUEST
    )


def test_a_share_under_another_sites_name_is_refused(four: Federation) -> None:
    answer = encode(share_answer_of(four, four.sites[0]))
    assert (
        code_of(lambda: coordinator.take_share(four.attempt, four.sites[1], answer))
        == codes.FOREIGN_KEY
    )


def test_late_shares_are_refused_once_the_sharers_are_fixed(four: Federation) -> None:
    answer = encode(share_answer_of(four, four.sites[0]))
    four.share(four.sites[1:])
    assert (
        code_of(lambda: coordinator.take_share(four.attempt, four.sites[0], answer))
        == codes.OUT_OF_ORDER
    )


# The order of steps, and lists that stay.


def test_steps_before_their_turn_are_refused(four: Federation) -> None:
    four.begin()
    site, state = four.sites[0], four.attempt
    for step in (
        lambda: coordinator.mask_request(state, site),
        lambda: coordinator.fix_survivors(state, four.sites),
        lambda: coordinator.confirm_request(state),
        lambda: coordinator.take_confirmation(state, site, b""),
        lambda: coordinator.unmask_request(state),
        lambda: coordinator.take_unmask(state, site, b""),
        lambda: coordinator.remove_masks(
            state, np.zeros(1, dtype=np.uint32), np.zeros(1, dtype=np.uint64)
        ),
    ):
        assert code_of(step) == codes.OUT_OF_ORDER
    assert not coordinator.has_enough_shares(state)


def test_survivors_that_were_fixed_stay_fixed(four: Federation) -> None:
    four.begin()
    four.share()
    four.mask(four.sites[:3])
    state = four.attempt
    assert coordinator.fix_survivors(state, four.sites[:3]) == state
    assert code_of(lambda: coordinator.fix_survivors(state, four.sites)) == codes.SECOND_REQUEST


def test_the_request_to_unmask_stays_the_same_when_more_sites_confirm(four: Federation) -> None:
    four.begin()
    four.share()
    four.mask()
    four.confirm(four.sites[1:])
    before = coordinator.unmask_request(four.attempt)
    four.confirm(four.sites[:1])
    assert coordinator.unmask_request(four.attempt) == before


def test_what_was_signed_in_advance_is_checked_before_the_survivors_are_fixed(
    four: Federation,
) -> None:
    four.begin()
    four.share()
    site, other = four.sites[:2]
    answers = {}
    for masking in (site, other):
        four.mask_one(masking, coordinator.mask_request(four.attempt, masking))
        answers[masking] = four.in_advance[masking]

    coordinator.verify_in_advance(four.attempt, site, answers[site])
    code = code_of(lambda: coordinator.verify_in_advance(four.attempt, site, answers[other]))
    assert code == codes.FOREIGN_KEY
    forged = encode(Confirmation(site, decode(Confirmation, answers[other]).signature))
    code = code_of(lambda: coordinator.verify_in_advance(four.attempt, site, forged))
    assert code == codes.BAD_SIGNATURE


def test_a_confirmation_of_other_lists_is_refused(four: Federation) -> None:
    four.begin()
    four.share()
    four.mask()
    site = four.sites[0]
    other = four.fork()
    other.attempt = dataclasses.replace(four.attempt, survivors=())
    other.attempt = coordinator.fix_survivors(other.attempt, four.sites[:3])
    answer = other.confirm_one(site, coordinator.confirm_request(other.attempt))
    assert (
        code_of(lambda: coordinator.take_confirmation(four.attempt, site, answer))
        == codes.BAD_SIGNATURE
    )


# States.


def test_a_state_shows_no_share_and_refuses_to_be_changed(four: Federation) -> None:
    four.run()
    state = four.attempt
    share = decode(UnmaskAnswer, state.unmasked[four.sites[0]].body).shares[0].share

    assert repr(share)[2:-1] not in repr(state)
    stored = state.to_secret().reveal()
    with pytest.raises(MalformedMessageError):
        coordinator.AttemptState.from_secret(SecretBytes(stored + b"\0"), four.coordinator_rules)
