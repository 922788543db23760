"""What a coordinator may ask of one hospital against the rules, step by step.

Each gives the body of one request. The coordinator signs it itself, and has the key of one of four
sites; what the others signed in this attempt and in the one before it passes on as it likes.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

from tests.attacks.secure_aggregation.real_hospitals import (
    ALDER,
    BIRCH,
    CEDAR,
    DOGWOOD,
    FOUR,
    VICTIM,
    Scene,
    request_of,
)
from tests.attacks.secure_aggregation.shown_directories import keys_of_attacker
from tests.client.daemon.test_trusted_roster import Office, accepted_by, ask_with

from fedward_common.crypto.signing import SigningKey
from fedward_common.identities import SiteId
from fedward_common.secagg.messages import (
    CONFIRMATION_CONTEXT,
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    RoundKeys,
    ShareAnnouncement,
    ShareAnswer,
    Sharer,
    ShareRequest,
    Signed,
    UnmaskRequest,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_common.secagg.transcript import hash_of_transcript

ELDER = SiteId("elder")  # joins the consortium in mid-run

# -- directories -----------------------------------------------------------------------------------


def directory_of(scene: Scene, *sites: SiteId) -> bytes:
    """Show the real keys of these sites, in this order."""
    kept = dict(zip(FOUR, scene.attempt.round_keys, strict=True))
    return encode(ShareRequest(tuple(kept[site] for site in sites)))


def with_keys(scene: Scene, site: SiteId, key: SigningKey, **changes: Any) -> bytes:
    """Show the real directory, but for one site's keys: changed, and signed with a key."""
    entries = list(scene.attempt.round_keys)
    keys = decode(RoundKeys, entries[FOUR.index(site)].body)
    entries[FOUR.index(site)] = sign_item(dataclasses.replace(keys, **changes), key)
    return encode(ShareRequest(tuple(entries)))


def with_the_coordinators_keys(scene: Scene, site: SiteId) -> bytes:
    """Show keys whose private half the coordinator has, under a site's name."""
    return with_keys(scene, site, scene.hospitals.setup.key, **keys_of_attacker())


def with_another_binding(scene: Scene, **changes: Any) -> bytes:
    """Show keys of an ally that it made for something else."""
    binding = dataclasses.replace(scene.attempt.binding, **changes)
    return with_keys(scene, DOGWOOD, scene.key_of(DOGWOOD), binding=binding)


def with_keys_of_the_former_attempt(scene: Scene) -> bytes:
    """Show one site's keys of an attempt that was given up, in the present directory."""
    former = scene.former.round_keys[FOUR.index(CEDAR)]
    entries = [*scene.attempt.round_keys]
    entries[FOUR.index(CEDAR)] = former
    return encode(ShareRequest(tuple(entries)))


def with_a_site_that_joined_in_mid_run(scene: Scene) -> bytes:
    """Have the office add a site, let the victim see that roster, then show the site's keys."""
    key = joined_in_mid_run(scene)
    keys = RoundKeys(scene.attempt.binding, ELDER, **keys_of_attacker())
    return encode(ShareRequest((*scene.attempt.round_keys, sign_item(keys, key))))


def joined_in_mid_run(scene: Scene) -> SigningKey:
    """Give the key of a site that a newer roster has, which the victim believes."""
    office, key = Office(scene.hospitals.federation), SigningKey.generate()
    elder = office.certify(ELDER, key=key.verifying_key)
    newer = office.sign(office.members | {ELDER: elder}, version=2)
    assert accepted_by(ask_with(scene.asking.coordinator, newer, run="ab" * 8))
    return key


# -- sharers ---------------------------------------------------------------------------------------


def sharers_of(scene: Scene) -> dict[SiteId, Sharer]:
    """What all sites shared with the victim."""
    request = decode(MaskRequest, request_of(scene.attempt, "mask"))
    return dict(zip(FOUR, request.sharers, strict=True))


