"""A coordinator that breaks rules, with sites of its own, and what it comes to know by it.

Its sites give it everything: what they sign, and both shares they hold of every secret. Fewer than
a third of the directory are of this kind.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import pytest
from tests.secagg_federation import Federation, make_federation, signing_key_of

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.shamir import combine
from fedward_common.errors import FedwardError
from fedward_common.identities import SiteId
from fedward_common.secagg.key_schedule import commit_to_recovery, commit_to_self_mask
from fedward_common.secagg.messages import (
    CONFIRMATION_CONTEXT,
    RECOVERY,
    SELF_MASK,
    Confirmation,
    ConfirmRequest,
    ShareAnnouncement,
    ShareAnswer,
    ShareKind,
    Signed,
    UnmaskAnswer,
    UnmaskRequest,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import SignedItem, sign_item
from fedward_common.secagg.thresholds import largest_coalition
from fedward_common.secagg.transcript import hash_of_transcript
from fedward_server import secagg_coordinator as coordinator

Opened = set[tuple[SiteId, ShareKind]]


def refuses(federation: Federation, site: SiteId, act: Callable[[], object], code: str) -> None:
    """Check that a site refuses by the name of the rule, and that nothing changes in it."""
    before = federation.states[site].to_secret()
    with pytest.raises(FedwardError) as refused:
        act()
    assert refused.value.code == code
    assert federation.states[site].to_secret() == before


def answer_or_none(act: Callable[[], bytes]) -> bytes | None:
    """What a site answers; None where it refuses."""
    try:
        return act()
    except FedwardError:
        return None


def finish(federation: Federation) -> None:
    """Go on by the rules from wherever the round is: an attack that was refused spoilt nothing."""
    attempt = federation.attempt
    if not attempt.sharers:
        federation.share()
    if not federation.attempt.survivors:
        federation.mask()
    if not federation.attempt.confirmed:
        federation.confirm()
    federation.unmask()
    federation.assert_totals_are_those_of(federation.attempt.survivors)


def corrupted(federation: Federation) -> list[SiteId]:
    """The last sites by name, as many as may be dishonest."""
    num_sites = len(federation.sites)
    return federation.sites[num_sites - largest_coalition(num_sites) :]


def signed_by(item: SignedItem, signer: str) -> Signed:
    return sign_item(item, signing_key_of(signer))


def changed(entry: Signed, kind: type[SignedItem], signer: str, **fields: Any) -> Signed:
    """The item with other fields, signed by whoever wants to."""
    return signed_by(dataclasses.replace(decode(kind, entry.body), **fields), signer)


def lists_of(
    federation: Federation, survivors: Iterable[SiteId], dropouts: Iterable[SiteId] | None = None
) -> ConfirmRequest:
    """Lists of this attempt; without dropouts these are the other sharers."""
    kept = tuple(survivors)
    rest = tuple(site for site in federation.attempt.sharers if site not in kept)
    sha256 = federation.attempt.directory.sha256
    return ConfirmRequest(sha256, kept, rest if dropouts is None else tuple(dropouts))


def signature_of(federation: Federation, lists: ConfirmRequest, site: str) -> Confirmation:
    """What a dishonest site signs: any lists."""
    transcript = hash_of_transcript(
        lists.directory_sha256,
        federation.attempt.sharers_sha256,
        lists.survivors,
        lists.dropouts,
    )
    return Confirmation(site, signing_key_of(site).sign(transcript, context=CONFIRMATION_CONTEXT))


def request_to_unmask(lists: ConfirmRequest, confirmations: Iterable[Confirmation]) -> bytes:
    ordered = tuple(sorted(confirmations, key=lambda item: item.site))
    return encode(UnmaskRequest(lists.directory_sha256, lists.survivors, lists.dropouts, ordered))


def opened_secrets(
    federation: Federation, allies: Collection[SiteId], revealed: Mapping[SiteId, bytes]
) -> Opened:
    """Which secrets of sharers the coordinator can put together.

    Args:
        federation: After all have masked; the allies' states still have their shares.
        allies: The coordinator's own sites.
        revealed: What honest sites answered to unmasking.
    """
    shares: dict[tuple[SiteId, ShareKind], dict[int, SecretBytes]] = {}
    directory = federation.attempt.directory
    for ally in allies:
        secrets = federation.states[ally].secrets
        assert secrets is not None
        for site, held in secrets.held.items():
            place = directory.index_of(ally) + 1
            shares.setdefault((site, SELF_MASK), {})[place] = held.self_mask
            shares.setdefault((site, RECOVERY), {})[place] = held.recovery
    for sender, answer in revealed.items():
        for share in decode(UnmaskAnswer, decode(Signed, answer).body).shares:
            place = directory.index_of(sender) + 1
            shares.setdefault((SiteId(share.site), share.kind), {})[place] = SecretBytes(
                share.share
            )
    return {secret for secret, found in shares.items() if _is_open(federation, secret, found)}


def _is_open(
    federation: Federation, secret: tuple[SiteId, ShareKind], shares: Mapping[int, SecretBytes]
) -> bool:
    if len(shares) < federation.threshold:
        return False
    site, kind = secret
    answer = decode(ShareAnswer, federation.share_answers[site])
    announced = decode(ShareAnnouncement, answer.announcement.body)
    opened = combine(shares, federation.threshold)
    if kind == SELF_MASK:
        return commit_to_self_mask(opened) == announced.self_mask_commitment
    return commit_to_recovery(opened) == announced.recovery_commitment


def masked_by_all(num_sites: int) -> Federation:
    """Everybody has masked; no list of survivors was shown yet."""
    federation = make_federation(num_sites, num_words=2, num_lane=1)
    federation.begin()
    federation.share()
    for site, request in coordinator.mask_requests(federation.attempt).items():
        federation.masked[site] = federation.mask_one(site, request)
    return federation
