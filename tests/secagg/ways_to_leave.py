"""Which sites stay, what those that left have spared, and a coordinator that goes on regardless.

The requests below the threshold are what a coordinator would send that does not care for it.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from tests.attacks.secure_aggregation.attacker import Opened, lists_of, request_to_unmask
from tests.secagg_federation import Federation

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.shamir import combine
from fedward_common.errors import UnverifiedMessageError
from fedward_common.identities import SiteId
from fedward_common.secagg.key_schedule import commit_to_recovery, commit_to_self_mask
from fedward_common.secagg.messages import (
    SELF_MASK,
    MaskRequest,
    ShareAnnouncement,
    ShareAnswer,
    ShareKind,
    Sharer,
    Signed,
    UnmaskAnswer,
    decode,
    encode,
)
from fedward_server import secagg_coordinator as coordinator


def subsets(sites: Sequence[SiteId], least: int = 0) -> Iterator[tuple[SiteId, ...]]:
    """Every set of so many sites or more, the empty one among them where none are needed."""
    for size in range(least, len(sites) + 1):
        yield from itertools.combinations(sites, size)


def let_all_share(federation: Federation) -> None:
    """Everybody shares; whose shares the coordinator takes is open yet."""
    request = coordinator.share_request(federation.attempt)
    for site in federation.sites:
        federation.share_answers[site] = federation.share_one(site, request)


def take_shares(federation: Federation, sharers: Sequence[SiteId]) -> coordinator.AttemptState:
    """The attempt with the shares of these sites, its sharers not fixed yet."""
    attempt = federation.attempt
    for site in sharers:
        attempt = coordinator.take_share(attempt, site, federation.share_answers[site])
    return attempt


def forced_mask_request(here: Federation, sharers: Sequence[SiteId], recipient: SiteId) -> bytes:
    """Asks to mask for however few sharers."""
    place = here.attempt.directory.index_of(recipient)
    answers = [decode(ShareAnswer, here.share_answers[site]) for site in sharers]
    return encode(MaskRequest(tuple(Sharer(a.announcement, a.packets[place]) for a in answers)))


def forced_confirm_request(here: Federation, survivors: Sequence[SiteId]) -> bytes:
    """Asks to confirm however few survivors."""
    return encode(lists_of(here, survivors))


def forced_unmask_request(here: Federation) -> bytes:
    """Asks for shares with however few confirmations the coordinator took."""
    return request_to_unmask(lists_of(here, here.attempt.survivors), here.attempt.confirmed)


def put_together(here: Federation, revealed: Mapping[SiteId, bytes]) -> Opened:
    """Which secrets all shares that were revealed give, however few; the threshold is not asked.

    Args:
        here: After all sharers have shared.
        revealed: What sites answered to unmasking.
    """
    shares: dict[tuple[SiteId, ShareKind], dict[int, SecretBytes]] = {}
    for sender, answer in revealed.items():
        x = here.attempt.directory.index_of(sender) + 1
        for share in decode(UnmaskAnswer, decode(Signed, answer).body).shares:
            secret = (SiteId(share.site), share.kind)
            shares.setdefault(secret, {})[x] = SecretBytes(share.share)
    return {secret for secret, found in shares.items() if _give_it(here, secret, found)}


def _give_it(
    here: Federation, secret: tuple[SiteId, ShareKind], shares: Mapping[int, SecretBytes]
) -> bool:
    site, kind = secret
    answer = decode(ShareAnswer, here.share_answers[site])
    announced = decode(ShareAnnouncement, answer.announcement.body)
    try:
        found = combine(shares, len(shares))
    except UnverifiedMessageError:
        return False
    if kind == SELF_MASK:
        return commit_to_self_mask(found) == announced.self_mask_commitment
    return commit_to_recovery(found) == announced.recovery_commitment