def masked_for(scene: Scene, *sites: SiteId, **others: Sharer) -> bytes:
    """Ask for a vector that these sites' masks are on; `others` replaces what they shared."""
    shared = sharers_of(scene)
    return encode(MaskRequest(tuple(others.get(site, shared[site]) for site in sites)))


def with_a_packet_for_another(scene: Scene) -> bytes:
    """Offer what cedar sealed for alder."""
    answer = decode(ShareAnswer, scene.attempt.shared[CEDAR])
    offered = Sharer(answer.announcement, answer.packets[FOUR.index(ALDER)])
    return masked_for(scene, *FOUR, cedar=offered)


def with_an_announcement(scene: Scene, name: SiteId, key: SigningKey) -> bytes:
    """Offer cedar's packet under an announcement of the coordinator's making."""
    real = sharers_of(scene)[CEDAR]
    announced = decode(ShareAnnouncement, real.announcement.body)
    forged = sign_item(dataclasses.replace(announced, site=name), key)
    return masked_for(scene, *FOUR, cedar=Sharer(forged, real.packet))


# -- lists -----------------------------------------------------------------------------------------


def lists_of(scene: Scene, survivors: Iterable[str], dropouts: Iterable[str] = ()) -> bytes:
    """Ask to confirm lists of the present directory."""
    sha256 = scene.attempt.directory.sha256
    return encode(ConfirmRequest(sha256, tuple(survivors), tuple(dropouts)))


def lists_of_the_former_attempt(scene: Scene) -> bytes:
    """Ask to confirm lists of the directory of an attempt that was given up."""
    return encode(ConfirmRequest(scene.former.directory.sha256, FOUR, ()))


# -- confirmations ---------------------------------------------------------------------------------


def unmasking(
    scene: Scene,
    confirmations: Iterable[Confirmation],
    survivors: Iterable[str] = FOUR,
    dropouts: Iterable[str] = (),
) -> bytes:
    """Ask for the shares that open a sum."""
    sha256 = scene.attempt.directory.sha256
    lists = tuple(survivors), tuple(dropouts)
    return encode(UnmaskRequest(sha256, *lists, tuple(confirmations)))


def real(scene: Scene, *sites: SiteId) -> list[Confirmation]:
    """What these sites signed of the list of all."""
    signed = {confirmation.site: confirmation for confirmation in scene.later.confirmed}
    return [signed[site] for site in sites]


def signed_for(
    scene: Scene, site: SiteId, survivors: tuple[SiteId, ...], dropouts: tuple[SiteId, ...] = ()
) -> Confirmation:
    """What a site signs that works with the coordinator, or that lost its key to it."""
    attempt = scene.attempt
    transcript = hash_of_transcript(
        attempt.directory.sha256, attempt.sharers_sha256, survivors, dropouts
    )
    signature = scene.key_of(site).sign(transcript, context=CONFIRMATION_CONTEXT)
    return Confirmation(site, signature)


def unmasking_without_dogwood(scene: Scene) -> bytes:
    """Ask to open the sum of three, with signatures that are all good."""
    lists = (ALDER, BIRCH, CEDAR), (DOGWOOD,)
    signed = [signed_for(scene, site, *lists) for site in lists[0]]
    return unmasking(scene, signed, *lists)


def of_the_former_attempt(scene: Scene, site: SiteId) -> Confirmation:
    """A signature of a site on the same names in the attempt before."""
    former = scene.former
    transcript = hash_of_transcript(former.directory.sha256, former.sharers_sha256, FOUR, ())
    signature = scene.key_of(site).sign(transcript, context=CONFIRMATION_CONTEXT)
    return Confirmation(site, signature)


def announcement_of_victim(scene: Scene) -> Signed:
    """What the victim signed in the attempt before."""
    return decode(ShareAnswer, scene.former.shared[VICTIM]).announcement
