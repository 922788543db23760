"""What a site refuses about sharers, survivors and confirmations, by the name of the rule."""

import dataclasses
import hashlib
from collections.abc import Callable

import pytest
from tests.secagg_federation import Federation, code_of, make_federation, signing_key_of
from tests.secagg_steps import up_to

from fedward_client.secagg_member import Stage
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    ConfirmRequest,
    MaskRequest,
    ShareAnnouncement,
    ShareAnswer,
    SharePacket,
    Sharer,
    UnmaskRequest,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_server import secagg_coordinator as coordinator


@pytest.fixture
def four() -> Federation:
    return make_federation(4)


def masked_with(federation: Federation, change: Callable[[list[Sharer]], list[Sharer]]) -> str:
    site = federation.sites[0]
    request = decode(MaskRequest, coordinator.mask_request(federation.attempt, site))
    changed = MaskRequest(tuple(change(list(request.sharers))))
    return code_of(lambda: federation.mask_one(site, encode(changed)))


def test_sharers_without_the_one_who_is_asked_are_refused(four: Federation) -> None:
    up_to(four, Stage.SHARED)
    assert masked_with(four, lambda s: s[1:]) == codes.SELF_MISSING


def test_sharers_in_another_order_are_refused(four: Federation) -> None:
    up_to(four, Stage.SHARED)
    assert masked_with(four, lambda s: [s[1], s[0], *s[2:]]) == codes.NOT_A_CHAIN


def test_an_exchanged_packet_is_refused(four: Federation) -> None:
    up_to(four, Stage.SHARED)
    other = decode(MaskRequest, coordinator.mask_request(four.attempt, four.sites[1])).sharers[2]
    assert masked_with(four, lambda s: [*s[:2], other, *s[3:]]) == codes.BAD_PACKET


@pytest.mark.parametrize("field", ["seal_ciphertext", "sealed_shares"])
def test_a_packet_that_was_changed_on_the_way_is_refused(four: Federation, field: str) -> None:
    up_to(four, Stage.SHARED)

    def changed(sharers: list[Sharer]) -> list[Sharer]:
        packet = decode(SharePacket, sharers[1].packet)
        flipped = bytes([getattr(packet, field)[0] ^ 1]) + getattr(packet, field)[1:]
        altered = encode(dataclasses.replace(packet, **{field: flipped}))
        sharers[1] = dataclasses.replace(sharers[1], packet=altered)
        return sharers

    assert masked_with(four, changed) == codes.BAD_PACKET
    assert four.states[four.sites[0]].stage is Stage.SHARED


def test_a_packet_that_its_sender_made_out_to_another_is_refused(four: Federation) -> None:
    up_to(four, Stage.SHARED)
    sender = four.sites[1]

    def made_out_to_another(sharers: list[Sharer]) -> list[Sharer]:
        packet = decode(SharePacket, sharers[1].packet)
        wrong = encode(dataclasses.replace(packet, sender=four.sites[2]))
        announcement = decode(ShareAnnouncement, sharers[1].announcement.body)
        hashes = (hashlib.sha256(wrong).digest(), *announcement.packet_sha256s[1:])
        changed = dataclasses.replace(announcement, packet_sha256s=hashes)
        sharers[1] = Sharer(sign_item(changed, signing_key_of(sender)), wrong)
        return sharers

    assert masked_with(four, made_out_to_another) == codes.BAD_PACKET


def test_announcements_for_another_directory_are_refused(four: Federation) -> None:
    other = make_federation(4, seed=9)
    up_to(other, Stage.SHARED)
    up_to(four, Stage.SHARED)
    foreign = decode(MaskRequest, coordinator.mask_request(other.attempt, four.sites[0])).sharers
    assert masked_with(four, lambda s: [*s[:2], *foreign[2:]]) == codes.BINDING


def test_an_own_announcement_that_was_exchanged_is_refused(four: Federation) -> None:
    up_to(four, Stage.READY)
    site = four.sites[0]
    twin = four.fork()
    twin.seed = 77
    request = coordinator.share_request(four.attempt)
    other = decode(ShareAnswer, twin.share_one(site, request)).announcement
    four.share()

    changed = masked_with(
        four,
        lambda s: [dataclasses.replace(s[0], announcement=other), *s[1:]],
    )

    assert changed == codes.KEYS_CHANGED


def lists(federation: Federation) -> ConfirmRequest:
    return decode(ConfirmRequest, coordinator.confirm_request(federation.attempt))


@pytest.mark.parametrize(
    ("survivors", "dropouts", "code"),
    [
        ((0, 1, 2, 3), (3,), codes.LISTS_OVERLAP),
        ((1, 2, 3), (0,), codes.SELF_MISSING),
        ((0, 1, 2), (), codes.NOT_A_CHAIN),
        ((0, 1, 2, 3, 4), (), codes.NOT_A_CHAIN),
        ((0, 2, 1), (3,), codes.NOT_A_CHAIN),
        ((0, 1), (2, 3), codes.TOO_FEW_SITES),
    ],
)
def test_lists_that_break_a_rule_are_not_signed(
    survivors: tuple[int, ...], dropouts: tuple[int, ...], code: str
) -> None:
    federation = make_federation(5)
    names = federation.sites
    federation.begin(names[:4])
    federation.share()
    federation.mask()
    request = ConfirmRequest(
        federation.attempt.directory.sha256,
        tuple(names[i] for i in survivors),
        tuple(names[i] for i in dropouts),
    )
    assert code_of(lambda: federation.confirm_one(names[0], encode(request))) == code
    assert federation.states[names[0]].stage is Stage.MASKED


def test_lists_of_another_directory_are_not_signed(four: Federation) -> None:
    up_to(four, Stage.MASKED)
    request = encode(dataclasses.replace(lists(four), directory_sha256=bytes(32)))
    assert code_of(lambda: four.confirm_one(four.sites[0], request)) == codes.BINDING


def test_survivors_of_too_few_organisations_are_not_confirmed() -> None:
    federation = up_to(make_federation(4, minimum_organisations=4), Stage.MASKED)
    request = lists(federation)
    fewer = encode(
        dataclasses.replace(
            request, survivors=request.survivors[:3], dropouts=request.survivors[3:]
        )
    )
    assert (
        code_of(lambda: federation.confirm_one(federation.sites[0], fewer))
        == codes.TOO_FEW_ORGANISATIONS
    )


def test_other_lists_than_were_confirmed_are_not_unmasked(four: Federation) -> None:
    up_to(four, Stage.CONFIRMED)
    request = decode(UnmaskRequest, coordinator.unmask_request(four.attempt))
    changed = dataclasses.replace(
        request, survivors=request.survivors[:3], dropouts=request.survivors[3:]
    )
    assert code_of(lambda: four.unmask_one(four.sites[0], encode(changed))) == codes.SECOND_REQUEST


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c[:-1], codes.TOO_FEW_SIGNATURES),
        (lambda c: (*c[:-1], c[0]), codes.NOT_A_CHAIN),
        (
            lambda c: (dataclasses.replace(c[0], signature=c[1].signature), *c[1:]),
            codes.BAD_SIGNATURE,
        ),
        (lambda c: (dataclasses.replace(c[0], site="coordinator"), *c[1:]), codes.NOT_A_CHAIN),
    ],
    ids=["one missing", "one twice", "of another site", "of the coordinator"],
)
def test_shares_are_not_revealed_without_enough_signatures_of_survivors(
    four: Federation, change: Callable[[tuple[object, ...]], tuple[object, ...]], code: str
) -> None:
    up_to(four, Stage.CONFIRMED)
    request = decode(UnmaskRequest, coordinator.unmask_request(four.attempt))
    confirmations = change(request.confirmations)
    changed = dataclasses.replace(request, confirmations=confirmations)  # type: ignore[arg-type]
    assert code_of(lambda: four.unmask_one(four.sites[0], encode(changed))) == code
    assert four.states[four.sites[0]].secrets is not None
